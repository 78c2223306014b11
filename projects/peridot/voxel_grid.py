"""Voxel indices on which strided convolutions group the same voxels wherever a cloud lies."""

from collections.abc import Sequence

from torch import Tensor


def shifted_to_grid(coords: Tensor, stride: int) -> Tensor:
    """Shift voxel indices until none is negative, by multiples of a network's total stride.

    Strided convolutions group voxels by floor(c / 2) in absolute coordinates. A shift by a multiple of all strides
    keeps those groups; one by the cloud's own minimum would not.

    Args:
        coords: Int (M, 3) voxel indices, M > 0.
        stride: Total stride of the network.
    """
    return coords - coords.amin(0).div(stride, rounding_mode='floor') * stride


def padded_shape(shape: Sequence[int] | Tensor, stride: int) -> list[int]:
    """Each size rounded up to a multiple of `stride`: spconv drops the last plane of an odd size when it halves it."""
    # one copy to the host, not one a number
    sizes = shape.tolist() if isinstance(shape, Tensor) else shape
    return [-(-size // stride) * stride for size in sizes]

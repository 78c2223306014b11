"""The layouts of sparse kernels."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from peridot.errors import CheckpointError

# description of the layout in exported files
LAYOUT = 'sparse kernels as (D, H, W, in, out), read by mmdet3d through load_from and init_cfg'


def sparse_kernels(network: nn.Module) -> set[str]:
    """Names of the weights of spconv's convolutions in a network's state dict."""
    from spconv.pytorch.conv import SparseConvolution

    return {f'{name}.weight' for name, module in network.named_modules() if isinstance(module, SparseConvolution)}


def to_mmcv(kernel: Tensor) -> Tensor:
    """Permute a kernel from (out, D, H, W, in), spconv 2's layout, to (D, H, W, in, out), that of mmcv's spconv."""
    return kernel.permute(*range(1, kernel.ndim), 0)


def to_spconv(kernel: Tensor) -> Tensor:
    """Permute a kernel from (D, H, W, in, out) to (out, D, H, W, in)."""
    return kernel.permute(kernel.ndim - 1, *range(kernel.ndim - 1))


def as_spconv(kernel: Tensor, shape: Sequence[int]) -> Tensor:
    """A kernel in the layout of spconv 2, from either layout: permuted if it has the wanted `shape` only then."""
    permuted = to_spconv(kernel) if kernel.ndim == len(shape) else kernel
    return permuted if kernel.shape != shape == permuted.shape else kernel


def rows_to_spconv(name: str, kernel: Tensor, even_last_fastest: bool = False) -> Tensor:
    """A kernel with one row for each offset, as spconv 2's (out, c1, c2, c3, in).

    Args:
        name: Its name, for the error.
        kernel: (K^3, in, out), or (in, out) for K = 1.
        even_last_fastest: Whether in kernels of an even size the last axis runs fastest through the offsets; otherwise
            the first one does.

    Raises:
        CheckpointError: The offsets are no cube, or it has another number of dimensions.
    """
    if kernel.ndim == 2:
        # spconv multiplies by kernels of size 1 without transposing them
        return kernel.reshape(kernel.shape[1], 1, 1, 1, kernel.shape[0])
    if kernel.ndim != 3:
        raise CheckpointError(f'its {name} is damaged: a kernel has 2 or 3 dimensions, it has {kernel.ndim}')
    size = round(len(kernel) ** (1 / 3))
    if size**3 != len(kernel):
        raise CheckpointError(f'its {name} has {len(kernel)} offsets, which is not a cube')
    cube = kernel.reshape(size, size, size, *kernel.shape[1:])
    last_fastest = even_last_fastest and size % 2 == 0
    return cube.permute(4, 0, 1, 2, 3) if last_fastest else cube.permute(4, 2, 1, 0, 3)


def exported_state(state: Mapping[str, Tensor], kernels: Iterable[str]) -> dict[str, Tensor]:
    """A state dict in the layout that every loading path of mmdet3d understands.

    mmdet3d takes sparse kernels without version metadata for mmcv's layout and permutes them; mmengine drops that
    metadata when it loads by prefix (`init_cfg`). So the kernels are written in mmcv's layout, without metadata:
    correct for `load_from` and `init_cfg`, wrong for a program that passes them to spconv itself.

    Args:
        state: Tensors under mmdet3d's names, sparse kernels as spconv 2 has them.
        kernels: Names of the sparse kernels.
    """
    kernels = set(kernels)
    return {
        name: (to_mmcv(value) if name in kernels else value).detach().cpu().contiguous()
        for name, value in state.items()
    }

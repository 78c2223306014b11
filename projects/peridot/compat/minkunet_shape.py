"""MinkUNetBackbone loses the last voxels of scans with an odd extent, and fails on compact scans.

Broken: with `sparseconv_backend='spconv'` the sparse tensor's spatial shape is the largest coordinate + 1. Each
of the strided convolutions (kernel 2, stride 2) halves it rounding down, so voxels in the last plane of an odd
size reach no coarser level, and a compact scan can reach the deepest level without any voxel, where spconv
raises. The shape also comes from the whole batch, so one scan's deep features depended on the others.
Versions: mmdet3d 1.2 to 1.4 (all with spconv support).
Detected: the backbone's forward computes its spatial shape and `SparseConvTensor` is a name of its module.
Repair: the shape that the backbone hands to `SparseConvTensor` is padded up to a multiple of 2 ** num_stages.
Scans whose sizes are such multiples give the same numbers as before.
Delete when: mmdet3d pads the shape.
"""

import functools
from contextvars import ContextVar
from types import ModuleType

from torch import Tensor

from peridot.voxel_grid import padded_shape

from .records import note

# Total stride of the backbone that is running.
_stride: ContextVar[int] = ContextVar('minkunet_stride', default=1)


def repair(module: ModuleType) -> None:
    """Repair the backbone of mmdet3d.models.backbones.minkunet_backbone."""
    backbone = module.MinkUNetBackbone
    sparse_tensor, forward = module.SparseConvTensor, backbone.forward
    if hasattr(forward, '__wrapped__'):
        return

    def padded_sparse_tensor(features: Tensor, indices: Tensor, spatial_shape: Tensor, batch_size: int):
        return sparse_tensor(features, indices, padded_shape(spatial_shape, _stride.get()), batch_size)

    @functools.wraps(forward)
    def forward_padded(self, voxel_features: Tensor, coors: Tensor) -> Tensor:
        token = _stride.set(2**self.num_stages)
        try:
            return forward(self, voxel_features, coors)
        finally:
            _stride.reset(token)

    module.SparseConvTensor = padded_sparse_tensor
    backbone.forward = forward_padded
    note('minkunet_shape', "MinkUNetBackbone's sparse tensors are padded to whole strides, so no voxel is lost")

"""Students: a feature for every lidar point."""

from peridot.models.students.sparse_unet import SparseUNetStudent, VoxelFeatures
from peridot.models.students.voxelize import Voxels, voxelize

__all__ = ['SparseUNetStudent', 'VoxelFeatures', 'Voxels', 'voxelize']

"""Students: a feature for every lidar point."""

from peridot.models.students.detector_trunk import BEVFeatures, DetectorTrunk
from peridot.models.students.features import PointFeatures
from peridot.models.students.sparse_unet import SparseUNetStudent, VoxelFeatures
from peridot.models.students.voxelize import Voxels, voxelize

__all__ = [
    'BEVFeatures',
    'DetectorTrunk',
    'PointFeatures',
    'SparseUNetStudent',
    'VoxelFeatures',
    'Voxels',
    'voxelize',
]

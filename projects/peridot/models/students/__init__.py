"""Students: a feature for every lidar point."""

from peridot.models.students.detector_trunk import BEVFeatures, DetectorTrunk
from peridot.models.students.features import CellSupports, PointFeatures, PointSupports, Supports
from peridot.models.students.passes import SeparateFeatures, in_passes
from peridot.models.students.sparse_unet import SparseUNetStudent, VoxelFeatures
from peridot.models.students.tokens import Tokens, tokenize
from peridot.models.students.voxelize import Voxels, voxelize
from peridot.models.students.waffleiron import TokenFeatures, WaffleIronStudent

__all__ = [
    'BEVFeatures',
    'CellSupports',
    'DetectorTrunk',
    'PointFeatures',
    'PointSupports',
    'SeparateFeatures',
    'SparseUNetStudent',
    'Supports',
    'TokenFeatures',
    'Tokens',
    'VoxelFeatures',
    'Voxels',
    'WaffleIronStudent',
    'in_passes',
    'tokenize',
    'voxelize',
]

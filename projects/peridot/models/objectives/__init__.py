"""Objectives: losses that say what a point's feature should know. A method is a list of them in a config."""

from peridot.models.objectives.bev_cell_contrast import BEVCellContrast
from peridot.models.objectives.feature_distance import FeatureDistance
from peridot.models.objectives.objective import Objective
from peridot.models.objectives.occupancy import OccupancyReconstruction
from peridot.models.objectives.point_classification import PointClassification
from peridot.models.objectives.point_pixel_infonce import PointPixelInfoNCE
from peridot.models.objectives.point_segment_consistency import PointSegmentConsistency
from peridot.models.objectives.scene_token import SceneToken
from peridot.models.objectives.superpixel_infonce import SuperpixelInfoNCE
from peridot.models.objectives.superpoint_contrast import SuperpointContrast
from peridot.models.objectives.vmf_consistency import VMFConsistency
from peridot.models.objectives.weakly_supervised_contrast import WeaklySupervisedContrast

__all__ = [
    'BEVCellContrast',
    'FeatureDistance',
    'Objective',
    'OccupancyReconstruction',
    'PointClassification',
    'PointPixelInfoNCE',
    'PointSegmentConsistency',
    'SceneToken',
    'SuperpixelInfoNCE',
    'SuperpointContrast',
    'VMFConsistency',
    'WeaklySupervisedContrast',
]

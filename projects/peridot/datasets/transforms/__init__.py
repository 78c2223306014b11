"""Transforms of paired samples; rotation, scaling and flips of the cloud are mmdet3d's own."""

from peridot.datasets.transforms.augmentation import SameInAllFrames
from peridot.datasets.transforms.lidar_segments import LoadLidarSegments
from peridot.datasets.transforms.loading import (
    LoadImageViews,
    LoadPairLabels,
    LoadPointLabels,
    LoadPoints,
    LoadViewMaps,
    ProjectPoints,
)
from peridot.datasets.transforms.occlusion import DropMovingPairs, DropOccludedPairs
from peridot.datasets.transforms.occupancy import SampleOccupancyQueries
from peridot.datasets.transforms.packing import PackPaired
from peridot.datasets.transforms.points import (
    AppendPointFeatures,
    AugmentPointFeatures,
    DropCuboids,
    RandomFlipAxis,
    ShiftPoints,
)
from peridot.datasets.transforms.sampling import ChooseCamera, DrawCameras, LimitPoints, SamplePoints, VoxelDownsample
from peridot.datasets.transforms.sweeps import LoadSecondSweep
from peridot.datasets.transforms.views import RandomFlipViews, RandomResizedCropViews, ResizeViews, ViewTransform

__all__ = [
    'AppendPointFeatures',
    'AugmentPointFeatures',
    'ChooseCamera',
    'DrawCameras',
    'DropCuboids',
    'DropMovingPairs',
    'DropOccludedPairs',
    'LimitPoints',
    'LoadImageViews',
    'LoadLidarSegments',
    'LoadPairLabels',
    'LoadPointLabels',
    'LoadPoints',
    'LoadSecondSweep',
    'LoadViewMaps',
    'PackPaired',
    'ProjectPoints',
    'RandomFlipAxis',
    'RandomFlipViews',
    'RandomResizedCropViews',
    'ResizeViews',
    'SameInAllFrames',
    'SampleOccupancyQueries',
    'SamplePoints',
    'ShiftPoints',
    'ViewTransform',
    'VoxelDownsample',
]

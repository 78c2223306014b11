"""Transforms of paired samples; rotation, scaling and flips of the cloud are mmdet3d's own."""

from peridot.datasets.transforms.loading import (
    LoadImageViews,
    LoadPairLabels,
    LoadPointLabels,
    LoadPoints,
    LoadViewMaps,
    ProjectPoints,
)
from peridot.datasets.transforms.packing import PackPaired
from peridot.datasets.transforms.points import DropCuboids
from peridot.datasets.transforms.views import RandomFlipViews, RandomResizedCropViews, ResizeViews

__all__ = [
    'DropCuboids',
    'LoadImageViews',
    'LoadPairLabels',
    'LoadPointLabels',
    'LoadPoints',
    'LoadViewMaps',
    'PackPaired',
    'ProjectPoints',
    'RandomFlipViews',
    'RandomResizedCropViews',
    'ResizeViews',
]

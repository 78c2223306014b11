"""Paired image-lidar datasets, samplers and transforms; importing this package registers them."""

from peridot.catalog import CATALOG
from peridot.datasets import transforms
from peridot.datasets.camera_images import CameraImageDataset
from peridot.datasets.lidar_folder import LidarFolder
from peridot.datasets.mixed_dataset import MixedDataset
from peridot.datasets.paired_dataset import PairedDataset
from peridot.datasets.projection import project_to_cameras
from peridot.datasets.sampler import SampleKey, SeededSampler, seeded_sample
from peridot.datasets.splits import label_fraction, make_splits

__all__ = [
    'CATALOG',
    'CameraImageDataset',
    'LidarFolder',
    'MixedDataset',
    'PairedDataset',
    'SampleKey',
    'SeededSampler',
    'label_fraction',
    'make_splits',
    'project_to_cameras',
    'seeded_sample',
    'transforms',
]

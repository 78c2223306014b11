"""Paired image-lidar datasets, samplers and transforms; importing this package registers them."""

from peridot.datasets import transforms
from peridot.datasets.paired_dataset import PairedDataset, nuscenes_lidarseg_meta
from peridot.datasets.projection import project_to_cameras
from peridot.datasets.sampler import SampleKey, SeededSampler, seeded_sample

__all__ = [
    'PairedDataset',
    'SampleKey',
    'SeededSampler',
    'nuscenes_lidarseg_meta',
    'project_to_cameras',
    'seeded_sample',
    'transforms',
]

"""Objectives of six methods at once on the synthetic streets, in one forward pass of the student.

`benchmarks/combinations.py` chooses among them. Two scans a step, the keyframe with its images and the next one
without.
"""

_base_ = [
    '../_base_/datasets/demo_paired.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/seal.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

# as in olivine_demo.py, also_demo.py, ...
num_label_classes = 16
heads = dict(
    _base_.heads,
    pixel=dict(channels=64),
    semantic=dict(channels=64),
    distill=dict(type='peridot.DistillationHead'),
    occupancy=dict(type='peridot.LatentHead', channels=128),
    bev=dict(type='peridot.LatentHead', channels=128),
)
objectives = dict(
    infonce=dict(type='peridot.PointPixelInfoNCE', head='pixel', loss_weight=0.5, num_pairs=2048),
    weak=dict(type='peridot.WeaklySupervisedContrast', head='semantic', loss_weight=0.5, num_pairs=2048),
    vmf=dict(type='peridot.VMFConsistency', head='semantic', num_classes=num_label_classes, loss_weight=0.02),
    superpixel=_base_.objectives.superpixel,
    distance=dict(type='peridot.FeatureDistance', head='distill'),
    occupancy=dict(type='peridot.OccupancyReconstruction', head='occupancy'),
    temporal=_base_.objectives.temporal,
    segment=_base_.objectives.segment,
    bev=dict(type='peridot.BEVCellContrast', head='bev'),
)
train_pipeline = [
    _base_.load_points,
    _base_.load_segments,
    *_base_.load_views,
    dict(type='peridot.LoadPairLabels'),
    dict(type='peridot.LoadViewMaps'),
    *_base_.augment_points,
    dict(type='peridot.SampleOccupancyQueries', num_queries=2048, intensity_scale=255.0, voxel_size=0.1),
    *_base_.augment_views,
    _base_.pack,
]
maps = dict(labels='weak_labels/kmeans', superpixels=_base_.superpixels, lidar_segments=_base_.lidar_segments)
train_dataloader = dict(dataset=dict(maps=maps, frames=_base_.frames, pipeline=train_pipeline))

model = dict(heads=heads, objectives=objectives)

default_hooks = dict(logger=dict(interval=10))

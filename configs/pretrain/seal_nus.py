"""Seal on nuScenes: superpixel InfoNCE, contrast of lidar segments of two keyframes, and points against the segments.

Paper: "Segment Any Point Cloud Sequences by Distilling Vision Foundation Models", NeurIPS 2023.

The training code was never released. Public are the superpixels, that two lidar frames are read, that the temporal
segments come from RANSAC and HDBSCAN, and the names of three losses. Inferred, or ours: the forms of the two temporal
losses, n = 1 keyframe, temperature 0.07, weights 1, gradients, and all settings of the segments. Networks and schedule
are SLidR's (slidr_nus.py). The superpixels are SLIC's; for those of SAM, as Seal has:
`train_dataloader.dataset.maps.superpixels=superpixels/sam`.
"""

_base_ = [
    '../_base_/datasets/nus_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/seal.py',
    '../_base_/schedules/sgd_cosine_50e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    _base_.load_points,
    # knows the points of the files
    _base_.load_segments,
    *_base_.load_views,
    dict(type='peridot.LoadViewMaps'),
    *_base_.augment,
]
train_dataloader = dict(
    dataset=dict(
        maps=dict(superpixels=_base_.superpixels, lidar_segments=_base_.lidar_segments),
        frames=_base_.frames,
        pipeline=train_pipeline,
    )
)

model = dict(heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=4)

"""ALSO on nuScenes as published: occupancy on a MinkUNet34 with one convolution in its stem, 600 training scenes.

Paper: "ALSO: Automotive Lidar Self-supervision by Occupancy estimation", CVPR 2023. The network is Res16UNet34C with a
momentum of 0.1 in all batch normalizations. Batch 16 on 1 GPU, 200 epochs, AdamW 0.001, voxels of 0.1 m, intensity in
[0, 1], 16384 points and 2048 queries per scan.
`python tools/make_splits.py nuscenes --root data/nuscenes --rule also --percent 100` makes the split.

Differences from the released code are those of also_nus.py, except its scenes, its student and its intensities.
"""

_base_ = './also_nus.py'

load_points = dict(_base_.load_points, intensity_scale=255)
probe_pipeline = [load_points, _base_.load_labels, _base_.pack]
decimation, rotation, flip, _, sample_points = _base_.sparse_scan
queries = dict(type='peridot.SampleOccupancyQueries', num_queries=2048)
train_pipeline = [load_points, decimation, rotation, flip, queries, sample_points, _base_.pack]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='peridot.LabelFraction',
        split='splits/nuscenes_also_100pct.txt',
        dataset=dict(_base_.train_dataset, cameras=[], pipeline=train_pipeline),
    )
)
picture_dataset = dict(pipeline=probe_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(student=dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.1)))

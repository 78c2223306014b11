"""OLIVINE and ALSO combined on the synthetic streets, in one forward pass of the student."""

_base_ = './olivine_demo.py'

queries = dict(type='peridot.SampleOccupancyQueries', num_queries=2048, intensity_scale=255.0, voxel_size=0.1)
train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadPairLabels'),
    # rotation and flips come before the queries
    *_base_.augment_points,
    queries,
    *_base_.augment_views,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    heads=dict(occupancy=dict(type='peridot.LatentHead', channels=128)),
    objectives=dict(occupancy=dict(type='peridot.OccupancyReconstruction', head='occupancy')),
)
custom_hooks = [*_base_.custom_hooks, dict(type='peridot.OccupancyPictureHook')]

"""OLIVINE and ALSO combined on nuScenes, in one forward pass of the student.

Nothing was published for this combination. Network, optimizer and schedule are OLIVINE's, with ALSO's queries drawn
from the scan before cuboids are dropped; each of ALSO's losses has weight 1.
"""

_base_ = './olivine_nus.py'

# of one return per voxel; where ALSO trains alone it reduces the scan itself
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

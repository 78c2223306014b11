"""CleverDistiller: the feature of a point should be that of its pixel after a head of three layers, and tell occupancy.

"CleverDistiller: Simple and Spatially Consistent Cross-modal Distillation", BMVC 2025. Public are the direct feature
similarity, the head of three layers and an occupancy task. Our reading, because nothing was released: cosine distance,
the widths and ReLUs of ScaLR+'s head, ALSO's occupancy task, and the weights.
"""

_base_ = './scalr.py'

teacher = dict(model='vit_base_patch14_dinov2.lvd142m', weights='checkpoints/dinov2_vitb14_pretrain.pth')
heads = dict(
    distill=dict(hidden_channels=2048, num_layers=3),
    occupancy=dict(type='peridot.LatentHead', channels=128),
)
objectives = dict(
    distance=dict(distance='cosine'),
    occupancy=dict(type='peridot.OccupancyReconstruction', head='occupancy'),
)
# of the points that the network sees, after rotation, scale and flip; intensity 0 to 255
queries = dict(type='peridot.SampleOccupancyQueries', num_queries=2048, intensity_scale=255.0)
occupancy_picture = dict(type='peridot.OccupancyPictureHook')

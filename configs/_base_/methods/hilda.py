"""HilDA's first two parts: layers of teacher and student, and a scene token; with occupancy of the next frame.

"HilDA: Hierarchical Distillation with Diffusion for Advancing Self-Supervised LiDAR Pre-training", ECCV 2026. Its third
part, a diffusion of future occupancy, is left out: ALSO's queries of the next frame stand in its place. Our reading,
because nothing was released: the student's stages, heads, weights, and all that docs/methods/hilda.md calls so.
"""

_base_ = './scalr.py'

teacher = dict(
    model='vit_base_patch14_dinov2.lvd142m',
    weights='checkpoints/dinov2_vitb14_pretrain.pth',
    # the last two blocks before the final normalization, and the class token after it
    out_indices=(-2, -1),
    class_token=True,
)
heads = dict(
    _delete_=True,
    last=dict(type='peridot.DistillationHead', hidden_channels=2048, teacher_layer=-1),
    before=dict(type='peridot.DistillationHead', hidden_channels=2048, student_layer='decoder2', teacher_layer=-2),
    scene=dict(type='peridot.DistillationHead', hidden_channels=2048, teacher_layer='class_token', normalize=False),
    occupancy=dict(type='peridot.LatentHead', channels=128),
)
# the mean over two layers
each_layer = dict(type='peridot.FeatureDistance', distance='cosine', mean_over='images', loss_weight=0.5)
objectives = dict(
    _delete_=True,
    last=dict(each_layer, head='last'),
    before=dict(each_layer, head='before'),
    scene=dict(type='peridot.SceneToken', head='scene'),
    # what is occupied in the next frame, asked of the keyframe
    occupancy=dict(type='peridot.OccupancyReconstruction', head='occupancy', frames=(1, 0)),
)
# of the points after rotation, scale and flip; intensity 0 to 255
queries = dict(type='peridot.SampleOccupancyQueries', num_queries=2048, intensity_scale=255.0)
# the keyframe after the sample's own, with its images
next_frame = dict(keyframes=(1,))
occupancy_picture = dict(type='peridot.OccupancyPictureHook')

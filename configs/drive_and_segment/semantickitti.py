"""Drive&Segment on SemanticKITTI's sequences: proposals from a Velodyne HDL-64E for the left color camera."""

_base_ = '../_base_/datasets/semantickitti_paired.py'

proposals = dict(
    load_points=dict(type='peridot.LoadPoints', load_dim=4, use_dim=4),
    sensor=dict(
        columns=870,
        # the upper 32 beams are closer together; the files have no ring
        elevations=[2.0 - 10.5 / 31 * beam for beam in range(32)] + [-8.87 - 16.0 / 31 * beam for beam in range(32)],
    ),
    ground=dict(seed_angle=30.0, step_angle=5.0, tolerance=0.1, climb=0.3, reach=40.0),
    clusters=dict(angle=10.0, min_points=10, max_share=0.2),
    regions=dict(reach=1.0, border=0.25, min_points=5, min_pixels=100, min_side=8),
)

pseudo_classes = dict(
    teacher=dict(
        type='peridot.TimmTeacher',
        model='vit_small_patch16_224.dino',
        weights='checkpoints/dino_deitsmall16_pretrain.pth',
        image_size=(224, 224),
    ),
    pool='class',
    num_clusters=30,
)

"""Drive&Segment on nuScenes: proposals from a Velodyne HDL-32E for six cameras."""

_base_ = '../_base_/datasets/nus_paired.py'

proposals = dict(
    # x, y, z, intensity, ring
    load_points=dict(type='peridot.LoadPoints', load_dim=5, use_dim=5),
    sensor=dict(
        columns=1085,
        ring_column=4,
        # for files without rings set ring_column=None
        elevations=[10.67 - 1.3335 * beam for beam in range(32)],
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

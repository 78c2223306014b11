"""Drive&Segment: settings of proposals and pseudo-labels for all datasets. Each config adds its lidar."""

proposals = dict(
    ground=dict(seed_angle=30.0, step_angle=5.0, tolerance=0.1, climb=0.3, reach=40.0),
    clusters=dict(angle=10.0, min_points=10, max_fraction=0.2),
    regions=dict(reach=1.0, border=0.25, min_points=5, min_pixels=100, min_side=8),
)

pseudo_labels = dict(
    teacher=dict(
        type='peridot.TimmTeacher',
        model='vit_small_patch16_224.dino',
        weights='checkpoints/dino_deitsmall16_pretrain.pth',
        image_size=(224, 224),
    ),
    pool='class',
    num_clusters=30,
)

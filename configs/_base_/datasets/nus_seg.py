"""nuScenes lidarseg for fine-tuning: points and their classes, no images.

A config gives both datasets a pipeline: `load`, its augmentation in training, and its packing.
"""

load = [
    dict(type='peridot.LoadPoints', load_dim=5, use_dim=4),
    dict(type='peridot.LoadPointLabels'),
]
train_dataset = dict(
    type='peridot.PairedDataset',
    data_root='data/nuscenes/',
    ann_file='nuscenes_infos_train.pkl',
    data_prefix=dict(pts='samples/LIDAR_TOP', pts_semantic_mask='lidarseg/{version}'),
    cameras=[],
    dataset='nuscenes',
)
test_dataset = dict(train_dataset, ann_file='nuscenes_infos_val.pkl', test_mode=True)

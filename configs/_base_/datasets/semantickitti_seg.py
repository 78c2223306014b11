"""SemanticKITTI for fine-tuning: points and their classes, no images.

A config gives both datasets a pipeline: `load`, its augmentation in training, and its packing.
"""

load = [
    dict(type='peridot.LoadPoints', load_dim=4, use_dim=4),
    dict(type='peridot.LoadPointLabels', dtype='uint32'),
]
train_dataset = dict(
    type='peridot.PairedDataset',
    data_root='data/semantickitti/',
    ann_file='semantickitti_infos_train.pkl',
    cameras=[],
    dataset='semantickitti',
)
test_dataset = dict(train_dataset, ann_file='semantickitti_infos_val.pkl', test_mode=True)

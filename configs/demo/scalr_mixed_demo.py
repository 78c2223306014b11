"""ScaLR on the synthetic streets as three datasets with different sensors: nuScenes, SemanticKITTI and Pandar64.

`python tools/make_demo_data.py --format FORMAT` makes data/demo_semantickitti and data/demo_pandaset.
"""

_base_ = './scalr_demo.py'

semantickitti_train = dict(_base_.semantickitti_train, data_root='data/demo_semantickitti/')
pandar64_train = dict(_base_.pandar64_train, data_root='data/demo_pandaset/')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='peridot.MixedDataset',
        datasets=[
            _base_.train_dataloader.dataset,
            semantickitti_train,
            pandar64_train,
        ],
    )
)
# 175 samples an epoch: as many steps as the other methods
epochs = 3
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [dict(_base_.param_scheduler[0], end=epochs)]
# for the report: one point's feature compared across datasets
views = [
    dict(type='peridot.LoadImageViews'),
    dict(type='peridot.ProjectPoints', min_depth=1.0),
    dict(type='peridot.ResizeViews', size=_base_.image_size),
]
other_picture_datasets = [
    dict(
        semantickitti_train,
        ann_file='semantickitti_infos_val.pkl',
        pipeline=[_base_.load_four, *views, _base_.semantickitti_features, _base_.pack],
        test_mode=True,
    ),
    dict(
        pandar64_train,
        ann_file='pandar64_infos_val.pkl',
        pipeline=[_base_.load_four, *views, _base_.pandar64_features, _base_.pack],
        test_mode=True,
    ),
]

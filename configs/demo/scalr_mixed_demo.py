"""ScaLR on the synthetic streets as three datasets with other sensors: nuScenes, SemanticKITTI and PandaSet's 64 beams.

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

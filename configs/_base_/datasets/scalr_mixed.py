"""ScaLR's joint pre-training: nuScenes, SemanticKITTI and PandaSet's two lidars one after another (55 100 samples).

`train_dataloader.dataset.balance='sqrt'` or `'equal'` gives small datasets a larger part of an epoch. Linear
probe and figures are those of nuScenes.
"""

_base_ = './scalr_nus.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='peridot.MixedDataset',
        datasets=[_base_.nus_train, _base_.semantickitti_train, _base_.pandar64_train, _base_.pandargt_train],
        balance=None,
    )
)

"""Foreground discovery on the synthetic streets, which shows that it runs, not how good it is.

It needs a transformer with attention. No pre-trained one comes with the demo: this one has random weights.
"""

_base_ = './scalr_minkunet_demo.py'

model = dict(
    teacher=dict(
        _delete_=True, type='peridot.TimmTeacher', model='vit_tiny_patch16_224', weights=None, final_norm=False
    )
)

fit_dataset = dict(_base_.picture_dataset, ann_file='nuscenes_infos_train.pkl')
val_dataloader = dict(batch_size=1, dataset=dict(_base_.picture_dataset, _delete_=True))
val_evaluator = dict(_delete_=True, type='peridot.ForegroundMetric', prefix='discovery')
val_cfg = dict(
    _delete_=True,
    type='peridot.DiscoveryLoop',
    fit_dataloader=dict(_base_.val_dataloader, batch_size=1, dataset=fit_dataset),
)

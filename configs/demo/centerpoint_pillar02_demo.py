"""CenterPoint with pillars on the synthetic streets: every sample once an epoch, few epochs."""

_base_ = '../finetune/centerpoint_pillar02_nus/100pct.py'

load_from = 'work_dirs/slidr_centerpoint_demo/backbone.pth'
data_root = 'data/demo/'
objects = dict(data_root=data_root, info_path=f'{data_root}nuscenes_dbinfos_train.pkl')
train_pipeline = [
    dict(step, db_sampler=dict(step['db_sampler'], **objects)) if step['type'] == 'ObjectSample' else step
    for step in _base_.train_pipeline
]
train_dataset = _base_.train_dataloader.dataset.dataset
train_dataset.dataset.update(data_root=data_root, pipeline=train_pipeline)
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(_delete_=True, **train_dataset))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(data_root=data_root, ann_file=f'{data_root}nuscenes_infos_val.pkl')
test_evaluator = val_evaluator

epochs = 2
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, total_steps=epochs, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
default_hooks = dict(logger=dict(interval=5))

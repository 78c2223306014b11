"""SECOND on the synthetic streets in KITTI's layout (`python tools/make_demo_data.py --format kitti`), few epochs."""

_base_ = '../finetune/second_kitti/100pct.py'

load_from = 'work_dirs/olivine_second_demo/backbone.pth'
data_root = 'data/demo_kitti/'
objects = dict(data_root=data_root, info_path=f'{data_root}kitti_dbinfos_train.pkl')
train_pipeline = [
    dict(step, db_sampler=dict(step['db_sampler'], **objects)) if step['type'] == 'ObjectSample' else step
    for step in _base_.train_pipeline
]
train_dataset = _base_.train_dataloader.dataset.dataset
train_dataset.dataset.update(data_root=data_root, pipeline=train_pipeline)
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(_delete_=True, **train_dataset))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root}kitti_infos_val.pkl')
test_evaluator = val_evaluator

epochs = 2
param_scheduler = [dict(type='OneCycleLR', eta_max=2e-3, total_steps=epochs, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
default_hooks = dict(logger=dict(interval=5))

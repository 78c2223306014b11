"""The synthetic streets of tools/make_demo_data.py in place of nuScenes."""

_base_ = './nus_paired.py'

demo_data = dict(data_root='data/demo/')

train_dataloader = dict(batch_size=1, num_workers=1, dataset=demo_data)
val_dataloader = dict(num_workers=1, dataset=demo_data)
val_cfg = dict(fit_dataloader=dict(num_workers=1, dataset=demo_data))
picture_dataset = demo_data

"""SLidR on the synthetic streets as own recordings (docs/own_recording.md), scaled down like slidr_demo.py.

`python tools/make_demo_data.py --format folder` makes data/demo_folder.
"""

_base_ = [
    '../_base_/datasets/folder_labeled.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/slidr.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

demo_data = dict(data_root='data/demo_folder/')
train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadViewMaps'),
    *_base_.augment,
]
train_dataset = dict(**demo_data, maps=dict(superpixels=_base_.superpixels), pipeline=train_pipeline)
train_dataloader = dict(batch_size=1, num_workers=1, dataset=train_dataset)
val_dataloader = dict(num_workers=1, dataset=demo_data)
val_cfg = dict(fit_dataloader=dict(num_workers=1, dataset=demo_data))
picture_dataset = demo_data

model = dict(heads=_base_.heads, objectives=_base_.objectives)

default_hooks = dict(logger=dict(interval=10))

"""Fine-tuning of Res16UNet34C, the network of ALSO's code, on nuScenes lidarseg as ALSO does, all 700 training scenes.

ALSO takes 600 of the scenes (also-100pct.py). Intensities are in [0, 1], as in its code.

Differences from the released code: see configs/finetune/minkunet34_nus/also.py.
"""

_base_ = '../minkunet34_nus/also.py'

load_from = 'work_dirs/also_res16unet34_nus/backbone.pth'

load = [dict(_base_.load[0], intensity_scale=255), _base_.load[1]]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=[*load, *_base_.augment, _base_.pack])))
val_dataloader = dict(dataset=dict(pipeline=[*load, _base_.pack]))
test_dataloader = val_dataloader

model = dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.1))

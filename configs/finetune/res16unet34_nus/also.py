"""Fine-tuning of Res16UNet34C on nuScenes lidarseg as ALSO does, all 700 training scenes.

It is the network of ALSO's released code. ALSO takes 600 of the scenes (also-100pct.py).

Differences from the released code: see configs/finetune/minkunet34_nus/also.py.
"""

_base_ = '../minkunet34_nus/also.py'

load_from = 'work_dirs/also_res16unet34_nus/backbone.pth'

model = dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.1))

"""Fine-tuning of the narrow Res16UNet on the labels of one of the eight synthetic training scenes."""

_base_ = ['./minkunet18_10pct_demo.py', '../_base_/models/res16unet18.py']

load_from = 'work_dirs/slidr_res16unet18_demo/backbone.pth'

model = dict(backbone=dict(_base_.res16unet18, _delete_=True, norm_momentum=0.02))

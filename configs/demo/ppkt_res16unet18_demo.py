"""PPKT on a narrow Res16UNet of 18 layers, scaled down to two CPU cores, see ppkt_demo.py."""

_base_ = ['./ppkt_demo.py', '../_base_/models/res16unet18.py']

model = dict(student=dict(backbone=dict(_base_.res16unet18, _delete_=True)))

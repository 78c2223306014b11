"""Fine-tuning of Res16UNet34C, the network of SLidR, PPKT and OLIVINE, on nuScenes lidarseg, all 700 training scenes.

Published mIoU on the validation set: random 74.66, PPKT 74.52, SLidR 74.79, OLIVINE 76.54.
Learning rates for this fraction were not published; those for 1 % are used.
"""

_base_ = '../minkunet34_nus/100pct.py'

load_from = 'work_dirs/slidr_res16unet34_nus/backbone.pth'

model = dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.02))

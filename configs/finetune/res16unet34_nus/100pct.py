"""Fine-tuning of Res16UNet34C, the network of SLidR, PPKT and OLIVINE, on nuScenes lidarseg, all 700 training scenes.

Published mIoU on the validation set: random 74.66, PPKT 74.52, SLidR 74.79, OLIVINE 76.54.
Learning rates for this fraction were not published; those for 1 % are used. They belong to pre-trained starts; a
random one had 0.05 for all layers (`random_init_options`, which tools/benchmark.py sets).

Differences from the released code: the head has no output for unlabeled points (there: one of 17, which the losses
count), and starts from smaller weights (a standard deviation of 0.01; there 0.06).
"""

_base_ = '../minkunet34_nus/100pct.py'

load_from = 'work_dirs/slidr_res16unet34_nus/backbone.pth'

# as in the released code, the last batch of an epoch is left out if it is not full
train_dataloader = dict(drop_last=True)
model = dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.02))

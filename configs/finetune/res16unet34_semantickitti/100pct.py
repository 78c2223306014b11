"""Fine-tuning of Res16UNet34C on SemanticKITTI, all 19130 training scans (sequences 00 to 07, 09, 10).

Learning rates for this fraction were not published; those for 1 % are used. They belong to pre-trained starts; a
random one had 0.05 for all layers (`random_init_options`, which tools/benchmark.py sets).

Differences from the released code: those of configs/finetune/res16unet34_nus/100pct.py, with 20 outputs.
"""

_base_ = '../minkunet34_semantickitti/100pct.py'

load_from = 'work_dirs/slidr_res16unet34_nus/backbone.pth'

train_dataloader = dict(drop_last=True)
model = dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.02))

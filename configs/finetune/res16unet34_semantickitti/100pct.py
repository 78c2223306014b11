"""Fine-tuning of Res16UNet34C on SemanticKITTI, all 19130 training scans (sequences 00 to 07, 09, 10).

Learning rates for this fraction were not published; those for 1 % are used.
"""

_base_ = '../minkunet34_semantickitti/100pct.py'

load_from = 'work_dirs/slidr_res16unet34_nus/backbone.pth'

model = dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.02))

"""Linear probing of Res16UNet34C on nuScenes lidarseg: the backbone is frozen, all 700 training scenes.

Published mIoU on the validation set: random 8.1, PPKT 35.90, SLidR 38.80, OLIVINE 50.09.
The number of epochs was not published; the 100 of the released config are used.
"""

_base_ = './100pct.py'

model = dict(type='peridot.LinearProbeSegmentor')
optim_wrapper = dict(optimizer=dict(lr=0.05), paramwise_cfg=None)

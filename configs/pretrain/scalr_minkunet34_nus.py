"""ScaLR's teacher, samples and objective with the sparse U-Net of SLidR and OLIVINE. No published number was found.

The network reads the normalized intensity.
"""

_base_ = [
    '../_base_/datasets/scalr_nus.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/scalr.py',
    '../_base_/schedules/scalr_25e.py',
    '../_base_/default_runtime.py',
]

model = dict(teacher=dict(_base_.teacher, _delete_=True), heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=8)

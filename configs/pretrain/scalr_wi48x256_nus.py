"""ScaLR on nuScenes alone with WaffleIron 48x256, a ninth of the parameters. No published number was found."""

_base_ = [
    '../_base_/datasets/scalr_nus.py',
    '../_base_/models/waffleiron48x256.py',
    '../_base_/methods/scalr.py',
    '../_base_/schedules/scalr_25e.py',
    '../_base_/default_runtime.py',
]

model = dict(teacher=_base_.teacher, heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=8)

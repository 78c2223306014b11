"""PPKT scaled down to two CPU cores, see olivine_demo.py; the image network at stride 32."""

_base_ = [
    '../_base_/datasets/demo_paired.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/ppkt.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    teacher=dict(out_index=4),
    heads=_base_.heads,
    objectives=dict(infonce=dict(_base_.objectives.infonce, num_pairs=2048)),
)

default_hooks = dict(logger=dict(interval=10))

"""Fine-tuning as ALSO does, on all labels of the synthetic streets, with the demo's student.

AdamW, one learning rate for all layers, cross-entropy alone; random networks have the same settings.
"""

_base_ = './minkunet18_100pct_demo.py'

model = dict(decode_head=dict(loss_lovasz=dict(type='mmdet3d.LovaszLoss', reduction='none', loss_weight=0.0)))
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01))
random_init_options = dict(_delete_=True)

"""Fine-tuning the demo's WaffleIron on the labels of one of the eight synthetic training scenes.

`python tools/make_splits.py nuscenes --root data/demo --rule random --percent 10` makes the split.
"""

_base_ = '../finetune/waffleiron48x768_nus/10pct.py'

load_from = 'work_dirs/scalr_demo/backbone.pth'
demo_data = dict(data_root='data/demo/')
train_dataloader = dict(
    batch_size=1, num_workers=1, dataset=dict(split='splits/nuscenes_random_10pct.txt', dataset=demo_data)
)
val_dataloader = dict(dataset=demo_data)
test_dataloader = dict(dataset=demo_data)

point_cloud_range = (-48, -48, -6, 48, 48, 10)
model = dict(
    data_preprocessor=dict(point_cloud_range=point_cloud_range),
    backbone=dict(channels=64, depth=12, point_cloud_range=point_cloud_range, grid_size=(96, 96, 16)),
    decode_head=dict(channels=64),
)

train_cfg = dict(val_interval=45)
# the same settings for all starts
random_init_options = dict(_delete_=True)

"""Fine-tuning on all labels of the synthetic streets, with the demo's student."""

_base_ = '../finetune/minkunet34_nus/100pct.py'

load_from = 'work_dirs/olivine_demo/backbone.pth'
demo_data = dict(data_root='data/demo/')
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(dataset=demo_data))
val_dataloader = dict(dataset=demo_data)
test_dataloader = dict(dataset=demo_data)

model = dict(
    data_preprocessor=dict(coordinates='cartesian', voxel_size=(0.2, 0.2, 0.2)),
    backbone=dict(
        base_channels=16,
        encoder_channels=[16, 32, 64, 128],
        encoder_blocks=[2, 2, 2, 2],
        decoder_channels=[128, 64, 48, 96],
    ),
    decode_head=dict(channels=96),
)

epochs = 5
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
default_hooks = dict(logger=dict(interval=10))

"""Segmenter ViT-S/16 of mmsegmentation as Drive&Segment released it: a decoder of one block, 31 outputs, from DINO."""

_base_ = 'mmseg::_base_/models/segmenter_vit-b16_mask.py'

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], size=(512, 512)),
    pretrained=None,
    backbone=dict(
        type='peridot.SegmenterViT',
        weights='checkpoints/dino_deitsmall16_pretrain.pth',
        embed_dims=384,
        num_heads=6,
        patch_bias=True,
    ),
    decode_head=dict(
        in_channels=384,
        channels=384,
        embed_dims=384,
        num_heads=6,
        num_layers=1,
        # the ground and 30 clusters
        num_classes=31,
        drop_rate=0.1,
        drop_path_rate=0.0,
        loss_decode=dict(_delete_=True, type='peridot.LabeledPixelLoss'),
    ),
    test_cfg=dict(crop_size=(512, 512), stride=(384, 384)),
)

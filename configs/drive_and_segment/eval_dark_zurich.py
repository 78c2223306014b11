"""Drive&Segment's network on Dark Zurich's validation images, 19 classes."""

_base_ = './eval_cityscapes.py'

test_dataloader = dict(
    dataset=dict(
        type='peridot.DarkZurichImages',
        data_root='data/dark_zurich/',
        data_prefix=dict(img_path='rgb_anon/val', seg_map_path='gt/val'),
    )
)

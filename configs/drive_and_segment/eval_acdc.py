"""Drive&Segment's network on ACDC's validation images, 19 classes: all conditions together, and each by itself."""

_base_ = './eval_cityscapes.py'

images_eval_pipeline = [
    *_base_.images_eval_pipeline[:-1],
    dict(type='mmseg.PackSegInputs', meta_keys=('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'condition')),
]
test_dataloader = dict(
    dataset=dict(
        type='peridot.ACDCImages',
        data_root='data/acdc/',
        data_prefix=dict(img_path='rgb_anon', seg_map_path='gt'),
        pipeline=images_eval_pipeline,
    )
)
test_evaluator = dict(group='condition')

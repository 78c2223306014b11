"""Drive&Segment's network on the test images of Nighttime Driving, 19 classes."""

_base_ = './eval_cityscapes.py'

test_dataloader = dict(
    dataset=dict(
        type='peridot.NightDrivingImages',
        data_root='data/NighttimeDrivingTest/',
        data_prefix=dict(img_path='leftImg8bit/test/night', seg_map_path='gtCoarse_daytime_trainvaltest/test/night'),
    )
)

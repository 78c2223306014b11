"""nuScenes' validation images against the lidarseg classes of the points that fall on them."""

images_eval_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='peridot.LoadPoints', load_dim=5, use_dim=4),
    dict(type='peridot.LoadPointLabels'),
    dict(type='peridot.ProjectPointLabels'),
    dict(type='mmseg.PackSegInputs'),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='peridot.LidarSegImages',
        data_root='data/nuscenes/',
        ann_file='nuscenes_infos_val.pkl',
        data_prefix=dict(
            pts='samples/LIDAR_TOP',
            pts_semantic_mask='lidarseg/{version}',
            CAM_FRONT='samples/CAM_FRONT',
            CAM_FRONT_RIGHT='samples/CAM_FRONT_RIGHT',
            CAM_BACK_RIGHT='samples/CAM_BACK_RIGHT',
            CAM_BACK='samples/CAM_BACK',
            CAM_BACK_LEFT='samples/CAM_BACK_LEFT',
            CAM_FRONT_LEFT='samples/CAM_FRONT_LEFT',
        ),
        dataset='nuscenes',
        pipeline=images_eval_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='peridot.MatchedMeanIoU')
test_evaluator = val_evaluator

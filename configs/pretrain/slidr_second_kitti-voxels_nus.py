"""SLidR on nuScenes for the sparse encoder of SECOND and PV-RCNN, see olivine_second_kitti-voxels_nus.py.

Published settings: all 700 training scenes, batch 6 on 1 GPU, SGD 0.01, 30 superpixels an image:
`python tools/make_superpixels.py configs/pretrain/slidr_second_kitti-voxels_nus.py --out superpixels/slic_30
--options n_segments=30`.
"""

_base_ = './slidr_nus.py'

superpixels = 'superpixels/slic_30'
train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadViewMaps', superpixels=superpixels),
    *_base_.augment,
]
train_dataloader = dict(batch_size=6, dataset=dict(pipeline=train_pipeline))

model = dict(
    student=dict(
        _delete_=True,
        type='peridot.DetectorTrunk',
        detector='mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
        read_after='middle_encoder',
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))

auto_scale_lr = dict(base_batch_size=6)

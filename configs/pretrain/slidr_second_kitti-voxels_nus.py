"""SLidR on nuScenes for the sparse encoder of SECOND and PV-RCNN, see olivine_second_kitti-voxels_nus.py.

Published settings: all 700 training scenes, batch 6 on 1 GPU, SGD 0.01, 30 superpixels per image:
`python tools/make_superpixels.py configs/pretrain/slidr_second_kitti-voxels_nus.py --out superpixels/slic_30
--options n_segments=30`.
"""

_base_ = './slidr_nus.py'

train_dataloader = dict(batch_size=6, dataset=dict(maps=dict(superpixels='superpixels/slic_30')))

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

"""PV-RCNN on KITTI.

Published for the encoder pre-trained on nuScenes, AP R40 moderate (Car, Pedestrian, Cyclist; mean): random 84.5 57.9
71.3; 71.3, PPKT 83.2 55.5 73.8; 70.8, SLidR 84.4 57.3 74.2; 71.9, OLIVINE 84.8 59.3 74.2; 72.8.
"""

_base_ = [
    'mmdet3d::pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py',
    '../_base_/finetune/hooks.py',
]

# weights of a pre-training; None starts from random ones
load_from = 'work_dirs/olivine_second_kitti-voxels_nus/backbone.pth'

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='peridot.LabelFraction',
            split=None,
            dataset=_base_.train_dataloader.dataset.dataset,
        )
    )
)

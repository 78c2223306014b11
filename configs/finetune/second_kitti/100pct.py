"""Fine-tuning SECOND on KITTI.

Published AP R40 moderate for the encoder pre-trained on nuScenes (Car, Pedestrian, Cyclist; mean): random 81.5 50.9
66.5; 66.3, PPKT 81.8 51.4 68.2; 67.1, SLidR 81.9 51.6 68.5; 67.3, OLIVINE 82.0 53.2 69.8; 68.3. The detector's own
settings, 80 epochs; its authors note that results vary by more than 1 point.
"""

_base_ = [
    'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
    '../../_base_/finetune/hooks.py',
]

# weights of a pre-training run; None starts from random ones
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

# mmdet3d saves the last epoch alone: a killed run could not continue
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))

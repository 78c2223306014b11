"""Fine-tuning CenterPoint with voxels of 0.1 m on nuScenes; NDS and mAP are computed by the official devkit.

Nothing was published with all labels; docs/model_zoo.md has numbers for 5 to 20 % of them.
"""

_base_ = [
    'mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py',
    '../../_base_/finetune/hooks.py',
]

# weights of a pre-training run; None starts from random ones
load_from = 'work_dirs/olivine_centerpoint_voxel01_nus/backbone.pth'

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

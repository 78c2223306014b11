"""OLIVINE: point-pixel InfoNCE, weakly-supervised contrast, vMF class consistency.

"Fine-grained Image-to-LiDAR Contrastive Distillation with Visual Foundation Models", NeurIPS 2024.
"""

# folder of the weak labels, relative to the data root, and their number of classes (both from its manifest)
weak_labels = 'weak_labels/olivine'
num_label_classes = 17

heads = dict(instance=dict(channels=64), semantic=dict(channels=64))
objectives = dict(
    infonce=dict(type='peridot.PointPixelInfoNCE', head='instance', loss_weight=0.5),
    weak=dict(type='peridot.WeaklySupervisedContrast', head='semantic', loss_weight=0.5),
    vmf=dict(
        type='peridot.VMFConsistency',
        head='semantic',
        num_classes=num_label_classes,
        # published for 1758 steps an epoch; None takes the same share of any training
        warmup_steps=10001,
        loss_weight=1.0,
    ),
)

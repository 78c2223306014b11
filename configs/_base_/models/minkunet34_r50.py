"""Student and teacher of SLidR and OLIVINE: a 34-layer sparse U-Net, and MoCoV2's ResNet-50 at stride 4."""

model = dict(
    type='peridot.Pretrainer',
    student=dict(
        type='peridot.SparseUNetStudent',
        # (rho in meters, phi in degrees, z in meters)
        coordinates='cylindrical',
        voxel_size=(0.1, 1.0, 0.1),
        # raw intensity
        feature_columns=(3,),
        backbone=dict(
            type='MinkUNetBackbone',
            in_channels=1,
            num_stages=4,
            base_channels=32,
            encoder_channels=[32, 64, 128, 256],
            encoder_blocks=[2, 3, 4, 6],
            decoder_channels=[256, 128, 96, 96],
            decoder_blocks=[2, 2, 2, 2],
            block_type='basic',
            sparseconv_backend='spconv',
        ),
    ),
    teacher=dict(
        type='peridot.TimmTeacher',
        model='resnet50',
        output_stride=4,
        weights='checkpoints/moco_v2_800ep_pretrain.pth.tar',
    ),
)

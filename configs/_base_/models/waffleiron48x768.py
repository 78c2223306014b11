"""Student of ScaLR: WaffleIron with 48 layers of 768 channels, layer normalization, cells of 0.5 m."""

model = dict(
    type='peridot.Pretrainer',
    student=dict(
        type='peridot.WaffleIronStudent',
        # meters, the voxels of evaluation; in training the pipeline chooses the points
        voxel_size=0.1,
        # normalized intensity, x, y, z and range, as peridot.AppendPointFeatures appends them
        feature_columns=(3, 4, 5, 6, 7),
        backbone=dict(
            type='peridot.WaffleIron',
            in_channels=5,
            channels=768,
            depth=48,
            norm='layernorm',
            activation='relu',
            drop_path=0.0,
            point_cloud_range=(-64, -64, -8, 64, 64, 8),
            grid_size=(256, 256, 32),
            num_neighbors=16,
        ),
    ),
)

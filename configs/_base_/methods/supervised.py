"""Supervision by the 16 classes of nuScenes lidarseg, which pre-training without labels is measured against."""

heads = dict(classes=dict(type='peridot.LatentHead', channels=16))
objectives = dict(classes=dict(type='peridot.PointClassification', head='classes', ignore_index=16))

"""PPKT: point-pixel InfoNCE, as SLidR's authors re-implemented it.

"Learning from 2D: Contrastive Pixel-to-Point Knowledge Transfer for 3D Pretraining", 2021.
"""

heads = dict(instance=dict(channels=64))
objectives = dict(infonce=dict(type='peridot.PointPixelInfoNCE', head='instance'))

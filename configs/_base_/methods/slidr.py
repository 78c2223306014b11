"""SLidR: superpixel InfoNCE.

"Image-to-Lidar Self-Supervised Distillation for Autonomous Driving Data", CVPR 2022.
"""

# folder of the superpixels, relative to the data root
superpixels = 'superpixels/slic'

heads = dict(instance=dict(channels=64))
objectives = dict(superpixel=dict(type='peridot.SuperpixelInfoNCE', head='instance'))

"""Seal: superpixel InfoNCE, and two terms over lidar segments of two keyframes.

"Segment Any Point Cloud Sequences by Distilling Vision Foundation Models", NeurIPS 2023. Its training code was never
released: the form of the two terms, their temperature and weights are inferred, see docs/methods/seal.md.
"""

# folders of superpixels and lidar segments, relative to the data root
superpixels = 'superpixels/slic'
lidar_segments = 'lidar_segments/hdbscan'

# the next keyframe, without its images
frames = dict(keyframes=(1,), cameras=False)
load_segments = dict(type='peridot.LoadLidarSegments')

heads = dict(instance=dict(channels=64))
objectives = dict(
    superpixel=dict(type='peridot.SuperpixelInfoNCE', head='instance'),
    temporal=dict(type='peridot.SuperpointContrast', head='instance', groups=None, frames=[(0, 1)], unit_means=True),
    segment=dict(type='peridot.PointSegmentConsistency', head='instance', frames=[(0, 1)]),
)

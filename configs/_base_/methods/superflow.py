"""SuperFlow: superpixels and superpoints of text-labeled maps, over three keyframes and a dense cloud, as released.

"4D Contrastive Superflows are Dense 3D Representation Learners", ECCV 2024.
"""

# folder of the maps of classes, relative to the data root: one id per class and sample
weak_labels = 'weak_labels/superflow'

# frames 1 and 2 are the keyframes before and after, frame 3 is the keyframe with the two sweeps before it; as released,
# what is missing is missing='repeat'
frames = dict(keyframes=(-1, 1), dense=2, max_gap=1.0)
# the same ones in all frames of a sample
draw_cameras = dict(
    type='peridot.SameInAllFrames',
    transforms=[dict(type='peridot.DrawCameras', num_cameras=3)],
)
load_maps = dict(type='peridot.LoadViewMaps', names=['labels'])
# each frame, the dense cloud too, draws its own
augment_clouds = [
    dict(type='mmdet3d.RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5),
    # half a turn
    dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[0.0, 3.141592653589793], scale_ratio_range=[0.95, 1.05]),
]
mirror_views = dict(type='peridot.RandomFlipViews', prob=0.5)

heads = dict(instance=dict(channels=64))
objectives = dict(
    # L_sc
    spatial=dict(type='peridot.SuperpixelInfoNCE', head='instance', superpixels='labels', ids='sample', within='frame'),
    # L_d2s; the paper is said to have distance='cosine'
    dense=dict(
        type='peridot.SuperpointContrast',
        head='instance',
        groups='labels',
        frames=[(0, 3)],
        distance='infonce',
    ),
    # L_tc
    temporal=dict(type='peridot.SuperpointContrast', head='instance', groups='labels', frames=[(0, 1), (0, 2)]),
)

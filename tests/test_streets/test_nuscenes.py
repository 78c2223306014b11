from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from streets.formats import make_frames
from streets.frame import Settings


def test_sensors_have_their_own_clocks_and_poses(nusc):
    scene = next(s for s in nusc.scene if s['name'] == 'scene-0103')
    sample = nusc.get('sample', scene['first_sample_token'])
    records = [nusc.get('sample_data', token) for token in sample['data'].values()]
    assert len({r['timestamp'] for r in records}) == 7
    places = {tuple(nusc.get('ego_pose', r['ego_pose_token'])['translation']) for r in records}
    assert len(places) == 7


def test_boxes_count_their_points(nusc):
    sample = nusc.sample[0]
    path, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
    points = LidarPointCloud.from_file(path).points[:3]
    for found in boxes:
        annotation = nusc.get('sample_annotation', found.token)
        assert abs(points_in_box(found, points).sum() - annotation['num_lidar_pts']) <= 2
    assert sum(nusc.get('sample_annotation', b.token)['num_lidar_pts'] > 0 for b in boxes) > 10


def test_map_mask_knows_the_road(nusc):
    for scene in nusc.scene:
        log = nusc.get('log', scene['log_token'])
        mask = nusc.get('map', log['map_token'])['mask']
        sample = nusc.get('sample', scene['first_sample_token'])
        record = nusc.get('sample_data', sample['data']['LIDAR_TOP'])
        x, y, _ = nusc.get('ego_pose', record['ego_pose_token'])['translation']
        assert mask.is_on_mask(x, y).all()
        assert not mask.is_on_mask(-1.0, -1.0).any()


def test_equal_seeds_give_equal_bytes(tmp_path, demo_root):
    settings = Settings(seed=0, keyframes=2, sweeps=1, image_size=(198, 352))
    make_frames(tmp_path, settings, 6, [1])
    files = [p for p in tmp_path.rglob('*') if p.is_file() and p.suffix in ('.jpg', '.bin')]
    assert len(files) == 6 + 2 + 1
    for path in files:
        assert path.read_bytes() == (demo_root / path.relative_to(tmp_path)).read_bytes(), path
    other = Settings(seed=1, keyframes=2, sweeps=0, image_size=(64, 96))
    make_frames(tmp_path / 'other', other, 6, [1])
    assert not any(
        p.read_bytes() == q.read_bytes()
        for p in tmp_path.glob('other/lidarseg/*/*')
        for q in files
        if q.suffix == '.bin'
    )

"""Segments of two scans: ground is left out, an object has one id in both, small and one-sided clusters none."""

import mmengine
import numpy as np
import pytest
from peridot.datasets.frames import drives_of, lidar2global_of
from peridot.errors import ConfigError
from peridot.lidar_segments import SegmentRule, find_segments
from peridot.lidar_segments.clustering import is_ground
from streets.frame import Settings, caster, keyframe_time
from streets.nuscenes import key_sweep
from streets.taxonomy import INDEX, SCENES
from tiny_drives import BOXES, street

PLAIN = SegmentRule(voxel_size=0)


def two_scans(*counts):
    return [street(np.random.default_rng(seed), number) for seed, number in enumerate(counts)]


@pytest.mark.parametrize('rule', [PLAIN, SegmentRule(voxel_size=0.05)], ids=['all points', 'voxels'])
def test_an_object_has_one_id_in_both_scans_and_the_ground_none(rule):
    clouds = two_scans((120, 80, 60), (60, 60, 90))
    ids = find_segments(clouds, rule)
    for cloud, own in zip(clouds, ids):
        assert own.dtype == np.int16 and own.shape == (len(cloud),)
        assert (own[:600] == -1).all()
        for number, center in enumerate(BOXES):
            inside = (abs(cloud - center) < [1.2, 0.8, 3]).all(1) & (cloud[:, 2] > 0.3)
            # by their points in both scans: 180, 140 and 150
            assert inside.any() and (own[inside] == [0, 2, 1][number]).mean() > 0.95


def test_segments_need_more_points_than_a_limit_in_each_scan():
    # 80 and 10 points, 60 and 11
    ids = find_segments(two_scans((120, 80, 60), (120, 10, 11)), PLAIN)
    assert [sorted(set(own.tolist())) for own in ids] == [[-1, 0, 1]] * 2
    assert (ids[1] == 1).sum() == 11 and (ids[0] == 1).sum() == 60
    ids = find_segments(two_scans((120, 80, 60), (120, 10, 11)), SegmentRule(voxel_size=0, min_points=9))
    assert ids[1].max() == 2


def test_the_largest_segments_are_kept():
    ids = find_segments(two_scans((120, 80, 60), (120, 80, 60)), SegmentRule(voxel_size=0, max_segments=1))
    assert [(own == 0).sum() for own in ids] == [120, 120] and {*ids[0], *ids[1]} == {-1, 0}


def test_points_of_a_voxel_share_a_segment():
    clouds = two_scans((120, 80, 60), (120, 80, 60))
    rule = SegmentRule(voxel_size=0.4, min_cluster_size=5)
    ids = np.concatenate(find_segments(clouds, rule))
    xyz = np.concatenate(clouds)
    raised = ~is_ground(xyz, rule)
    # counted from the lowest corner of what is clustered
    voxel = ((xyz[raised] - xyz[raised].min(0)) / 0.4).astype(int)
    for number in np.unique(voxel, axis=0):
        assert len(set(ids[raised][(voxel == number).all(1)].tolist())) == 1


@pytest.mark.parametrize('count', [0, 1, 30])
def test_scans_with_few_points_have_no_segments(count):
    clouds = [np.zeros((count, 3), np.float32), np.zeros((0, 3), np.float32)]
    assert [own.tolist() for own in find_segments(clouds, SegmentRule())] == [[-1] * count, []]


def test_ground_is_what_lies_on_or_below_the_plane():
    xyz = street(np.random.default_rng(0))
    tilted = xyz + xyz[:, :1] * [0, 0, 0.1] - [0, 0, 1.8]
    found = is_ground(tilted, SegmentRule())
    assert found[:600].all() and not found[600:].any()
    assert is_ground(np.concatenate([tilted, [[5, 5, -9]]]), SegmentRule())[-1]


@pytest.mark.parametrize(
    'wrong, text',
    [
        (dict(min_cluster_size=1), 'min_cluster_size=1 must be a whole number from 2'),
        (dict(leaf_size=2.5), 'leaf_size=2.5 must be a whole number from 1'),
        (dict(voxel_size=-0.1), 'voxel_size=-0.1 must be a number from 0'),
        (dict(max_segments='many'), "max_segments='many' must be"),
        (dict(max_segments=40000), 'max_segments=40000 must be below 32768'),
    ],
)
def test_settings_without_sense(wrong, text):
    with pytest.raises(ConfigError, match=text):
        SegmentRule(**wrong)


def test_points_of_a_static_object_of_the_streets_get_one_id(demo_root):
    """Of every object that stands still and that a segment touches, most points in both scans have that segment."""
    content = mmengine.load(demo_root / 'nuscenes_infos_train.pkl')
    infos = [
        dict(
            timestamp=info['timestamp'],
            lidar_path=info['lidar_points']['lidar_path'],
            lidar2global=lidar2global_of(info, ''),
        )
        for info in content['data_list']
    ]
    drive = next(rows for rows in drives_of(infos, 1.0) if 'scene-0061' in infos[rows[0]]['lidar_path'])
    scene, settings = SCENES.index('scene-0061'), Settings(keyframes=2, sweeps=1, image_size=(198, 352))
    world = caster(0, scene)
    sweeps = [key_sweep(world.at(keyframe_time(settings, scene, frame)), settings, scene, frame) for frame in (0, 1)]
    stored = np.fromfile(demo_root / 'samples/LIDAR_TOP' / infos[drive[0]]['lidar_path'], np.float32).reshape(-1, 5)
    assert np.array_equal(sweeps[0].points, stored)
    first, second = (infos[row]['lidar2global'] for row in drive)
    move = np.linalg.solve(first, second)
    clouds = [sweeps[0].points[:, :3], sweeps[1].points[:, :3] @ move[:3, :3].T + move[:3, 3]]
    ids = find_segments(clouds, SegmentRule(voxel_size=0.2))
    moving = {thing.number for thing in world.world.moving()}
    pure = total = 0
    for number in set(np.unique(sweeps[0].instance).tolist()) - moving - {0}:
        own = [part[sweep.instance == number] for part, sweep in zip(ids, sweeps)]
        if min(map(len, own)) > 30 and max(map(np.max, own)) >= 0:
            segment = np.bincount(np.concatenate(own) + 1).argmax() - 1
            total += 1
            pure += segment >= 0 and all((part == segment).mean() > 0.7 for part in own)
    assert total >= 5 and pure / total > 0.7
    flat = [INDEX[name] for name in INDEX if name.startswith('flat')]
    assert all((part[np.isin(sweep.category, flat)] >= 0).mean() < 0.15 for part, sweep in zip(ids, sweeps))

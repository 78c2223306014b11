"""The tool: pairs of a drive, files that a restart keeps, several processes; and how training reads the segments."""

import copy
import sys
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from peridot.datasets.sampler import SampleKey
from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path
from peridot.lidar_segments import SegmentRule, find_segments, make_lidar_segments
from peridot.lidar_segments import make as make_module
from peridot.lidar_segments.make import rule_of
from peridot.lidar_segments.pairs import pairs_of
from peridot.maps import SegmentFolder
from peridot.models.preprocessor import PairedDataPreprocessor
from peridot.preflight.sources import sources_of
from peridot.preflight.survey import survey
from peridot.registry import DATASETS
from processes import in_processes
from tiny_drives import KEYFRAMES, pose

OUT = 'lidar_segments/hdbscan'
NAMES = [f'{drive}__LIDAR_TOP__{number}' for number, (drive, _) in enumerate(KEYFRAMES)]
# first scans of the pairs
FIRST = [NAMES[0], NAMES[1], NAMES[3]]


def make(config, out=OUT, command='python make them', **settings):
    return make_lidar_segments(config, out, SegmentRule(voxel_size=0), command=command, **settings)


def contents(folder) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted(folder.rglob('*.npz'))}


def build(config, **changes):
    return DATASETS.build({**copy.deepcopy(config.train_dataloader.dataset), **changes})


def with_pipeline(config, *steps):
    load, segments, pack = config.train_dataloader.dataset.pipeline
    return [load, segments, *steps, pack]


def test_pairs_are_successive_keyframes_of_a_drive(config, drives):
    dataset = build(config, maps={}, pipeline=[])
    pairs, frames = pairs_of(dataset)
    assert [pair.scans[0].split('/')[-1] for pair in pairs] == [f'{name}.bin' for name in FIRST]
    assert frames == dict(offset=1, max_gap=1.0)
    assert (
        pairs_of(build(config, maps={}, pipeline=[], frames=dict(keyframes=(1,), max_gap=9)))[0][-1]
        .scans[1]
        .endswith(f'{NAMES[5]}.bin')
    )
    with pytest.raises(ConfigError, match=r'set train_dataloader.dataset.frames=dict\(keyframes=\(1,\)\)'):
        pairs_of(build(config, maps={}, pipeline=[], frames=dict(sweeps=(1,))))
    with pytest.raises(DataError, match=r'no keyframe of .*infos.pkl has another one'):
        pairs_of(build(config, maps={}, pipeline=[], frames=dict(keyframes=(7,))))


def test_files_are_segments_of_both_scans_in_the_frame_of_the_first(config, drives):
    figures = make(config, previews=1)
    assert sorted(contents(drives / OUT)) == FIRST and len(figures) == 1 and figures[0].is_file()
    folder = SegmentFolder(OUT, drives)
    assert folder.manifest.pairs == 3 and folder.manifest.parameters['min_cluster_size'] == 20
    scans = [f'{drives}/points/{name}.bin' for name in NAMES[:2]]
    clouds = [np.fromfile(path, np.float32).reshape(-1, 5)[:, :3] for path in scans]
    there = np.linalg.solve(pose(0), pose(1))
    moved = [clouds[0].astype(float), clouds[1] @ there[:3, :3].T + there[:3, 3]]
    expected = find_segments(moved, SegmentRule(voxel_size=0))
    for number in (0, 1):
        assert np.array_equal(folder.ids(scans, number, clouds[number]), expected[number])
    assert expected[0].max() == expected[1].max() == 2


def test_a_restart_makes_what_is_missing_damaged_or_of_other_points(config, drives, monkeypatch):
    make(config)
    before = contents(drives / OUT)
    monkeypatch.setattr(make_module, 'find_segments', lambda *_: pytest.fail('made again'))
    make(config)
    monkeypatch.undo()
    paths = {path.stem: path for path in (drives / OUT).rglob('*.npz')}
    paths[FIRST[0]].unlink()
    paths[FIRST[2]].write_bytes(before[FIRST[2]][:-40])
    times = paths[FIRST[1]].stat().st_mtime_ns
    make(config)
    assert contents(drives / OUT) == before and paths[FIRST[1]].stat().st_mtime_ns == times
    # one point of the second scan of the first pair, and of the first scan of the second, is another one
    path = drives / 'points' / f'{NAMES[1]}.bin'
    points = np.fromfile(path, np.float32)
    points[0] += 0.01
    points.tofile(path)
    make(config)
    after = contents(drives / OUT)
    assert [after[name] != before[name] for name in FIRST] == [True, True, False]


def test_an_interrupted_run_leaves_whole_files(config, drives, monkeypatch):
    calls = []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return find_segments(*arguments)

    monkeypatch.setattr(make_module, 'find_segments', stop)
    with pytest.raises(KeyboardInterrupt):
        make(config)
    assert sorted(contents(drives / OUT)) == FIRST[:1]
    folder = SegmentFolder(OUT, drives)
    assert not folder.is_finished and 'unfinished, to be completed with `python make them`' in folder.describe()
    with pytest.raises(DataError, match=r'has no segments for 2 of 3 pairs of scans .* unfinished .*python make them'):
        build(config)
    monkeypatch.undo()
    make(config)
    assert sorted(contents(drives / OUT)) == FIRST and SegmentFolder(OUT, drives).is_finished


def parts_of(rank, config):
    make(config, out='lidar_segments/shared')


def test_two_processes_make_the_files_of_one(config, drives, tmp_path):
    make(config)
    (tmp_path / 'ranks').mkdir()
    in_processes(partial(parts_of, config=config), 2, tmp_path / 'ranks')
    assert contents(drives / 'lidar_segments/shared') == contents(drives / OUT)
    make(config, out='lidar_segments/workers', workers=2)
    assert contents(drives / 'lidar_segments/workers') == contents(drives / OUT)


def test_a_damaged_scan_does_not_stop_the_others(config, drives):
    (drives / 'points' / f'{NAMES[4]}.bin').write_bytes(b'12345')
    with pytest.raises(DataError, match=r'has 5 bytes.*; the other segments are done'):
        make(config)
    assert sorted(contents(drives / OUT)) == FIRST[:2]


def test_other_settings_need_another_folder_or_overwrite(config, drives):
    make(config)
    other = SegmentRule(voxel_size=0, min_points=20)
    with pytest.raises(ConfigError, match='min_points=10, now it is 20: write elsewhere with --out DIR or replace'):
        make_lidar_segments(config, OUT, other)
    make_lidar_segments(config, OUT, other, overwrite=True)
    assert SegmentFolder(OUT, drives).manifest.parameters['min_points'] == 20
    with pytest.raises(ConfigError, match=r'--options voxels: .* no such setting, but min_cluster_size'):
        rule_of(dict(voxels=1))


def test_the_tool_takes_settings(config, drives, run_tool, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'stderr', sys.stdout)
    arguments = ['make_lidar_segments', drives / 'config.py', '--workers', 1, '--preview', 1]
    run_tool(*arguments, '--options', 'min_points=20', 'voxel_size=0')
    assert '.png' in capsys.readouterr().out
    manifest = SegmentFolder(OUT, drives).manifest
    assert manifest.parameters['min_points'] == 20 and 'make_lidar_segments.py' in manifest.command
    with pytest.raises(SystemExit, match='error: --options voxel: lidar segments have no such setting'):
        run_tool(*arguments, '--options', 'voxel=1')


def batch_of(*samples):
    return PairedDataPreprocessor()(pseudo_collate(list(samples)))['inputs']


def test_training_reads_one_id_for_both_frames(config, drives):
    make(config)
    dataset = build(config)
    rows = {info['token']: row for row, info in enumerate(map(dataset.get_data_info, range(len(dataset))))}
    # the last keyframes of the drives are alone
    alone, both = dataset[rows[f'{NAMES[2]}.bin']], dataset[rows[f'{NAMES[0]}.bin']]
    assert alone['data_samples'].metainfo['num_segments'] == 50
    inputs = batch_of(alone, both)
    segments = inputs['segments'].split([len(cloud) for cloud in inputs['points']])
    assert [own.max().item() for own in segments] == [-1, 2, 2] and inputs['segments'].dtype == torch.int64
    frames = inputs['frames']
    assert frames.sample.tolist() == [0, 1, 1] and frames.frame.tolist() == [0, 0, 1]
    # the centers of a segment in both frames are the same place
    move = frames.between(torch.tensor([2]), torch.tensor([1]))[0].float()
    for number in range(3):
        here, there = (cloud[own == number, :3].mean(0) for cloud, own in zip(inputs['points'][1:], segments[1:]))
        assert (here - (move[:3, :3] @ there + move[:3, 3])).norm() < 0.5


def test_ids_follow_points_through_augmentation_and_dropping(config):
    make(config)
    turn = dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[0.0, 6.28], scale_ratio_range=[0.9, 1.1])
    drop = [dict(type='peridot.DropCuboids', max_size=0.9), dict(type='peridot.SamplePoints', num_points=500)]
    whole = build(config, pipeline=with_pipeline(config))[SampleKey(0, 3)]['inputs']
    part = build(config, pipeline=with_pipeline(config, turn, *drop))[SampleKey(0, 3)]['inputs']
    assert len(part['segments']) == len(part['points']) == 1000
    # the intensity, which nothing changes, tells which point it is
    ids = dict(zip(whole['points'][:, 3].tolist(), whole['segments'].tolist()))
    assert [ids[value] for value in part['points'][:, 3].tolist()] == part['segments'].tolist()
    assert len(set(part['segments'].tolist())) == 4


def test_points_that_were_changed_later_are_a_data_error(config, drives):
    make(config)
    path = drives / 'points' / f'{NAMES[1]}.bin'
    points = np.fromfile(path, np.float32)
    points[:-5].tofile(path)
    with pytest.raises(DataError) as caught:
        build(config)[0]
    text = str(caught.value)
    assert '\n' not in text and f'{FIRST[0]}.npz are of other points (860) than' in text
    assert text.endswith('make them again with `python make them`')


def test_segments_come_right_after_the_points(config):
    make(config)
    load, segments, pack = config.train_dataloader.dataset.pipeline
    turn = dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[1.0, 2.0], scale_ratio_range=[1.0, 1.0])
    with pytest.raises(DataError, match=r'are of other points .* put LoadLidarSegments right after LoadPoints'):
        build(config, pipeline=[load, turn, segments, pack])[0]
    cut = dict(type='mmdet3d.PointsRangeFilter', point_cloud_range=[-5, -5, -5, 5, 5, 5])
    with pytest.raises(ConfigError, match='860 have lidar segments: a transform that removes points does not know'):
        build(config, pipeline=[load, segments, cut, pack])[0]


def test_segments_of_other_keyframes_are_refused(config, drives):
    make(config)
    other = dict(keyframes=(2,), cameras=False)
    with pytest.raises(ConfigError, match=r'are of keyframes .*: set frames=dict\(keyframes=\(1,\), max_gap=1.0\)'):
        build(config, frames=other)
    with pytest.raises(ConfigError, match='set frames=dict'):
        build(config, frames=None)
    folder = SegmentFolder(OUT, drives)
    scans = [f'{drives}/points/{NAMES[number]}.bin' for number in (0, 2)]
    with pytest.raises(DataError, match=rf'are of points/{NAMES[0]} and points/{NAMES[1]}, but the sample has'):
        folder.ids(scans, 0, np.zeros((860, 3), np.float32))


def frames_of(dataset) -> list[list[str]]:
    infos = map(dataset.get_data_info, range(len(dataset)))
    return [[scan['lidar_path'] for scan in (info, *info['frames'])] for info in infos]


def test_a_survey_of_some_samples_finds_their_frames_and_missing_segments(config, drives):
    make(config)
    expected = frames_of(build(config))
    for settings, look_at, rows in [
        # keyframes 0 and 2 are a second apart, and no pair
        (dict(indices=[0, 1, 2]), 2, [0, 2]),
        (dict(indices=[6, 4, 2]), 2, [6, 2]),
        ({}, 3, [0, 3, 6]),
        ({}, None, range(7)),
    ]:
        config.train_dataloader.dataset.indices = settings.get('indices')
        (item,) = survey(sources_of(config, True), look_at)
        assert not item.problems and item.looked_at == len(rows)
        assert frames_of(item.dataset) == [expected[row] for row in rows]
    next(drives.rglob(f'{FIRST[2]}.npz')).unlink()
    (item,) = survey(sources_of(config, True), 3)
    (problem,) = item.problems
    assert f'has no segments for 1 of 2 pairs of scans (points/{FIRST[2]}.npz): make the missing' in problem


def test_a_pipeline_without_a_folder(config):
    make(config)
    with pytest.raises(ConfigError, match="has no maps called 'lidar_segments'"):
        build(config, maps={})[0]


@pytest.mark.parametrize(
    'change, text',
    [
        (lambda arrays: arrays.update(ids=arrays['ids'] + 50), 'have ids beyond the 50'),
        (lambda arrays: arrays.update(points=arrays['points'] + 1), 'are damaged'),
        (lambda arrays: arrays.pop('scans'), 'are damaged'),
    ],
)
def test_damaged_files(config, drives, change, text):
    make(config)
    path = next(drives.rglob(f'{FIRST[0]}.npz'))
    with np.load(path) as found:
        arrays = dict(found)
    change(arrays)
    with atomic_path(path) as temporary, open(temporary, 'wb') as file:
        np.savez_compressed(file, **arrays)
    with pytest.raises(DataError, match=rf'{FIRST[0]}.npz {text}.*: make them again with `python make them`'):
        build(config)[0]


def test_a_folder_without_segments(config, drives):
    message = r'does not exist: make the lidar segments with `python tools/make_lidar_segments.py CONFIG`'
    with pytest.raises(DataError, match=message):
        build(config)
    (drives / OUT).mkdir(parents=True)
    (drives / OUT / 'manifest.json').write_text('{"kind": "superpixels"}')
    with pytest.raises(DataError, match='is not a manifest of lidar segments'):
        build(config)

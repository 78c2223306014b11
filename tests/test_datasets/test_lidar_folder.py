"""Scans that are found by the paths of their files: KITTI-360's and ONCE's layouts in a few empty rooms."""

import numpy as np
import pytest
from peridot.datasets import LidarFolder
from peridot.errors import DataError

ONCE = 'data/{sequence}/lidar_roof/*.bin'
KITTI_360 = 'data_3d_raw/{sequence}/velodyne_points/data/*.bin'
DRIVE = '2013_05_28_drive_000{}_sync'
LOAD = [dict(type='peridot.LoadPoints', load_dim=4, intensity_scale=255.0), dict(type='peridot.PackPaired')]


def write_scan(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    (np.random.default_rng(seed).random((50, 4), np.float32) * [9, 9, 2, 255]).astype(np.float32).tofile(path)


@pytest.fixture
def once(tmp_path):
    for sequence in ('000027', '000028', '000076'):
        for stamp in (1616343529200, 1616343528200):
            write_scan(tmp_path / ONCE.format(sequence=sequence).replace('*', str(stamp)), stamp)
    (tmp_path / 'ImageSets').mkdir()
    (tmp_path / 'ImageSets' / 'raw_small.txt').write_text('000076\n000027\n\n')
    return tmp_path


def tokens(dataset):
    return [dataset.get_data_info(i)['token'] for i in range(len(dataset))]


def test_sequences_of_a_split(once):
    dataset = LidarFolder(str(once), ONCE, 'ImageSets/raw_small.txt', dataset='once')
    expected = [f'data/{s}/lidar_roof/{t}' for s in ('000027', '000076') for t in (1616343528200, 1616343529200)]
    assert tokens(dataset) == expected
    assert dataset.metainfo['dataset'] == 'once'
    assert dataset.get_data_info(0)['cameras'] == []
    assert len(LidarFolder(str(once), ONCE)) == 6


def test_samples_go_through_a_pipeline(once):
    dataset = LidarFolder(str(once), ONCE, 'ImageSets/raw_small.txt', pipeline=LOAD, test_mode=True)
    raw = np.fromfile(once / 'data/000027/lidar_roof/1616343528200.bin', np.float32).reshape(-1, 4)
    points = dataset[0]['inputs']['points'].numpy()
    np.testing.assert_allclose(points, raw / [1, 1, 1, 255], rtol=1e-6)
    assert raw[:, 3].max() > 200 > 1 >= points[:, 3].max()


def test_windows_of_kitti_360(tmp_path):
    for drive, frames in ((0, range(0, 12, 2)), (2, (5, 6, 7))):
        for frame in frames:
            write_scan(tmp_path / KITTI_360.format(sequence=DRIVE.format(drive)).replace('*', f'{frame:010d}'))
    windows = [(0, 2, 5), (0, 4, 8), (2, 6, 6)]
    lines = [f'data_3d_semantics/train/{DRIVE.format(d)}/static/{a:010d}_{b:010d}.ply\n' for d, a, b in windows]
    (tmp_path / 'train.txt').write_text(''.join(lines))
    dataset = LidarFolder(str(tmp_path), KITTI_360, 'train.txt', dataset='kitti360')
    frames = [(token.split('/')[1], int(token[-10:])) for token in tokens(dataset)]
    assert frames == [(DRIVE.format(0), 2), (DRIVE.format(0), 4), (DRIVE.format(0), 6), (DRIVE.format(0), 8)] + [
        (DRIVE.format(2), 6)
    ]


@pytest.mark.parametrize(
    'spoil, settings, message',
    [
        (lambda root: None, dict(data_root='no/such'), 'the data root no/such does not exist: unpack'),
        (
            lambda root: None,
            dict(split='ImageSets/val.txt'),
            r'split file .*ImageSets/val\.txt does not exist.*split=None',
        ),
        (lambda root: (root / 'ImageSets/raw_small.txt').write_text('\n'), {}, r'raw_small\.txt lists nothing'),
        (
            lambda root: (root / 'ImageSets/raw_small.txt').write_text('000027\n000099\n'),
            {},
            r'no point file .*data/000099/lidar_roof/\*\.bin: unpack.*raw_small\.txt',
        ),
        (lambda root: None, dict(split=None, pattern='scans/{sequence}/*.bin'), r'no point file .*scans/\*/\*\.bin'),
    ],
)
def test_what_is_missing_is_one_clear_line(once, spoil, settings, message):
    spoil(once)
    settings = {**dict(data_root=str(once), pattern=ONCE, split='ImageSets/raw_small.txt'), **settings}
    with pytest.raises(DataError, match=message) as error:
        LidarFolder(**settings)
    assert '\n' not in str(error.value)

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


def test_files_that_a_copy_has_left_are_no_scans(once, tmp_path):
    """Those of macOS, and others whose names are no numbers."""
    (once / ONCE.format(sequence='000027').replace('*', '._1616343529200')).write_bytes(bytes(4096))
    assert len(LidarFolder(str(once), ONCE)) == 6
    root = tmp_path / 'kitti360'
    for name in ('0000000004', '._0000000004', 'notes'):
        write_scan(root / KITTI_360.format(sequence=DRIVE.format(0)).replace('*', name))
    (root / 'train.txt').write_text(f'data_3d_semantics/train/{DRIVE.format(0)}/static/0000000002_0000000005.ply\n')
    assert [token[-10:] for token in tokens(LidarFolder(str(root), KITTI_360, 'train.txt'))] == ['0000000004']


def test_sequences_without_scans_are_left_out(once, lines):
    (once / 'ImageSets/raw_small.txt').write_text('\ufeff000076 \r\n\r\n000099\r\n000027\r\n', newline='')
    assert len(LidarFolder(str(once), ONCE, 'ImageSets/raw_small.txt')) == 4
    (line,) = lines
    assert '2 of 3 sequences' not in line and '1 of 3 sequences in ' in line and '(000099): left out' in line


def test_without_lists_of_sequences_all_are_taken(once, lines):
    (once / 'ImageSets/raw_small.txt').rename(once / 'ImageSets/train.txt')
    with pytest.raises(DataError, match=r'raw_small\.txt does not exist \(there are train\.txt\): unpack'):
        LidarFolder(str(once), ONCE, 'ImageSets/raw_small.txt')
    (once / 'ImageSets/train.txt').unlink()
    with pytest.raises(DataError, match=r'raw_small\.txt does not exist: unpack'):
        LidarFolder(str(once), ONCE, 'ImageSets/raw_small.txt', missing='error')
    assert len(LidarFolder(str(once), ONCE, 'ImageSets/raw_small.txt')) == 6
    (line,) = lines
    assert 'raw_small.txt does not exist: all 6 scans of' in line and 'perhaps those of other splits, too' in line


def test_scans_a_folder_deeper_are_found_for_the_error(once):
    (once / 'ONCE').mkdir()
    (once / 'data').rename(once / 'ONCE/data')
    with pytest.raises(DataError, match=rf'the scans of {once} lie a folder deeper: give --data-root {once}/ONCE$'):
        LidarFolder(str(once), ONCE)


def test_windows_that_hold_no_scan_are_counted(tmp_path, lines):
    """Sequence 02 of KITTI-360 begins at 4391."""
    for frame in (4391, 4392):
        write_scan(tmp_path / KITTI_360.format(sequence=DRIVE.format(2)).replace('*', f'{frame:010d}'))
    window = f'data_3d_semantics/train/{DRIVE.format(2)}/static/{{:010d}}_{{:010d}}.ply'
    (tmp_path / 'train.txt').write_text(f'{window.format(0, 385)}\n{window.format(4391, 4625)}\n')
    assert len(LidarFolder(str(tmp_path), KITTI_360, 'train.txt')) == 2
    assert '1 of 2 windows in ' in lines[0] and f'({window.format(0, 385)}): left out' in lines[0]
    (tmp_path / 'train.txt').write_text(f'{window.format(0, 385)}\n')
    with pytest.raises(DataError, match=r'no point file .* of the sequences and windows in .*train\.txt'):
        LidarFolder(str(tmp_path), KITTI_360, 'train.txt')


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
            dict(missing='error'),
            r'1 of 2 sequences in .*raw_small\.txt have no scans .*lidar_roof/\*\.bin \(000099\): unpack',
        ),
        (
            lambda root: (root / 'ImageSets/raw_small.txt').write_text('000098\n000099\n'),
            {},
            r'no point file .*data/\*/lidar_roof/\*\.bin of the sequences and windows in .*raw_small\.txt: unpack',
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

"""KITTI's object benchmark with the irregularities of other programs' files: the same infos as from its own."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from peridot.datasets.create_infos import create_gt_database
from peridot.datasets.create_infos_kitti import create_kitti_infos
from peridot.datasets.kitti_texts import read_calibration, read_objects, read_rows
from peridot.errors import DataError
from peridot.registry import DATASETS
from PIL import Image

SHAPES = {'P2': (3, 4), 'R0_rect': (3, 3), 'Tr_velo_to_cam': (3, 4)}


@pytest.fixture
def kitti(kitti_root, tmp_path) -> Path:
    """A copy with nothing but KITTI's own files."""
    for folder in ('velodyne', 'image_2', 'calib', 'label_2'):
        shutil.copytree(kitti_root / 'training' / folder, tmp_path / 'training' / folder)
    shutil.copytree(kitti_root / 'ImageSets', tmp_path / 'ImageSets')
    return tmp_path


def infos(root: Path, split: str) -> list[dict]:
    return pickle.loads((root / f'kitti_infos_{split}.pkl').read_bytes())['data_list']


def change(folder: Path, edit) -> None:
    for path in folder.glob('*.txt'):
        path.write_bytes(edit(path.read_text()).encode())


def tracking(text: str) -> str:
    """Names of the tracking benchmark, without colons; no matrices that nobody reads."""
    for old, new in (('R0_rect:', 'R_rect'), ('Tr_velo_to_cam:', 'Tr_velo_cam'), ('P2:', 'P2')):
        text = text.replace(old, new)
    unread = ('P0', 'P1', 'P3', 'Tr_imu_to_velo')
    return ''.join(f'{line}\n' for line in text.splitlines() if not line.startswith(unread))


def untidy(text: str) -> str:
    """As an editor of another system leaves it."""
    lines = [line.replace(' ', '  ', 2) + ' \t' for line in text.splitlines()]
    return '\ufeff' + '\r\n\r\n'.join(lines) + '\r\n \r\n'


@pytest.mark.parametrize('edit', [tracking, untidy, lambda text: untidy(tracking(text))])
def test_calibrations_are_read_under_other_names_and_with_any_blanks(kitti_root, tmp_path, edit):
    source = kitti_root / 'training/calib/000000.txt'
    path = tmp_path / 'calib.txt'
    path.write_text(edit(source.read_text()))
    ours = read_calibration(path, {**SHAPES, 'P0': (3, 4)}, 'x.zip', ['P0'])
    for line in source.read_text().splitlines():
        name, _, numbers = line.partition(':')
        if name in SHAPES:
            height, width = SHAPES[name]
            np.testing.assert_array_equal(ours[name][:height, :width].ravel(), np.array(numbers.split(), float))
    assert edit is untidy or (ours['P0'] == np.eye(4)).all()
    with pytest.raises(DataError, match=r'has no Tr of 12 numbers: unpack x\.zip again'):
        read_calibration(path, {'Tr': (3, 4)}, 'x.zip')


def test_objects_not_cared_for_come_last(tmp_path):
    """mmdet3d's converter takes the first objects of a file, as many as are cared for."""
    path = tmp_path / '000000.txt'
    numbers = ' '.join(['0.0', '1.0', *['2.5'] * 12])
    path.write_text(f'\ufeffDontCare {numbers} \r\n\r\nCar  {numbers} 0.9\r\nVan {numbers}\r\n')
    objects = read_objects(path, 'x.zip')
    assert [item[0] for item in objects] == ['Car', 'Van', 'DontCare']
    assert {tuple(item[1:]) for item in objects} == {('0.0', '1', *['2.5'] * 12)}
    path.write_text(f'Car {numbers}\nPerson sitting {numbers}\n')
    with pytest.raises(DataError, match=r'000000\.txt, line 2: an object has a class and 14 numbers'):
        read_objects(path, 'x.zip')
    path.write_text(' \n')
    assert read_objects(path, 'x.zip') == []


def test_rows_of_a_table(tmp_path):
    path = tmp_path / 'times.txt'
    path.write_text('\ufeff0.0 \r\n\r\n0.5\r\n1.0\r\n')
    assert read_rows(path, 1, 2).tolist() == [[0], [0.5]]
    with pytest.raises(DataError, match='no table of 4 rows of 1 numbers'):
        read_rows(path, 1, 4)


def test_untidy_files_give_the_same_infos(kitti, kitti_root, lines):
    for folder in ('calib', 'label_2'):
        change(kitti / 'training' / folder, untidy)
    change(kitti / 'ImageSets', untidy)
    create_kitti_infos(kitti)
    for split in ('train', 'val', 'trainval'):
        ours, theirs = (json.dumps(infos(root, split), default=lambda v: v.item()) for root in (kitti, kitti_root))
        assert ours == theirs
    assert not lines


def test_calibrations_of_the_tracking_benchmark(kitti, kitti_root, lines):
    change(kitti / 'training/calib', tracking)
    create_kitti_infos(kitti)
    for ours, theirs in zip(infos(kitti, 'train'), infos(kitti_root, 'train')):
        assert ours['images']['CAM2'] == theirs['images']['CAM2'] and len(ours['instances']) == len(theirs['instances'])
        assert ours['lidar_points']['Tr_imu_to_velo'] == np.eye(4).tolist()
    assert not lines and create_gt_database(kitti, 'kitti').is_file()


def test_jpeg_in_place_of_png(kitti, kitti_root, lines):
    for path in (kitti / 'training/image_2').glob('*.png'):
        Image.open(path).save(path.with_suffix('.jpg'))
        path.unlink()
    create_kitti_infos(kitti)
    folders = dict(pts='training/velodyne', img='training/image_2')
    part = dict(type='peridot.PairedDataset', data_root=str(kitti), ann_file='kitti_infos_train.pkl')
    sample = DATASETS.build(dict(part, data_prefix=folders, pipeline=[dict(type='peridot.LoadImageViews')]))[0]
    assert sample['img_paths'] == [str(kitti / 'training/image_2/000000.jpg')] and len(sample['views']) == 1
    for name in ('height', 'width', 'lidar2img'):
        assert infos(kitti, 'val')[0]['images']['CAM2'][name] == infos(kitti_root, 'val')[0]['images']['CAM2'][name]
    assert not lines


@pytest.mark.parametrize(
    'file, archive',
    [('velodyne/000000.bin', 'velodyne'), ('image_2/000000.png', 'image_2'), ('calib/000000.txt', 'calib')],
)
def test_frames_that_lack_a_file_are_left_out(kitti, kitti_root, lines, file, archive):
    (kitti / 'training' / file).unlink()
    create_kitti_infos(kitti)
    (kept,) = infos(kitti, 'train')
    assert kept['sample_idx'] == infos(kitti_root, 'train')[1]['sample_idx'] and len(infos(kitti, 'val')) == 1
    (line,) = lines
    assert f'1 of the 2 frames in ImageSets/train.txt lack files (training/{file}): left out' in line
    assert f'unpack data_object_{Path(file).parent}.zip over {kitti}' in line


def test_a_test_set_that_is_not_there(kitti, lines):
    """The lists of frames come from elsewhere than the archives."""
    (kitti / 'ImageSets/test.txt').write_text('000003\n000007\n')
    assert [path.name for path in create_kitti_infos(kitti)] == [
        f'kitti_infos_{s}.pkl' for s in ('train', 'trainval', 'val')
    ]
    assert '2 of the 2 frames in ImageSets/test.txt lack files (testing/velodyne/000003.bin, ' in lines[0]


def test_an_empty_validation_set(kitti):
    """mmdet3d's converter fails on it."""
    (kitti / 'ImageSets/val.txt').write_text('')
    assert [path.name for path in create_kitti_infos(kitti)] == ['kitti_infos_train.pkl', 'kitti_infos_trainval.pkl']
    (kitti / 'ImageSets/train.txt').write_text('\n')
    with pytest.raises(DataError, match=r'train\.txt and val\.txt list no frames'):
        create_kitti_infos(kitti)


def test_an_image_that_is_none(kitti):
    (kitti / 'training/image_2/000000.png').write_bytes(b'<html>')
    with pytest.raises(DataError, match=r'training/image_2/000000\.png is no image: unpack'):
        create_kitti_infos(kitti)
    assert not list(kitti.rglob('.unfinished*'))


def test_lost_returns_are_no_points_of_objects(kitti, kitti_root, lines):
    """mmdet3d counts a point that is not finite as inside of every box and of the image."""
    path = kitti / 'training/velodyne/000000.bin'
    cloud = np.fromfile(path, np.float32).reshape(-1, 4)
    np.concatenate([np.full((50, 4), np.nan, np.float32), cloud]).tofile(path)
    create_kitti_infos(kitti)
    for split in ('train', 'val'):
        ours, theirs = (json.dumps(infos(root, split), default=lambda v: v.item()) for root in (kitti, kitti_root))
        assert ours == theirs
    reduced = [(root / 'training/velodyne_reduced/000000.bin').read_bytes() for root in (kitti, kitti_root)]
    assert reduced[0] == reduced[1]
    assert '1 of 2 clouds hold points that are not finite (training/velodyne/000000.bin): left out' in lines[0]
    with pytest.raises(DataError, match='1 of 2 clouds hold points'):
        create_kitti_infos(kitti, 'error')


@pytest.mark.parametrize(
    'columns, dtype', [(5, 'float32'), (6, 'float32'), (4, 'float64')], ids=['with rings', 'with more', 'double']
)
def test_clouds_of_another_layout_are_named(kitti, columns, dtype):
    for path in (kitti / 'training/velodyne').iterdir():
        cloud = np.fromfile(path, np.float32).reshape(-1, 4)[:8000]
        more = np.stack([np.arange(8000) % 64 + 64 * i for i in range(columns - 4)], 1) if columns > 4 else cloud[:, :0]
        np.hstack([cloud, more]).astype(dtype).tofile(path)
    line = rf'velodyne/000000\.bin looks like {columns} {dtype} a point, not like float32 x, y, z, intensity: unpack '
    with pytest.raises(DataError, match=line) as error:
        create_kitti_infos(kitti)
    assert '\n' not in str(error.value) and not (kitti / 'training/velodyne_reduced').exists()


def test_objects_are_not_cut_out_of_clouds_of_another_layout(kitti):
    create_kitti_infos(kitti)
    path = kitti / 'training/velodyne_reduced/000000.bin'
    np.fromfile(path, np.float32).astype(np.float64).tofile(path)
    with pytest.raises(DataError, match=r'velodyne_reduced/000000\.bin looks like 4 float64 a point'):
        create_gt_database(kitti, 'kitti')
    assert not list(kitti.glob('*dbinfos*'))


@pytest.mark.parametrize('which', ['list', 'frames'])
def test_validation_frames_alone(kitti, lines, which):
    """Of training frames there is no list, or no file."""
    if which == 'list':
        (kitti / 'ImageSets/train.txt').unlink()
    else:
        for number in (kitti / 'ImageSets/train.txt').read_text().split():
            (kitti / f'training/velodyne/{int(number):06d}.bin').unlink()
    assert [path.name for path in create_kitti_infos(kitti)] == ['kitti_infos_trainval.pkl', 'kitti_infos_val.pkl']
    assert len(lines) == (which == 'frames') and all('2 of the 2 frames in ImageSets/train.txt' in x for x in lines)


@pytest.mark.parametrize('word', ['nan', 'inf', '-inf'])
def test_numbers_that_are_none(kitti, word):
    calibration, objects = (kitti / f'training/{name}/000000.txt' for name in ('calib', 'label_2'))
    before = objects.read_text()
    name, first, *rest = before.splitlines()[0].split()
    objects.write_text(' '.join([name, first, *rest[:-1], word]) + '\n')
    with pytest.raises(DataError, match=r'label_2/000000\.txt, line 1: an object has a class and 14 numbers'):
        create_kitti_infos(kitti)
    objects.write_text(before)
    lines = calibration.read_text().splitlines()
    lines = [' '.join([*line.split()[:-1], word]) if line.startswith('Tr_velo') else line for line in lines]
    calibration.write_text('\n'.join(lines))
    with pytest.raises(DataError, match=r'calib/000000\.txt has no Tr_velo_to_cam of 12 numbers: unpack'):
        create_kitti_infos(kitti)

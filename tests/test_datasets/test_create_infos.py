"""tools/create_data.py: what it writes beside what the format tests check, and its errors."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.datasets import NuScenesDataset
from mmengine.registry import DefaultScope
from peridot.datasets import create_infos_kitti
from peridot.datasets.create_infos import create_gt_database
from peridot.datasets.create_infos_kitti import create_kitti_infos
from peridot.datasets.create_infos_semantickitti import create_semantickitti_infos
from peridot.errors import ConfigError, DataError

REPO = Path(__file__).resolve().parents[2]
FRAME = 'training/{}/000000.{}'


def error_of(function, *arguments) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}


@pytest.fixture
def kitti(kitti_root, tmp_path) -> Path:
    """A copy with nothing but KITTI's own files."""
    for folder in ('velodyne', 'image_2', 'calib', 'label_2'):
        shutil.copytree(kitti_root / 'training' / folder, tmp_path / 'training' / folder)
    shutil.copytree(kitti_root / 'ImageSets', tmp_path / 'ImageSets')
    return tmp_path


@pytest.fixture
def sequences(semantickitti_root, tmp_path) -> Path:
    shutil.copytree(semantickitti_root / 'sequences', tmp_path / 'sequences')
    return tmp_path


def test_program_writes_infos_and_objects_of_kitti(kitti, kitti_root, run_tool, capsys):
    run_tool('create_data', 'kitti', '--root', kitti)
    output = capsys.readouterr().out
    assert f'{kitti}/kitti_infos_train.pkl' in output and f'{kitti}/kitti_dbinfos_train.pkl' in output
    first, again = files(kitti), files(kitti_root)
    again.pop(Path('synthetic.json'))
    assert {path: data for path, data in first.items() if path.suffix != '.pkl'} == {
        path: data for path, data in again.items() if path.suffix != '.pkl'
    }
    assert set(first) == set(again)
    # once more, over what is there, without the objects
    shutil.rmtree(kitti / 'kitti_gt_database')
    run_tool('create_data', 'kitti', '--root', kitti, '--no-gt-database')
    assert not (kitti / 'kitti_gt_database').exists() and not list(kitti.rglob('.unfinished*'))


def test_test_frames_get_infos_without_objects(kitti):
    for folder, suffix in (('velodyne', 'bin'), ('image_2', 'png'), ('calib', 'txt')):
        (kitti / 'testing' / folder).mkdir(parents=True)
        shutil.copy(kitti / FRAME.format(folder, suffix), kitti / 'testing' / folder / f'000003.{suffix}')
    (kitti / 'ImageSets/test.txt').write_text('000003\n')
    names = [path.name for path in create_kitti_infos(kitti)]
    assert names == [f'kitti_infos_{split}.pkl' for split in ('test', 'train', 'trainval', 'val')]
    content = pickle.loads((kitti / 'kitti_infos_test.pkl').read_bytes())
    assert content['data_list'][0]['images']['CAM2']['img_path'] == '000003.png'
    assert not content['data_list'][0]['instances'] and (kitti / 'testing/velodyne_reduced/000003.bin').is_file()


def test_infos_of_an_earlier_run_go_where_a_split_has_become_empty(kitti, sequences):
    create_kitti_infos(kitti)
    (kitti / 'ImageSets/val.txt').write_text('')
    create_kitti_infos(kitti)
    assert sorted(path.name for path in kitti.glob('kitti*.pkl')) == [
        'kitti_infos_train.pkl',
        'kitti_infos_trainval.pkl',
    ]
    create_semantickitti_infos(sequences)
    shutil.rmtree(sequences / 'sequences/08')
    create_semantickitti_infos(sequences)
    assert [path.name for path in sequences.glob('semantickitti*.pkl')] == ['semantickitti_infos_train.pkl']


def test_an_interrupted_conversion_leaves_nothing(kitti, monkeypatch):
    before = files(kitti)
    load = create_infos_kitti.load_converter

    def interrupted(name):
        module = load(name)
        if name == 'update_infos_to_v2':
            monkeypatch.setattr(module, 'update_kitti_infos', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        return module

    monkeypatch.setattr(create_infos_kitti, 'load_converter', interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_kitti_infos(kitti)
    after = files(kitti)
    # the clouds are complete, each for itself
    assert {p: data for p, data in after.items() if 'velodyne_reduced' not in p.parts} == before


@pytest.mark.parametrize(
    'folder, suffix, archive',
    [('calib', 'txt', 'calib'), ('image_2', 'png', 'image_2'), ('velodyne', 'bin', 'velodyne')],
)
def test_a_missing_file_is_named_with_its_archive(kitti, folder, suffix, archive):
    (kitti / FRAME.format(folder, suffix)).unlink()
    message = error_of(create_kitti_infos, kitti, 'error')
    for part in (FRAME.format(folder, suffix), f'data_object_{archive}.zip', '1 of the 2 frames', 'train.txt'):
        assert part in message


def test_a_folder_without_calibration(kitti, run_tool):
    shutil.rmtree(kitti / 'training/calib')
    with pytest.raises(
        SystemExit, match=r'error: 2 of the 2 frames .*calib/000000\.txt.*data_object_calib\.zip over [^\n]*$'
    ):
        run_tool('create_data', 'kitti', '--root', kitti)


@pytest.mark.parametrize(
    'folder, old, new, part',
    [
        ('calib', 'Tr_velo_to_cam', 'Tr', 'no Tr_velo_to_cam of 12 numbers'),
        ('calib', 'R0_rect: ', 'R0_rect: 1.0 ', 'no R0_rect of 9 numbers'),
        ('label_2', 'Car ', 'Car 0.0 0.0 x', 'an object has a class and 14 numbers'),
        ('label_2', ' ', '', 'label_2/000000.txt, line 1'),
    ],
)
def test_damaged_texts_are_named(kitti, folder, old, new, part):
    path = kitti / FRAME.format(folder, 'txt')
    path.write_text(path.read_text().replace(old, new))
    message = error_of(create_kitti_infos, kitti)
    assert part in message and f'{folder}/000000.txt' in message


def test_other_wrong_kitti_folders(kitti, tmp_path):
    cloud = kitti / FRAME.format('velodyne', 'bin')
    cloud.write_bytes(cloud.read_bytes()[:-3])
    assert '000000.bin is damaged' in error_of(create_kitti_infos, kitti)
    (kitti / 'ImageSets/val.txt').write_text('000001\nx1\n')
    assert 'val.txt is no list of frame numbers' in error_of(create_kitti_infos, kitti)
    for split in ('train', 'val'):
        (kitti / f'ImageSets/{split}.txt').unlink()
    message = error_of(create_kitti_infos, kitti)
    assert 'ImageSets/train.txt and val.txt are missing' in message and '--root' in message
    assert 'kitti_infos_train.pkl is missing' in error_of(create_gt_database, kitti, 'kitti')
    with pytest.raises(ConfigError, match='nuscenes, kitti'):
        create_gt_database(kitti, 'semantickitti')


def test_sequences_without_images_have_no_cameras(sequences, capsys, run_tool):
    shutil.rmtree(sequences / 'sequences/08/image_2')
    (sequences / 'sequences/08/calib.txt').unlink()
    run_tool('create_data', 'semantickitti', '--root', sequences)
    output = capsys.readouterr().out
    assert 'train: 2 scans, 2 with an image' in output and 'val: 2 scans, 0 with an image, 2 with labels' in output
    train, val = (
        pickle.loads((sequences / f'semantickitti_infos_{split}.pkl').read_bytes())['data_list']
        for split in ('train', 'val')
    )
    assert train[1]['images']['CAM2']['img_path'] == 'sequences/00/image_2/000001.png' and 'images' not in val[0]
    # as mmdet3d's converter writes them
    assert val[1]['pts_semantic_mask_path'] == 'sequences/08/labels/000001.label' and val[1]['sample_id'] == '81'


def test_wrong_sequences_are_named(sequences):
    folder = sequences / 'sequences/00'
    calibration = (folder / 'calib.txt').read_text()
    (folder / 'calib.txt').write_text(calibration.replace('Tr:', 'Tr_velo:'))
    assert '00/calib.txt has no Tr of 12 numbers' in error_of(create_semantickitti_infos, sequences)
    (folder / 'calib.txt').unlink()
    assert '00/calib.txt cannot be read' in error_of(create_semantickitti_infos, sequences)
    (folder / 'calib.txt').write_text(calibration)
    (folder / 'image_2/000000.png').unlink()
    message = error_of(create_semantickitti_infos, sequences, 'error')
    assert '1 of 4 scans have no image in image_2 (sequences 00: 1)' in message and 'data_odometry_color.zip' in message
    (folder / 'velodyne/000000.bin').rename(folder / 'velodyne/0000000000.bin')
    assert '0000000000.bin is no scan of SemanticKITTI' in error_of(create_semantickitti_infos, sequences)
    shutil.rmtree(sequences / 'sequences')
    message = error_of(create_semantickitti_infos, sequences)
    assert 'has no scans' in message and '--root' in message


def test_objects_of_nuscenes(demo_root, tmp_path):
    """mmdet3d's dataset loads the infos; its converter cuts the objects out, with the points of their sweeps."""
    for name in ('samples', 'sweeps', 'v1.0-mini'):
        (tmp_path / name).symlink_to(demo_root / name)
    content = pickle.loads((demo_root / 'nuscenes_infos_train.pkl').read_bytes())
    content['data_list'] = content['data_list'][1:2]
    (tmp_path / 'nuscenes_infos_train.pkl').write_bytes(pickle.dumps(content))
    path = create_gt_database(tmp_path, 'nuscenes')
    infos = pickle.loads(path.read_bytes())
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        folders = dict(pts='samples/LIDAR_TOP', img='', sweeps='sweeps/LIDAR_TOP')
        dataset = NuScenesDataset(str(tmp_path), 'nuscenes_infos_train.pkl', data_prefix=folders, use_valid_flag=True)
    boxes = dataset.get_data_info(0)['ann_info']['gt_bboxes_3d']
    assert sum(map(len, infos.values())) == len(boxes) > 10
    swept = 0
    for item in infos['car']:
        points = np.fromfile(tmp_path / item['path'], np.float32).reshape(-1, 5)
        assert len(points) == item['num_points_in_gt']
        swept += len(np.unique(points[:, 4]) if len(points) else ()) > 1
    assert swept and not list(tmp_path.glob('.unfinished*'))


def test_times_and_poses_of_sequences(sequences):
    folder = sequences / 'sequences/00'
    create_semantickitti_infos(sequences)
    infos = pickle.loads((sequences / 'semantickitti_infos_train.pkl').read_bytes())['data_list']
    times = [float(line) for line in (folder / 'times.txt').read_text().split()]
    pose = np.array((folder / 'poses.txt').read_text().splitlines()[1].split(), float).reshape(3, 4)
    lidar2cam = np.array(infos[1]['images']['CAM2']['lidar2cam'])
    assert [info['timestamp'] for info in infos[:2]] == times[:2]
    # a pose takes camera 0 to the first camera
    np.testing.assert_allclose(np.array(infos[1]['ego2global'])[:3], pose @ lidar2cam)
    (folder / 'times.txt').write_text('0.0 0.1\n')
    assert 'times.txt is no table of 2 rows of 1 numbers' in error_of(create_semantickitti_infos, sequences)
    (folder / 'times.txt').unlink()
    create_semantickitti_infos(sequences)
    assert 'timestamp' not in pickle.loads((sequences / 'semantickitti_infos_train.pkl').read_bytes())['data_list'][0]


def test_leftovers_of_a_killed_run_are_named(kitti, lines):
    """Also those of a process with the same number, as they occur in containers."""
    (kitti / f'.unfinished-{os.getpid()}').mkdir()
    create_kitti_infos(kitti)
    assert f'{kitti} holds .unfinished-{os.getpid()} of runs that were killed' in lines[0] and 'remove' in lines[0]
    database = create_gt_database(kitti, 'kitti').parent / 'kitti_gt_database'
    umask = os.umask(0)
    os.umask(umask)
    assert database.stat().st_mode & 0o777 == 0o777 & ~umask
    assert [path.name for path in kitti.glob('.unfinished*')] == [f'.unfinished-{os.getpid()}']


def test_objects_of_other_infos_are_removed(kitti, lines, run_tool):
    run_tool('create_data', 'kitti', '--root', kitti)
    run_tool('create_data', 'kitti', '--root', kitti, '--no-gt-database')
    assert (kitti / 'kitti_dbinfos_train.pkl').is_file() and not lines
    # as another program may have written them
    infos = pickle.loads((kitti / 'kitti_infos_train.pkl').read_bytes())
    for info in infos['data_list']:
        info['images'] = {}
    (kitti / 'kitti_infos_train.pkl').write_bytes(pickle.dumps(infos))
    run_tool('create_data', 'kitti', '--root', kitti, '--no-gt-database')
    assert (kitti / 'kitti_dbinfos_train.pkl').is_file() and not lines
    train, val = (kitti / f'ImageSets/{split}.txt' for split in ('train', 'val'))
    before, after = train.read_text(), val.read_text()
    train.write_text(after)
    val.write_text(before)
    run_tool('create_data', 'kitti', '--root', kitti, '--no-gt-database')
    assert not list(kitti.glob('kitti_dbinfos*')) and not (kitti / 'kitti_gt_database').exists()
    assert lines == [f'{kitti}/kitti_gt_database is removed: its objects are those of other info files']


def test_objects_go_with_the_training_infos(kitti, lines):
    create_kitti_infos(kitti)
    create_gt_database(kitti, 'kitti')
    (kitti / 'ImageSets/train.txt').unlink()
    create_kitti_infos(kitti)
    assert sorted(path.name for path in kitti.glob('*.pkl')) == ['kitti_infos_trainval.pkl', 'kitti_infos_val.pkl']
    assert not (kitti / 'kitti_gt_database').exists() and 'is removed' in lines[0]

"""nuScenes with a part of its archives, or with files in the wrong place: what is there is used, the rest named."""

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config
from peridot.compat.nuscenes_devkit import read_tables, rows_of_samples
from peridot.datasets import create_infos
from peridot.datasets.create_infos import create_gt_database, create_nuscenes_infos
from peridot.errors import DataError
from peridot.registry import DATASETS

REPO = Path(__file__).resolve().parents[2]
MINI = 'v1.0-mini'


# two for training, one for validation
SCENES = ('scene-0061', 'scene-0553', 'scene-0103')


@pytest.fixture
def root(demo_root, tmp_path) -> Path:
    """Three scenes, links to single files, which a test may take away; no maps, which nobody reads."""
    for name in ('samples', 'sweeps', 'lidarseg'):
        for path in (demo_root / name).rglob('*'):
            if path.is_file():
                link = tmp_path / path.relative_to(demo_root)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
    rows = read_tables(demo_root, MINI)
    scenes = {row['token'] for row in rows['scene'] if row['name'] in SCENES}
    rows = rows_of_samples(rows, {row['token'] for row in rows['sample'] if row['scene_token'] in scenes})
    (tmp_path / MINI).mkdir()
    for name in rows:
        (tmp_path / MINI / f'{name}.json').write_text(json.dumps(rows[name]))
    shutil.copy(demo_root / MINI / 'lidarseg.json', tmp_path / MINI)
    return tmp_path


def scene_files(root: Path, folder: str, scene: str) -> list[Path]:
    return sorted((root / folder).glob(f'*-{scene}__*'))


def infos(root: Path, split: str) -> list[dict]:
    return pickle.loads((root / f'nuscenes_infos_{split}.pkl').read_bytes())['data_list']


def sweeps(root: Path) -> Iterator[dict]:
    return (sweep for info in infos(root, 'train') for sweep in info.get('lidar_sweeps', ()))


def create(root: Path, missing: str = 'skip') -> list[str]:
    return [path.name for path in create_nuscenes_infos(root, MINI, missing=missing)]


@pytest.fixture
def whole(demo_root) -> dict[str, list[dict]]:
    """The infos of these scenes when everything is there."""
    return {
        split: [
            info
            for info in infos(demo_root, split)
            if info['lidar_points']['lidar_path'].split('-', 1)[1][:10] in SCENES
        ]
        for split in ('train', 'val')
    }


def content(info: dict) -> str:
    """An info without its number and without the folder of its sweeps."""
    info = json.loads(json.dumps(info, default=lambda value: value.item()))
    for sweep in info.get('lidar_sweeps', ()):
        sweep['lidar_points']['lidar_path'] = Path(sweep['lidar_points']['lidar_path']).name
    return json.dumps({**info, 'sample_idx': 0}, sort_keys=True)


def test_a_scene_without_a_key_frame_is_left_out(root, whole, lines):
    scene_files(root, 'samples/LIDAR_TOP', 'scene-0061')[1].unlink()
    assert create(root) == ['nuscenes_infos_train.pkl', 'nuscenes_infos_val.pkl']
    kept = [info for info in whole['train'] if 'scene-0061' not in info['lidar_points']['lidar_path']]
    assert len(kept) == 2 and len(whole['train']) == 4 and len(whole['val']) == 2
    assert [*map(content, infos(root, 'train'))] == [*map(content, kept)]
    assert [*map(content, infos(root, 'val'))] == [*map(content, whole['val'])]
    (line,) = lines
    assert '1 of 3 scenes of v1.0-mini lack key frames of LIDAR_TOP (scene-0061): left out' in line
    assert f'unpack v1.0-mini.tgz over {root}' in line
    with pytest.raises(DataError, match='1 of 3 scenes'):
        create(root, 'error')


def test_a_split_without_scenes_gets_no_file(root, lines):
    scene_files(root, 'samples/LIDAR_TOP', 'scene-0103')[0].unlink()
    for split in ('val', 'test'):
        (root / f'nuscenes_infos_{split}.pkl').write_text('of an earlier run')
    assert create(root) == ['nuscenes_infos_train.pkl']
    # that of another version stays
    assert sorted(path.name for path in root.glob('*.pkl')) == ['nuscenes_infos_test.pkl', 'nuscenes_infos_train.pkl']
    assert '1 of 3 scenes' in lines[0] and 'scene-0103' in lines[0]


def test_no_scene_at_all_is_an_error(root):
    for path in (root / 'samples/LIDAR_TOP').iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r'3 of 3 scenes .*unpack v1\.0-mini\.tgz') as error:
        create(root)
    assert '\n' not in str(error.value)


def test_absent_images_take_their_samples_from_pretraining_alone(root, lines):
    gone = scene_files(root, 'samples/CAM_BACK', 'scene-0061')[0]
    gone.unlink()
    create(root)
    assert '1 of 36 images are absent' in lines[0] and f'CAM_BACK/{gone.name}' in lines[0]
    config = Config.fromfile(REPO / 'configs/_base_/datasets/nus_paired.py')
    part = dict(config.train_dataloader.dataset, data_root=str(root))
    assert len(DATASETS.build(part)) == 3 and len(DATASETS.build(dict(part, cameras=['CAM_FRONT']))) == 4
    assert '1 of 4 samples' in lines[1] and 'lack an image of CAM_FRONT, CAM_FRONT_RIGHT' in lines[1]
    assert len(lines) == 2


def test_key_frames_alone(root, lines, run_tool, capsys):
    """Infos list the sweeps that are there; the objects wait for the others."""
    shutil.rmtree(root / 'sweeps')
    run_tool('create_data', 'nuscenes', '--root', root, '--version', MINI)
    assert f'{root}/nuscenes_infos_train.pkl' in capsys.readouterr().out
    assert not (root / 'nuscenes_dbinfos_train.pkl').exists() and not list(root.glob('.unfinished*'))
    assert 'sweeps before key frames are absent' in lines[0] and 'v1.0-mini.tgz' in lines[0]
    assert 'nuscenes_gt_database gathers the points of sweeps' in lines[1] and f'over {root}' in lines[1]
    paths = {
        sweep['lidar_points']['lidar_path'] for info in infos(root, 'train') for sweep in info.get('lidar_sweeps', ())
    }
    assert paths and all(path.startswith('samples/LIDAR_TOP/') and (root / path).is_file() for path in paths)
    with pytest.raises(DataError, match='nuscenes_gt_database gathers the points of sweeps'):
        create_gt_database(root, 'nuscenes', 'error')


def test_a_sweep_that_another_info_file_names_is_one_line(root, demo_root):
    shutil.copy(demo_root / 'nuscenes_infos_train.pkl', root)
    gone = Path(next(sweeps(root))['lidar_points']['lidar_path'])
    (root / 'sweeps/LIDAR_TOP' / gone.name).unlink()
    with pytest.raises(DataError, match=rf'{gone.name} is missing, which .*create_data\.py nuscenes'):
        create_gt_database(root, 'nuscenes')


def half(root: Path) -> None:
    rows = json.loads((root / MINI / 'lidarseg.json').read_text())
    samples = json.loads((root / MINI / 'sample_data.json').read_text())
    known = {row['token'] for row in samples}
    (root / next(row['filename'] for row in rows if row['sample_data_token'] in known)).unlink()


def nested(root: Path) -> None:
    (root / 'lidarseg' / MINI).rename(root / 'moved')
    (root / 'lidarseg/lidarseg').mkdir()
    (root / 'moved').rename(root / 'lidarseg/lidarseg' / MINI)


@pytest.mark.parametrize(
    'spoil, labeled, reason',
    [
        (lambda root: (root / MINI / 'lidarseg.json').unlink(), 0, 'v1.0-mini/lidarseg.json is missing'),
        (lambda root: shutil.rmtree(root / 'lidarseg'), 0, 'lidarseg/v1.0-mini lacks files'),
        (half, 5, 'lidarseg/v1.0-mini lacks files'),
        (nested, 0, 'lidarseg/lidarseg is a folder too deep'),
    ],
    ids=['no table', 'no folder', 'half', 'nested'],
)
def test_point_labels_that_are_not_there(root, lines, spoil, labeled, reason):
    spoil(root)
    create(root)
    found = [info for split in ('train', 'val') for info in infos(root, split) if 'pts_semantic_mask_path' in info]
    assert len(found) == labeled
    (line,) = lines
    assert f'{6 - labeled} of 6 samples have no point labels' in line and reason in line
    assert f'unpack nuScenes-lidarseg-mini-v1.0.tar.bz2, which holds lidarseg/ and v1.0-mini/, over {root}' in line


def test_labels_need_no_index_of_the_categories(root, whole, lines):
    """category.json as it was before lidarseg, which the devkit refuses."""
    path = root / MINI / 'category.json'
    rows = [{key: value for key, value in row.items() if key != 'index'} for row in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
    create(root)
    assert not lines
    labels = [[info['pts_semantic_mask_path'] for info in part] for part in (infos(root, 'train'), whole['train'])]
    assert labels[0] == labels[1]


@pytest.mark.parametrize(
    'spoil, message',
    [
        (lambda path: path.unlink(), r'sample\.json is missing: unpack v1\.0-mini\.tgz over'),
        (lambda path: path.write_text('[{"token": '), r'sample\.json cannot be read: unpack'),
        (lambda path: path.write_text('[{"token": "x"}]'), r'the tables in .*v1\.0-mini do not fit together'),
    ],
)
def test_bad_tables_are_one_clear_line(root, spoil, message):
    spoil(root / MINI / 'sample.json')
    with pytest.raises(DataError, match=message) as error:
        create(root)
    assert '\n' not in str(error.value)


def test_sweeps_are_found_in_a_folder_of_any_name(demo_root, tmp_path, lines):
    """A folder called `samples` above the dataset does not take its sweeps for key frames."""
    root = tmp_path / 'samples' / 'nuscenes'
    root.parent.mkdir()
    root.symlink_to(demo_root)
    content = pickle.loads((demo_root / 'nuscenes_infos_train.pkl').read_bytes())
    for info in content['data_list']:
        for sweep in info.get('lidar_sweeps', ()):
            name = Path(sweep['lidar_points']['lidar_path'])
            sweep['lidar_points']['lidar_path'] = str(root.joinpath(*name.parts[-3:]))
    (tmp_path / 'infos.pkl').write_bytes(pickle.dumps(content))
    prefix = dict(pts='samples/LIDAR_TOP', sweeps='sweeps/LIDAR_TOP')
    part = dict(type='peridot.PairedDataset', data_root=str(root), data_prefix=prefix, cameras=[], num_sweeps=1)
    sample = DATASETS.build(dict(part, ann_file=str(tmp_path / 'infos.pkl'), pipeline=[]))[1]
    assert '/sweeps/LIDAR_TOP/' in sample['lidar_sweeps'][0]['lidar_path'] and not lines


def first_label(root: Path) -> Path:
    known = {row['token'] for row in json.loads((root / MINI / 'sample_data.json').read_text())}
    rows = json.loads((root / MINI / 'lidarseg.json').read_text())
    return root / next(row['filename'] for row in rows if row['sample_data_token'] in known)


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-9])


@pytest.mark.parametrize(
    'spoil, missing, message',
    [
        (lambda root: scene_files(root, 'samples/CAM_BACK', 'scene-0061')[0].unlink(), 'error', '1 of 36 images are a'),
        (lambda root: scene_files(root, 'sweeps/LIDAR_TOP', 'scene-0061')[0].unlink(), 'error', '1 of .* sweeps befo'),
        (lambda root: first_label(root).unlink(), 'error', '1 of 6 samples have no point labels'),
        (lambda root: cut(root / MINI / 'lidarseg.json'), 'skip', 'lidarseg.json cannot be read: unpack nuScenes-lid'),
    ],
    ids=['image', 'sweep', 'label', 'table of labels'],
)
def test_what_is_absent_is_an_error_before_the_conversion(root, monkeypatch, spoil, missing, message):
    """Which takes hours."""
    monkeypatch.setattr(create_infos, '_convert', lambda *_: pytest.fail('converted'))
    spoil(root)
    with pytest.raises(DataError, match=message) as error:
        create(root, missing)
    assert '\n' not in str(error.value)


def test_another_version_that_is_there_is_named(root):
    with pytest.raises(
        DataError, match=r'v1\.0-trainval is missing, but v1\.0-mini is there: add --version v1\.0-mini'
    ):
        create_nuscenes_infos(root)
    shutil.rmtree(root / MINI)
    with pytest.raises(DataError, match=r'v1\.0-trainval is missing: unpack nuScenes v1\.0-trainval into'):
        create_nuscenes_infos(root)


@pytest.mark.parametrize('table, key', [('calibrated_sensor', 'camera_intrinsic'), ('ego_pose', 'translation')])
@pytest.mark.parametrize('word', ['NaN', '-Infinity'])
def test_numbers_that_are_none(root, table, key, word):
    path = root / MINI / f'{table}.json'
    rows = json.loads(path.read_text())
    rows[0][key] = [float(word)] * 3
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=rf'{table}\.json holds {word}, which is no number: unpack v1\.0-mini\.tgz'):
        create(root)


def test_sweeps_of_the_validation_set_are_not_needed_for_objects(root, lines):
    gone = scene_files(root, 'sweeps/LIDAR_TOP', 'scene-0103')
    for path in gone:
        path.unlink()
    create(root)
    assert f'{len(gone)} of ' in lines[0] and 'sweeps before key frames are absent' in lines[0]
    assert create_gt_database(root, 'nuscenes') == root / 'nuscenes_dbinfos_train.pkl' and len(lines) == 1


def test_objects_of_an_earlier_run_go_where_sweeps_are_absent(root, lines, run_tool):
    """Also without other infos: those of mmdet3d's converter may have been there."""
    shutil.rmtree(root / 'sweeps')
    create(root)
    (root / 'nuscenes_gt_database').mkdir()
    (root / 'nuscenes_gt_database/0_car_0.bin').write_bytes(b'')
    (root / 'nuscenes_dbinfos_train.pkl').write_bytes(b'')
    assert create_gt_database(root, 'nuscenes') is None
    assert not list(root.glob('nuscenes_dbinfos*')) and not (root / 'nuscenes_gt_database').exists()
    assert 'nuscenes_gt_database is removed' in lines[1] and 'nuscenes_gt_database gathers' in lines[2]


def test_objects_stay_with_the_same_infos(root, lines):
    create(root)
    path = create_gt_database(root, 'nuscenes')
    create(root)
    assert path.is_file() and not lines

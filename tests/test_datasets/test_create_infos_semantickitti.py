"""SemanticKITTI with parts of its archives; info files of mmdet3d's own converter."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from peridot.datasets.create_infos import load_converter
from peridot.datasets.create_infos_semantickitti import create_semantickitti_infos
from peridot.errors import DataError
from peridot.registry import DATASETS
from PIL import Image

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(semantickitti_root, tmp_path) -> Path:
    """Four scans of sequence 00 for training, two of 08 for validation."""
    shutil.copytree(semantickitti_root / 'sequences', tmp_path / 'sequences')
    for folder, suffix in (('velodyne', 'bin'), ('image_2', 'png'), ('labels', 'label')):
        for number in (0, 1):
            path = tmp_path / f'sequences/00/{folder}/{number:06d}.{suffix}'
            shutil.copy(path, path.with_name(f'{number + 2:06d}.{suffix}'))
    for name in ('poses.txt', 'times.txt'):
        path = tmp_path / 'sequences/00' / name
        path.write_text(path.read_text() * 2)
    return tmp_path


def infos(root: Path, split: str) -> list[dict]:
    return pickle.loads((root / f'semantickitti_infos_{split}.pkl').read_bytes())['data_list']


def numbers(found: list[dict]) -> list[int]:
    return [int(Path(info['lidar_points']['lidar_path']).stem) for info in found]


def part_of(root: Path, which: str) -> dict:
    config = Config.fromfile(REPO / 'configs/_base_/datasets/semantickitti_paired.py')
    parts = dict(
        train=config.train_dataloader.dataset,
        picture=config.picture_dataset,
        probe=config.val_cfg.fit_dataloader.dataset,
    )
    return dict(parts[which], data_root=str(root))


def test_scans_without_image_are_used_without(root, lines):
    (root / 'sequences/00/image_2/000001.png').unlink()
    shutil.rmtree(root / 'sequences/08/image_2')
    create_semantickitti_infos(root)
    assert ['images' in info for info in infos(root, 'train')] == [True, False, True, True]
    assert numbers(infos(root, 'val')) == [0, 1]
    assert lines[0].startswith(
        '3 of 6 scans have no image in image_2 (sequences 00: 1, 08: 2): left out; unpack data_od'
    )
    assert len(DATASETS.build(part_of(root, 'train'))) == 3 and len(DATASETS.build(part_of(root, 'probe'))) == 4
    assert '1 of 4 samples' in lines[1] and 'lack an image of CAM2 (sequences/00/velodyne/000001' in lines[1]
    with pytest.raises(DataError, match=r'2 of 2 samples .*the first has those of no camera\): unpack'):
        DATASETS.build(part_of(root, 'picture'))
    with pytest.raises(DataError, match=r'1 of 4 samples of .* lack an image of CAM2'):
        DATASETS.build(dict(part_of(root, 'train'), missing='error'))


def test_jpeg_in_place_of_png(root, lines):
    for path in root.glob('sequences/*/image_2/*.png'):
        Image.open(path).save(path.with_suffix('.jpg'))
        path.unlink()
    create_semantickitti_infos(root)
    sample = DATASETS.build(part_of(root, 'train'))[0]
    assert sample['inputs']['images'].shape[0] == 1 and not lines
    assert infos(root, 'val')[1]['images']['CAM2']['img_path'] == 'sequences/08/image_2/000001.jpg'


def test_scans_with_gaps_have_their_own_pose(root, lines):
    (root / 'sequences/00/times.txt').write_text('0\n0.1\n0.2\n0.3\n')
    create_semantickitti_infos(root)
    whole = infos(root, 'train')
    (root / 'sequences/00/velodyne/000001.bin').unlink()
    create_semantickitti_infos(root)
    assert infos(root, 'train') == [whole[0], whole[2], whole[3]]
    assert [info['timestamp'] for info in infos(root, 'train')] == [0, 0.2, 0.3]
    assert '1 of 6 scans are absent, though later ones of their sequence are there (sequences 00: 1)' in lines[0]
    assert 'data_odometry_velodyne.zip' in lines[0]


def test_labels_of_some_scans(root, lines):
    shutil.rmtree(root / 'sequences/08/labels')
    (root / 'sequences/00/labels/000003.label').unlink()
    create_semantickitti_infos(root)
    assert ['pts_semantic_mask_path' in info for info in infos(root, 'train')] == [True, True, True, False]
    line = '3 of 6 scans of the training and validation sequences have no labels (sequences 00: 1, 08: 2)'
    assert line in lines[0] and 'data_odometry_labels.zip' in lines[0]
    assert len(DATASETS.build(part_of(root, 'probe'))) == 3
    assert '1 of 4 samples' in lines[1] and 'lack point labels (sequences/00/velodyne/000003)' in lines[1]
    with pytest.raises(DataError, match='3 of 6 scans'):
        create_semantickitti_infos(root, 'error')


def test_clouds_alone_need_no_warning_about_images(root, lines, capsys):
    for folder in root.glob('sequences/*/image_2'):
        shutil.rmtree(folder)
    create_semantickitti_infos(root, 'error', verbose=True)
    assert not lines and 'train: 4 scans, 0 with an image, 4 with labels' in capsys.readouterr().out


def test_text_files_of_another_system(root, lines):
    create_semantickitti_infos(root)
    whole = infos(root, 'train')
    for name in ('calib.txt', 'poses.txt', 'times.txt'):
        path = root / 'sequences/00' / name
        text = '\ufeff' + path.read_text().replace(' ', '  ').replace('\n', ' \r\n\r\n')
        path.write_bytes(text.encode())
    create_semantickitti_infos(root)
    assert infos(root, 'train') == whole and not lines


def test_infos_of_mmdet3d(root, lines):
    """Its converter lists the official numbers of scans, and writes the name of the dataset in its own way."""
    converter = load_converter('semantickitti_converter')
    converter.create_semantickitti_info_file('semantickitti', root)
    config = Config.fromfile(REPO / 'configs/_base_/datasets/semantickitti_seg.py')
    dataset = DATASETS.build(dict(config.train_dataset, data_root=str(root), pipeline=config.load))
    assert len(dataset) == 19130 and dataset.metainfo['dataset'] == 'semantickitti' and not lines
    sample = dataset[1]
    assert len(sample['pts_semantic_mask']) == len(sample['points']) and 0 in np.unique(sample['pts_semantic_mask'])
    with pytest.raises(DataError, match=r'19130 of 19130 samples .*create_data\.py semantickitti'):
        DATASETS.build(part_of(root, 'train'))
    with pytest.raises(DataError, match="describes the dataset 'semantickitti', but the config expects 'nuscenes'"):
        DATASETS.build(dict(part_of(root, 'probe'), dataset='nuscenes'))

"""The catalog: consistent in itself, and in agreement with mmdet3d, the configs and the synthetic streets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mmdet3d.datasets import NuScenesDataset, SemanticKittiDataset
from mmengine.config import Config
from mmengine.hub import get_config
from peridot.catalog import CATALOG, CONVERTERS, CatalogEntry, create_command, lookup
from peridot.registry import DATASETS
from streets.formats import FORMATS
from streets.rig import CAMERAS, PANDASET_CAMERAS, PANDASET_LIDARS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
DATASET_CONFIGS = [
    *sorted((CONFIGS / '_base_/datasets').glob('*.py')),
    *(CONFIGS / 'pretrain' / f'also_{name}.py' for name in ('kitti360', 'once')),
]


@pytest.fixture(params=CATALOG.values(), ids=CATALOG)
def entry(request) -> CatalogEntry:
    return request.param


def parts(config) -> Iterator[dict]:
    """Every dict of a config."""
    if isinstance(config, dict):
        yield config
    values = config.values() if isinstance(config, dict) else config if isinstance(config, (list, tuple)) else ()
    for value in values:
        yield from parts(value)


def test_points_of_an_entry(entry):
    assert entry.columns[:4] == ('x', 'y', 'z', 'intensity') and len(set(entry.columns)) == len(entry.columns)
    assert entry.intensity_range is None or entry.intensity_range[0] < entry.intensity_range[1]


def test_classes_of_an_entry(entry):
    names = [item.name for item in entry.classes]
    assert len(set(names)) == len(names)
    assert all(len(item.color) == 3 and set(item.color) <= set(range(256)) for item in entry.classes)
    # an id makes one class or none, and no class is without ids
    ids = [*entry.ignored_ids, *(raw for item in entry.classes for raw in item.raw_ids)]
    assert len(set(ids)) == len(ids) and all(item.raw_ids for item in entry.classes)
    if not names:
        assert entry.segmentation_meta() == {} and not ids
        return
    meta, count = entry.segmentation_meta(), len(names)
    assert list(meta['classes']) == names == list(meta['label2cat'].values()) and len(meta['palette']) == count
    assert set(meta['seg_label_mapping'].values()) == set(range(count + 1)) and meta['ignore_index'] == count
    assert sorted(ids) == list(meta['seg_label_mapping'])


def test_cameras_of_an_entry(entry):
    assert sorted(entry.figure_cameras) == sorted(entry.cameras)
    assert entry.front_camera in entry.cameras if entry.cameras else entry.front_camera is None
    assert entry.sort_cameras(sorted(entry.cameras)) == list(entry.cameras)
    assert entry.sort_cameras([*entry.cameras, 'other'], in_figure=True) == [*entry.figure_cameras, 'other']


def test_splits_of_an_entry(entry):
    assert len(set(entry.split_rules)) == len(entry.split_rules)
    assert entry.split_unit in (('scenes', 'scans', 'frames') if entry.split_rules else (None,))


def test_tools_of_an_entry(entry):
    assert entry.converter is None or callable(entry.converter.load())
    assert entry.detection is None or DATASETS.get(entry.detection['type'])


def test_semantickitti_is_mmdet3ds():
    meta = CATALOG['semantickitti'].segmentation_meta()
    config = get_config('mmdet3d::_base_/datasets/semantickitti.py')
    assert meta['classes'] == SemanticKittiDataset.METAINFO['classes'] == tuple(config.class_names)
    assert meta['palette'] == SemanticKittiDataset.METAINFO['palette']
    assert meta['seg_label_mapping'] == config.labels_map
    assert meta['ignore_index'] == config.train_dataloader.dataset.ignore_index


def test_colors_of_nuscenes_are_mmdet3ds():
    colors = {item.name: item.color for item in CATALOG['nuscenes'].classes}
    theirs = dict(zip(NuScenesDataset.METAINFO['classes'], NuScenesDataset.METAINFO['palette']))
    assert {name: colors[name] for name in theirs} == theirs


def test_what_files_hold():
    columns = {name: len(entry.columns) for name, entry in CATALOG.items()}
    assert columns == dict.fromkeys(CATALOG, 4) | dict(nuscenes=5, waymo=6)
    upper = {name: entry.intensity_range and entry.intensity_range[1] for name, entry in CATALOG.items()}
    assert upper == dict.fromkeys(CATALOG, 255) | dict(semantickitti=1, kitti=1, kitti360=1, folder=1, waymo=None)


@pytest.mark.parametrize('path', DATASET_CONFIGS, ids=lambda path: path.stem)
def test_configs_agree(path):
    config = Config.fromfile(path)
    for part in parts(config._cfg_dict):
        name = part.get('dataset')
        if isinstance(name, str) and 'pipeline' in part:
            entry = CATALOG[name]
            assert part.get('ann_file', entry.info_file('train')).startswith(f'{name}_infos_')
            cameras, prefixes = part.get('cameras') or [], part.get('data_prefix', {})
            assert entry.sort_cameras(cameras) == cameras and set(cameras) <= set(entry.cameras)
            for camera in cameras:
                assert prefixes.get(camera, prefixes.get('img', '')) == entry.cameras[camera]
            assert {step['load_dim'] for step in part['pipeline'] if 'load_dim' in step} <= {len(entry.columns)}


def test_some_config_names_every_dataset():
    text = ''.join(path.read_text() for path in DATASET_CONFIGS)
    assert [name for name in CATALOG if f"'{name}'" not in text] == []


def test_synthetic_streets_agree():
    assert list(FORMATS) == list(CONVERTERS)
    infos = {entry.info_file(split) for entry in CATALOG.values() for split in ('train', 'val', 'trainval')}
    assert {name for layout in FORMATS.values() for name in layout.infos} <= infos
    assert list(CAMERAS) == list(CATALOG['nuscenes'].cameras)
    for name in PANDASET_LIDARS:
        assert list(PANDASET_CAMERAS) == list(CATALOG[name].cameras)


@pytest.mark.parametrize(
    'root, dataset, command',
    [
        ('data/demo', None, 'python tools/create_data.py nuscenes --root data/demo'),
        ('data/SemanticKITTI', None, 'python tools/create_data.py semantickitti --root data/SemanticKITTI'),
        ('data/kitti', None, 'python tools/create_data.py kitti --root data/kitti'),
        ('data/kitti', 'pandargt', 'python tools/create_data.py pandaset --root data/kitti'),
        ('data/kitti_format', 'waymo', "mmdet3d's tools/create_data.py waymo"),
    ],
)
def test_command_that_makes_infos(root, dataset, command):
    assert create_command(root, dataset) == command


def test_a_dataset_that_is_not_in_the_catalog():
    entry = lookup('own')
    assert entry.name == 'own' and entry.segmentation_meta() == {} and not entry.foreground
    assert entry.sort_cameras(['right', 'left']) == ['left', 'right'] and entry.front_index(['left', 'right']) == 0
    assert lookup(None).columns == ()


def test_front_camera_of_pandaset_is_not_the_first():
    entry = CATALOG['pandar64']
    assert entry.front_index(list(entry.cameras)) == 1 and entry.front_index(['back_camera', 'left_camera']) == 0
    assert entry.figure_cameras[1] == 'front_camera'

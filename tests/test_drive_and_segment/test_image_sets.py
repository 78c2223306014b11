"""Evaluation on sets of labeled images, with a tiny network and a few tiny images in each layout."""

import json
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

pytest.importorskip('mmseg')

from mmengine.registry import DefaultScope
from peridot.drive_and_segment.evaluation import image_sets
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS

REPO = Path(__file__).resolve().parents[2]
SIZE = (32, 64)
# image and label file of each set below its root, as the sets are published
LAYOUTS = {
    'cityscapes': (
        'leftImg8bit/val/frankfurt/frankfurt_000000_{}_leftImg8bit.png',
        'gtFine/val/frankfurt/frankfurt_000000_{}_gtFine_labelTrainIds.png',
    ),
    'cityscapes27': (
        'leftImg8bit/val/frankfurt/frankfurt_000000_{}_leftImg8bit.png',
        'gtFine/val/frankfurt/frankfurt_000000_{}_gtFine_labelIds.png',
    ),
    'dark_zurich': (
        'rgb_anon/val/night/GOPR0356/GOPR0356_frame_{}_rgb_anon.png',
        'gt/val/night/GOPR0356/GOPR0356_frame_{}_gt_labelTrainIds.png',
    ),
    'night_driving': (
        'leftImg8bit/test/night/0_{}_leftImg8bit.png',
        'gtCoarse_daytime_trainvaltest/test/night/0_{}_gtCoarse_labelTrainIds.png',
    ),
    'acdc': (
        'rgb_anon/{condition}/val/GOPR0475/GOPR0475_frame_{}_rgb_anon.png',
        'gt/{condition}/val/GOPR0475/GOPR0475_frame_{}_gt_labelTrainIds.png',
    ),
}
# a network of 31 outputs with as few weights as possible
TINY = [
    'model.backbone.embed_dims=8',
    'model.backbone.num_layers=1',
    'model.backbone.num_heads=1',
    *(f'model.decode_head.{key}=8' for key in ('in_channels', 'channels', 'embed_dims')),
    'model.decode_head.num_heads=1',
    'model.test_cfg.crop_size=(32,32)',
    'model.test_cfg.stride=(16,16)',
    'test_dataloader.num_workers=0',
]


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def make_set(root: Path, name: str, labels: np.ndarray | None = None, count: int = 2) -> None:
    """`count` images for each condition; labels of all classes and of ignored pixels where none are given."""
    rng = np.random.default_rng(0)
    image, label = LAYOUTS[name]
    lowest, highest = (0, 34) if name == 'cityscapes27' else (0, 19)
    for condition in image_sets.ACDC_CONDITIONS if name == 'acdc' else ['']:
        for number in range(count):
            write(root / image.format(number, condition=condition), rng.integers(0, 255, (*SIZE, 3), np.uint8))
            drawn = rng.integers(lowest, highest, SIZE, np.uint8)
            drawn[:3] = 255
            write(root / label.format(number, condition=condition), drawn if labels is None else labels)


def evaluate(name: str, root: Path, work_dir: Path, run_tool, *options: str) -> dict[str, float]:
    """Numbers that tools/test.py logs."""
    arguments = [f'configs/drive_and_segment/eval_{name}.py', '--data-root', root, '--work-dir', work_dir]
    run_tool('test', *arguments, '--cfg-options', *TINY, *options)
    return json.loads(next(work_dir.glob('*/[0-9]*.json')).read_text())


def dataset(name: str, root: Path, **settings):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(deepcopy({**dataset_config(name), 'data_root': str(root), **settings}))


@lru_cache
def dataset_config(name: str) -> dict:
    return Config.fromfile(REPO / 'configs' / 'drive_and_segment' / f'eval_{name}.py').test_dataloader.dataset


@pytest.mark.parametrize('name', ['cityscapes27', 'acdc'])
def test_evaluation(name, tmp_path, run_tool):
    make_set(tmp_path / 'data', name)
    found = evaluate(name, tmp_path / 'data', tmp_path / 'work', run_tool)
    assert 0 < found['matched/miou'] < found['matched/acc'] < 0.5
    assert found['matched/num_present'] == (27 if name == 'cityscapes27' else 19)
    content = json.loads((tmp_path / 'work' / 'matching.json').read_text())
    assert len(content['matching']) == 31 and len(content['classes']) == len(content['palette'])
    assert content['miou'] == pytest.approx(found['matched/miou']) and content['acc'] == found['matched/acc']
    if name == 'acdc':
        parts = [found[f'matched/{condition}/miou'] for condition in image_sets.ACDC_CONDITIONS]
        assert len(set(parts)) == 4 and found['matched/mean/miou'] == pytest.approx(np.mean(parts))
        # each part has the best matching for itself
        assert found['matched/mean/acc'] > found['matched/acc']


@pytest.mark.parametrize('name', LAYOUTS)
def test_layouts(name, tmp_path):
    make_set(tmp_path, name)
    images = dataset(name, tmp_path)
    assert len(images) == (8 if name == 'acdc' else 2)
    sample = images[1]
    labels = sample['data_samples'].gt_sem_seg.data[0].numpy()
    with Image.open(images.get_data_info(1)['seg_map_path']) as image:
        ids = np.array(image).astype(int)
    expected = np.where((ids < 7) | (ids > 33), 255, ids - 7) if name == 'cityscapes27' else ids
    np.testing.assert_array_equal(labels, expected)
    with Image.open(images.get_data_info(1)['img_path']) as image:
        np.testing.assert_array_equal(sample['inputs'].numpy()[::-1].transpose(1, 2, 0), np.array(image))
    classes = images.metainfo['classes']
    if name == 'cityscapes27':
        assert len(classes) == 27 and (classes[0], classes[4], classes[26]) == ('road', 'building', 'bicycle')
        # those that both lists have, have one color
        colors = dict(zip(classes, images.metainfo['palette']))
        named = zip(image_sets.CityscapesDataset.METAINFO['classes'], image_sets.CityscapesDataset.METAINFO['palette'])
        assert all(colors[key] == color for key, color in named)
    else:
        assert classes == image_sets.CityscapesDataset.METAINFO['classes']


def test_conditions(tmp_path):
    make_set(tmp_path, 'acdc')
    images = dataset('acdc', tmp_path, conditions=['rain', 'fog'])
    assert [images[index]['data_samples'].condition for index in range(4)] == ['rain', 'rain', 'fog', 'fog']
    with pytest.raises(ConfigError, match="ACDC has no condition 'sun': choose from fog, night, rain, snow"):
        dataset('acdc', tmp_path, conditions=['sun'])


def test_ids_outside_the_class_list(tmp_path, run_tool):
    labels = np.full(SIZE, 3, np.uint8)
    labels[5, 7] = 33
    make_set(tmp_path / 'data', 'cityscapes', labels)
    with pytest.raises(SystemExit, match=r'error: .*labelTrainIds\.png: label 33 is neither one of 19 classes'):
        evaluate('cityscapes', tmp_path / 'data', tmp_path / 'work', run_tool)


def test_ids_below_zero(tmp_path):
    labels = np.full(SIZE, 3, np.uint8)
    labels[0, 0], labels[0, 1] = 0, 255
    make_set(tmp_path, 'cityscapes', labels)
    found = dataset('cityscapes', tmp_path, reduce_zero_label=True)[0]['data_samples'].gt_sem_seg.data[0]
    assert found[0, :3].tolist() == [255, 255, 2]


@pytest.mark.parametrize(
    ('labels', 'mode'),
    [(np.full(SIZE, 259, np.uint16), 'I;16'), (np.zeros((*SIZE, 3), np.uint8), 'RGB')],
)
def test_files_that_are_no_map_of_classes(labels, mode, tmp_path):
    """259 would become class 3."""
    make_set(tmp_path, 'cityscapes', labels)
    with pytest.raises(DataError, match=rf'labelTrainIds\.png are an image of mode {mode}, a map of classes has one'):
        dataset('cityscapes', tmp_path)[0]


def test_labels_that_cannot_be_read(tmp_path):
    make_set(tmp_path, 'cityscapes')
    images = dataset('cityscapes', tmp_path)
    Path(images.get_data_info(0)['seg_map_path']).write_bytes(b'no image')
    with pytest.raises(DataError, match=r'labelTrainIds\.png cannot be read: fetch them again'):
        images[0]


def test_folders_without_files(tmp_path):
    with pytest.raises(DataError, match=r'leftImg8bit/val does not exist: give --data-root, or set data_prefix\.img'):
        dataset('cityscapes', tmp_path)
    (tmp_path / 'leftImg8bit' / 'val').mkdir(parents=True)
    with pytest.raises(DataError, match=r'val holds no image \*_leftImg8bit\.png: .*img_path of CityscapesImages'):
        dataset('cityscapes', tmp_path)
    make_set(tmp_path, 'cityscapes')
    next((tmp_path / 'gtFine').rglob('*_1_*')).unlink()
    with pytest.raises(DataError, match=r'1 of 2 images below .* have no labels \(.*_1_gtFine_labelTrainIds\.png'):
        dataset('cityscapes', tmp_path)

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from peridot.datasets import PairedDataset
from peridot.drive_and_segment.evaluation.lidarseg_images import LidarSegImages, ProjectPointLabels
from peridot.errors import ConfigError
from peridot.labels.oracle import OracleGenerator
from peridot.maps.images import ImageSource
from peridot.registry import DATASETS
from PIL import Image

REPO = Path(__file__).resolve().parents[2]
BASES = REPO / 'configs' / '_base_' / 'datasets'


def dataset(root: Path, base: str, **settings):
    pytest.importorskip('mmseg.datasets')
    init_default_scope('mmseg')
    config = Config.fromfile(BASES / f'{base}.py').val_dataloader.dataset
    return DATASETS.build({**config, 'data_root': str(root), **settings})


def paint_naively(points, labels, lidar2cam, cam2img, size, window):
    """Classes of an image by loops, in the words of the specification."""
    seen = []
    for point, label in zip(points, labels):
        position = cam2img[:3, :3] @ (lidar2cam @ [*point, 1])[:3]
        u, v = position[:2] / position[2]
        if position[2] > 1 and 0 <= u < size[1] - 1 and 0 <= v < size[0] - 1:
            seen.append((round(u), round(v), position[2], label))
    classes, front = np.full(size, 255), np.full(size, np.inf)
    for u, v, depth, label in seen:
        near = [d for x, y, d, _ in seen if abs(x - u) <= round(window[0]) and abs(y - v) <= round(window[1])]
        if depth - min(near) <= max(1, 0.1 * depth) and depth < front[v, u]:
            classes[v, u], front[v, u] = label, depth
    return classes


def test_pixels_of_points_equal_a_loop():
    rng = np.random.default_rng(0)
    size, cam2img, lidar2cam = (30, 50), np.eye(4), np.eye(4)
    cam2img[:2, :3] = [[40, 0, 25], [0, 60, 15]]
    lidar2cam[:3, 3] = [0.2, -0.1, 0.3]
    points = rng.uniform([-6, -3, 0], [6, 3, 20], (200, 3))
    # others on the same pixels, a little behind
    points = np.concatenate([points, 1.02 * (points + lidar2cam[:3, 3]) - lidar2cam[:3, 3]])
    labels = rng.integers(0, 16, 400)
    labels[:9] = 255
    results = dict(
        points=_points(points),
        pts_semantic_mask=labels,
        lidar2cam=lidar2cam[None],
        cam2img=cam2img[None],
        ori_shape=(*size, 3),
        seg_fields=[],
    )
    found = ProjectPointLabels(reach=(4, 3)).transform(results)
    window = np.array([40, 60]) * np.tan(np.deg2rad([4, 3]))
    expected = paint_naively(_points(points).tensor.numpy(), labels, lidar2cam, cam2img, size, window)
    np.testing.assert_array_equal(found['gt_seg_map'], expected)
    assert found['seg_fields'] == ['gt_seg_map'] and found['gt_seg_map'].dtype == np.uint8
    # the reach matters
    unlimited = ProjectPointLabels(reach=(0, 0)).transform({**results, 'seg_fields': []})['gt_seg_map']
    assert (unlimited != 255).sum() > (expected != 255).sum() > 20


def _points(xyz):
    from mmdet3d.structures import LiDARPoints

    return LiDARPoints(xyz.astype(np.float32), points_dim=3)


def test_images_of_a_paired_dataset(demo_root, tmp_path):
    images = dataset(demo_root, 'nus_images_eval')
    paired = DATASETS.build({'type': 'peridot.PairedDataset', 'data_root': str(demo_root), 'ann_file': images.ann_file})
    assert isinstance(images, LidarSegImages) and isinstance(paired, PairedDataset)
    assert len(images) == 6 * len(paired) and images.metainfo['ignore_index'] == 255
    assert len(images.metainfo['classes']) == 16 == len(images.metainfo['palette'])
    first = [images.get_data_info(index)['cameras'] for index in range(6)]
    assert first == [[name] for name in paired.get_data_info(0)['cameras']]
    with pytest.raises(ConfigError, match='have no classes: evaluate on nuScenes'):
        LidarSegImages(data_root=str(demo_root), ann_file=_infos_of('kitti', images.ann_file, tmp_path))


def _infos_of(name: str, ann_file: str, folder: Path) -> str:
    """The info file as that of another dataset."""
    from mmengine.fileio import dump, load

    content = load(ann_file)
    content['metainfo'] = {'dataset': name, 'info_version': '1.1'}
    path = folder / f'{name}.pkl'
    dump(content, str(path))
    return str(path)


def test_points_agree_with_rendered_pixels(demo_root):
    sparse, dense = (dataset(demo_root, base) for base in ('nus_images_eval', 'demo_images_eval'))
    agreeing = covered = 0
    for index in range(6):
        points, pixels = (part[index]['data_samples'].gt_sem_seg.data[0].numpy() for part in (sparse, dense))
        path = dense.get_data_info(index)['img_path']
        with Image.open(path) as image:
            assert points.shape == pixels.shape == image.size[::-1]
        both = (points != 255) & (pixels != 255)
        covered += both.sum()
        agreeing += (points[both] == pixels[both]).sum()
        assert set(np.unique(points)) <= {*range(16), 255}
    # moving things and silhouettes differ; with hidden points it would be 0.96
    assert covered > 10000 and agreeing / covered > 0.975


def test_rendered_truth_is_the_oracle(demo_root):
    images = dataset(demo_root, 'demo_images_eval', indices=2)
    oracle = OracleGenerator()
    oracle.open_dataset(demo_root)
    truth = images[1]['data_samples'].gt_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(truth, oracle.generate(ImageSource(images.get_data_info(1)['img_path'])))

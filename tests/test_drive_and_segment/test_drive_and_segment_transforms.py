"""`PairedDataset(cameras=[])` in place of mmdet3d's segmentation datasets: preprocessor, metric, mixing, errors."""

from pathlib import Path

import numpy as np
import pytest
from mmdet3d.evaluation import SegMetric
from mmdet3d.models import Det3DDataPreprocessor
from mmengine.registry import DefaultScope
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS

PACK = dict(type='Pack3DDetInputs', keys=['points', 'pts_semantic_mask'])
LOAD = {
    'nuscenes': [dict(type='peridot.LoadPoints', load_dim=5), dict(type='peridot.LoadPointLabels')],
    'semantickitti': [
        dict(type='peridot.LoadPoints', load_dim=4),
        dict(type='peridot.LoadPointLabels', dtype='uint32'),
    ],
}


@pytest.fixture(autouse=True)
def mmdet3d_scope():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


@pytest.fixture(params=['nuscenes', 'semantickitti'])
def data(request) -> tuple[str, Path]:
    fixture = {'nuscenes': 'demo_root', 'semantickitti': 'semantickitti_root'}[request.param]
    return request.param, request.getfixturevalue(fixture)


def build(name: str, root: Path, extra: list, **options):
    prefix = dict(pts='samples/LIDAR_TOP', pts_semantic_mask='lidarseg/v1.0-mini') if name == 'nuscenes' else None
    return DATASETS.build(
        dict(
            type='peridot.PairedDataset',
            data_root=str(root),
            ann_file=f'{name}_infos_val.pkl',
            data_prefix=prefix,
            cameras=[],
            dataset=name,
            pipeline=[*LOAD[name], *extra],
            **options,
        )
    )


def test_mmdet3d_takes_the_samples(data):
    name, root = data
    dataset = build(name, root, [PACK], test_mode=True, indices=2)
    classes = len(dataset.metainfo['classes'])
    assert classes == dataset.metainfo['ignore_index'] == {'nuscenes': 16, 'semantickitti': 19}[name]
    metric = SegMetric()
    metric.dataset_meta = dataset.metainfo
    for packed in dataset:
        batch = Det3DDataPreprocessor()(
            dict(inputs=dict(points=[packed['inputs']['points']]), data_samples=[packed['data_samples']])
        )
        sample = batch['data_samples'][0]
        mask = sample.gt_pts_seg.pts_semantic_mask
        assert len(mask) == len(batch['inputs']['points'][0]) and mask.max() <= classes
        assert Path(sample.lidar_path).is_file()
        prediction = sample.clone()
        prediction.pred_pts_seg = sample.gt_pts_seg
        metric.process({}, [prediction.to_dict()])
    scores = metric.compute_metrics(metric.results)
    found = [scores[label] for label in dataset.metainfo['classes'] if np.isfinite(scores[label])]
    assert len(found) >= 8 and found == pytest.approx([1.0] * len(found))


def test_transforms_that_mix_samples_find_their_partner(data):
    name, root = data
    mix = dict(
        type='PolarMix', instance_classes=[0, 3], swap_ratio=1.0, rotate_paste_ratio=1.0, pre_transform=LOAD[name]
    )
    plain = build(name, root, [], indices=2)[0]
    mixed = build(name, root, [mix, PACK], indices=2)[0]
    points, mask = mixed['inputs']['points'], mixed['data_samples'].gt_pts_seg.pts_semantic_mask
    assert len(points) == len(mask) != len(plain['points'])
    assert 'dataset' not in build(name, root, [], indices=1, test_mode=True)[0]


def test_wrong_label_files(semantickitti_root, tmp_path):
    """One line each for a missing file, a cut one, one of another type and ids outside the map."""
    import shutil

    shutil.copytree(semantickitti_root / 'sequences/08', tmp_path / 'sequences/08')
    shutil.copy(semantickitti_root / 'semantickitti_infos_val.pkl', tmp_path)
    dataset, path = build('semantickitti', tmp_path, []), tmp_path / 'sequences/08/labels/000000.label'
    sound = path.read_bytes()

    def error() -> str:
        with pytest.raises(DataError) as caught:
            dataset[0]
        assert '\n' not in str(caught.value) and str(path) in str(caught.value)
        return str(caught.value)

    labels = np.frombuffer(sound, np.uint32).copy()
    for raw in (7, 300, 65535):  # 7 lies between ids that exist
        labels[11] = raw | 5 << 16
        path.write_bytes(labels.tobytes())
        assert f'label {raw}, which metainfo.seg_label_mapping does not have' in error()
    path.write_bytes(sound[:-4])
    assert f'{len(sound) - 4} bytes' in error()
    path.write_bytes(labels.astype(np.uint8).tobytes())
    assert 'dtype' in error()
    path.unlink()
    assert 'cannot be read' in error()
    with pytest.raises(ConfigError, match='uint32'):
        build('semantickitti', tmp_path, [dict(type='peridot.LoadPointLabels', dtype='int8')])

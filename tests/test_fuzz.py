"""Damaged files end as a sample that is read or as one line: bytes flipped, cut off, doubled or zeroed.

1,000 cases in all; PERIDOT_FUZZ=10000 tries more.
"""

import json
import os
import pickle
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from mmengine.registry import init_default_scope
from peridot.checkpoints import read_checkpoint
from peridot.datasets.create_infos_argoverse2 import read_feather
from peridot.datasets.kitti_texts import read_calibration, read_objects, read_rows
from peridot.datasets.paired_dataset import read_info_file
from peridot.datasets.recordings.calibration import read_calibration as read_recording
from peridot.datasets.recordings.point_files import read_points
from peridot.datasets.recordings.tables import read_poses
from peridot.errors import PeridotError
from peridot.maps import FeatureFolder, Manifest, MapFolder, read_manifest, write_manifest, write_map
from peridot.maps.images import ImageSource
from peridot.maps.manifest import PNG, RUNS
from peridot.maps.teacher_features import FeatureManifest, read_feature_manifest
from peridot.registry import DATASETS, TRANSFORMS
from peridot.structures import ImageViews
from PIL import Image
from plyfile import PlyData, PlyElement
from pyarrow.feather import write_feather
from pypcd4 import Encoding, PointCloud
from tiny_recording import POSE, TinyRecording, cloud

CASES = int(os.environ.get('PERIDOT_FUZZ', 1000))
KITTI = (
    'P0: 1 0 0 0 0 1 0 0 0 0 1 0\nP2: 7.2e+02 0 6.1e+02 4.5e+01 0 7.2e+02 1.7e+02 2.1e-01 0 0 1 2.7e-03\nTr: 0 -1 0 0\n'
)


def points(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'points.bin'
    rng = np.random.default_rng(0)
    rng.normal(size=(60, 5)).astype(np.float32).tofile(path)
    step = TRANSFORMS.build(dict(type='peridot.LoadPoints'))
    return path, lambda: step({'lidar_points': {'lidar_path': str(path)}})


def labels(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'labels.bin'
    np.arange(60, dtype=np.uint8).tofile(path)
    sample = dict(pts_semantic_mask_path=str(path), lidar_path='x', points=range(60))
    sample['seg_label_mapping'] = np.arange(60)
    step = TRANSFORMS.build(dict(type='peridot.LoadPointLabels'))
    return path, lambda: step(dict(sample))


def picture(kind: str) -> Callable:
    def make(folder: Path) -> tuple[Path, Callable]:
        path = folder / f'image.{kind}'
        pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)

        def read() -> None:
            ImageViews.from_files([str(path)]).decode()

        return path, read

    return make


def source(folder: Path) -> tuple[Path, Callable]:
    path, _ = picture('png')(folder)

    def read() -> None:
        ImageSource(str(path)).size()
        ImageSource(str(path)).read(at_least=(6, 8))

    return path, read


def map_file(dtype: type, form: str) -> Callable:
    def make(folder: Path) -> tuple[Path, Callable]:
        write_manifest(folder, Manifest(kind='superpixels', num_ids=256, layout=f'{{relative_stem}}{form}'))
        path = folder / f'a{form}'
        write_map(path, np.arange(24 * 32).reshape(24, 32) // 3 % 256, dtype)
        return path, lambda: MapFolder(folder).read('a.jpg', (24, 32))

    return make


def manifest(folder: Path) -> tuple[Path, Callable]:
    write_manifest(folder, Manifest(kind='labels', classes=['road', 'car'], ignore=255, parameters=dict(k=2)))
    return folder / 'manifest.json', lambda: read_manifest(folder)


def feature_manifest() -> FeatureManifest:
    return FeatureManifest(dict(type='x'), 'sha256:0', [4, 4], [8, 2, 2], 'python tool')


def features(folder: Path) -> tuple[Path, Callable]:
    maps = FeatureFolder(folder, manifest=feature_manifest())
    maps.write('a.jpg', np.ones((2, 2, 8)))
    return folder / 'a.npy', lambda: maps.read('a.jpg')


def features_manifest(folder: Path) -> tuple[Path, Callable]:
    write_manifest(folder, feature_manifest())
    return folder / 'manifest.json', lambda: read_feature_manifest(folder)


def calibration(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'calib.txt'
    path.write_text(KITTI)
    return path, lambda: read_calibration(path, {'P2': (3, 4)}, 'archive.zip')


def poses(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'poses.txt'
    np.savetxt(path, np.arange(36.0).reshape(3, 12))
    return path, lambda: read_rows(path, 12, 3)


def boxes(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'label.txt'
    path.write_text('Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n' * 2)
    return path, lambda: read_objects(path, 'archive.zip')


def info_file(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'infos.pkl'
    camera = dict(img_path='a.jpg', cam2img=np.eye(3).tolist(), lidar2cam=np.eye(4).tolist())
    sample = dict(token='t', lidar_points=dict(lidar_path='a.bin', num_pts_feats=5), images=dict(CAM_FRONT=camera))
    path.write_bytes(pickle.dumps(dict(metainfo=dict(dataset='nuscenes'), data_list=[sample] * 2)))
    settings = dict(type='peridot.PairedDataset', data_root=str(folder), ann_file=path.name, pipeline=[])

    def read() -> None:
        read_info_file(str(path), str(folder))
        DATASETS.build(settings)[0]

    return path, read


def checkpoint(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'weights.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(4), bias=torch.ones(2))), path)

    def read() -> None:
        for value in read_checkpoint(path).values():
            str(value)

    return path, read


def recording(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'calibration.json'
    path.write_text(json.dumps(TinyRecording(folder / 'drive').calibration))
    return path, lambda: read_recording(path)


def scan(kind: str) -> Callable:
    def make(folder: Path) -> tuple[Path, Callable]:
        form = read_recording(recording(folder)[0]).points
        path, points = folder / f'scan.{kind}', cloud(np.random.default_rng(0), 40)
        if kind == 'npy':
            np.save(path, points)
        elif kind == 'ply':
            rows = points.view([(name, np.float32) for name in form.columns]).ravel()
            PlyData([PlyElement.describe(rows, 'vertex')]).write(str(path))
        else:
            columns = PointCloud.from_points(list(points.T), list(form.columns), [np.float32] * 4)
            columns.save(path, Encoding.BINARY_COMPRESSED)
        return path, lambda: read_points(path, form)

    return make


def vehicle_poses(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'poses.csv'
    rows = [['time', *POSE], *([number, number, 0, 0, 0, 0, 0, 1] for number in range(4))]
    path.write_text('\n'.join(','.join(map(str, row)) for row in rows))
    return path, lambda: read_poses(path, {'000': 1.5})


def feather(folder: Path) -> tuple[Path, Callable]:
    path = folder / 'table.feather'
    write_feather(pyarrow.table({'x': np.arange(50.0), 'y': np.arange(50.0)}), path)
    return path, lambda: read_feather(path, ('x', 'y'))


KINDS = dict(
    points=points,
    labels=labels,
    jpeg=picture('jpg'),
    png=picture('png'),
    source=source,
    labels_map=map_file(np.uint8, PNG),
    superpixels=map_file(np.uint16, PNG),
    runs=map_file(np.uint8, RUNS),
    manifest=manifest,
    features=features,
    features_manifest=features_manifest,
    calibration=calibration,
    poses=poses,
    boxes=boxes,
    info_file=info_file,
    checkpoint=checkpoint,
    recording=recording,
    npy=scan('npy'),
    pcd=scan('pcd'),
    ply=scan('ply'),
    vehicle_poses=vehicle_poses,
    feather=feather,
)


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """The content of a file after an accident."""
    kind, place = rng.integers(5), int(rng.integers(len(data)))
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + data[place // 2 :]
    if kind == 2:
        return data[:place] + bytes(len(data) - place)
    changed = np.frombuffer(data, np.uint8).copy()
    count = 1 if kind == 3 else 1 + len(data) // 20
    places = rng.integers(len(data), size=count)
    changed[places] ^= (1 << rng.integers(0, 8, count)).astype(np.uint8)
    return changed.tobytes()


@pytest.mark.parametrize('kind', KINDS)
def test_a_damaged_file_is_read_or_named_in_one_line(kind, tmp_path):
    init_default_scope('mmdet3d')
    path, read = KINDS[kind](tmp_path)
    read()
    sound = path.read_bytes()
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    refused = 0
    for case in range(-(-CASES // len(KINDS))):
        path.write_bytes(damage(sound, rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                read()
        except PeridotError as error:
            refused += 1
            assert '\n' not in str(error), f'case {case}'
        except BaseException as error:
            raise AssertionError(f'case {case} of {kind}: {type(error).__name__}: {error}') from error
    assert refused > 0

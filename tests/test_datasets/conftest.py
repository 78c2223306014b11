import copy
import shutil
from pathlib import Path

import mmengine
import numpy as np
import pytest
from peridot.maps import Manifest, write_manifest, write_map
from peridot.registry import DATASETS
from PIL import Image

NUM_SAMPLES = 4
NUM_POINTS = 600
HEIGHT, WIDTH, FOCAL = 90, 160, 100.0
# forward x left y up z -> right x down y forward z
AXES = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]])
CLASSES = ['road', 'car', 'tree']
MAPS = {
    'peridot.LoadPairLabels': lambda step: [step.get('name', 'labels')],
    'peridot.LoadViewMaps': lambda step: step.get('names', ['superpixels']),
}


class TinyDataset:
    """A hand-made dataset of two cameras in the layout of nuScenes: files, infos, label maps, superpixels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(0)
        for folder in ('samples/LIDAR_TOP', 'samples/CAM_FRONT', 'samples/CAM_BACK', 'lidarseg/v1.0-mini'):
            (root / folder).mkdir(parents=True)
        infos = [self._write_sample(i) for i in range(NUM_SAMPLES)]
        write_manifest(root / 'labels', Manifest(kind='labels', classes=CLASSES, ignore=200))
        write_manifest(root / 'superpixels', Manifest(kind='superpixels', num_ids=9000, ignore=65535))
        self.content = dict(metainfo=dict(dataset='nuscenes', info_version='1.1', version='v1.0-mini'), data_list=infos)
        self.write_infos()

    def write_infos(self) -> None:
        mmengine.dump(self.content, self.root / 'infos.pkl')

    def config(self, pipeline: list, **changes) -> dict:
        return (
            dict(
                type='peridot.PairedDataset',
                data_root=str(self.root),
                ann_file='infos.pkl',
                data_prefix=dict(
                    pts='samples/LIDAR_TOP',
                    pts_semantic_mask='lidarseg/v1.0-mini',
                    CAM_FRONT='samples/CAM_FRONT',
                    CAM_BACK='samples/CAM_BACK',
                ),
                pipeline=pipeline,
            )
            | changes
        )

    def build(self, pipeline: list, **changes):
        """The dataset; `maps` are those that the pipeline reads, in folders of the same name, unless given."""
        names = [name for step in pipeline for name in MAPS.get(step['type'], lambda _: ())(step)]
        return DATASETS.build(self.config(pipeline, **{'maps': {name: name for name in names}, **changes}))

    def cloud(self, index: int) -> np.ndarray:
        return np.fromfile(self.root / f'samples/LIDAR_TOP/{index}.bin', np.float32).reshape(-1, 5)

    def _write_sample(self, index: int) -> dict:
        cloud = self.rng.uniform([-40, -40, -2, 0, 0], [40, 40, 3, 255, 31], (NUM_POINTS, 5)).astype(np.float32)
        cloud.tofile(self.root / f'samples/LIDAR_TOP/{index}.bin')
        self.rng.integers(0, 32, NUM_POINTS, dtype=np.uint8).tofile(
            self.root / f'lidarseg/v1.0-mini/{index}_lidarseg.bin'
        )
        images = {}
        # not the canonical order, as in mmdet3d's infos
        for name, yaw in (('CAM_BACK', np.pi), ('CAM_FRONT', 0.0)):
            lidar2cam = np.eye(4, dtype=np.float32)
            cos, sin = np.cos(yaw), np.sin(yaw)
            lidar2cam[:3, :3] = AXES @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
            lidar2cam[:3, 3] = (0.1, -0.3, -0.2)
            stem = f'samples/{name}/{index}'
            pixels = self.rng.integers(0, 255, (9, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(self.root / f'{stem}.jpg', quality=90)
            labels = self.rng.choice(np.array([0, 1, 2, 200], np.uint8), (HEIGHT, WIDTH))
            write_map(self.root / f'labels/{stem}.png', labels)
            ids = self.rng.integers(0, 9000, (HEIGHT, WIDTH)).astype(np.uint16)
            ids[:4] = 65535
            write_map(self.root / f'superpixels/{stem}.png', ids, np.uint16)
            images[name] = dict(
                img_path=f'{index}.jpg',
                cam2img=[[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]],
                lidar2cam=lidar2cam.tolist(),
                sample_data_token=f'{name}-{index}',
            )
        return dict(
            sample_idx=index,
            token=f'token{index}',
            lidar_points=dict(lidar_path=f'{index}.bin', num_pts_feats=5),
            images=images,
            pts_semantic_mask_path=f'{index}_lidarseg.bin',
            instances=[dict(bbox_3d=[0] * 7)],
        )


@pytest.fixture(scope='session')
def tiny_original(tmp_path_factory) -> TinyDataset:
    return TinyDataset(tmp_path_factory.mktemp('tiny'))


@pytest.fixture
def tiny(tiny_original, tmp_path) -> TinyDataset:
    """A copy that a test may damage."""
    shutil.copytree(tiny_original.root, tmp_path / 'tiny')
    own = copy.copy(tiny_original)
    own.root, own.content = tmp_path / 'tiny', copy.deepcopy(tiny_original.content)
    return own


@pytest.fixture
def train_pipeline() -> list:
    return [
        dict(type='peridot.LoadPoints'),
        dict(type='peridot.LoadImageViews'),
        dict(type='peridot.ProjectPoints'),
        dict(type='peridot.LoadPairLabels'),
        dict(type='peridot.LoadViewMaps'),
        dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[0.0, 6.28], scale_ratio_range=[1.0, 1.0]),
        dict(type='mmdet3d.RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5),
        dict(type='peridot.DropCuboids', max_size=0.8, min_pairs=1),
        dict(type='peridot.RandomResizedCropViews', size=(45, 80), min_pairs=10),
        dict(type='peridot.RandomFlipViews'),
        dict(type='peridot.PackPaired'),
    ]


@pytest.fixture
def lines(monkeypatch) -> list[str]:
    """What is reported."""
    found: list[str] = []
    for module in ('missing', 'lidar_folder', 'rosbag.import_rosbag'):
        monkeypatch.setattr(f'peridot.datasets.{module}.print_log', lambda text, *_: found.append(text))
    return found


@pytest.fixture
def av2_copy(argoverse2_root, tmp_path) -> Path:
    """`argoverse2_root` without products, which a test may damage."""
    root = tmp_path / 'argoverse2'
    shutil.copytree(argoverse2_root, root, ignore=shutil.ignore_patterns('*.pkl', 'weak_labels'))
    shutil.rmtree(root / 'lidar')
    return root

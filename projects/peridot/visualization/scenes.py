"""Networks, samples and cameras for figures, from the configs of mmdet3d and of this project."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from PIL import Image
from torch import Tensor, nn

from peridot.catalog import lookup
from peridot.checkpoints import read_checkpoint
from peridot.datasets.complete_infos import without_labels
from peridot.datasets.paired_dataset import read_info_file
from peridot.datasets.projection import project_to_cameras
from peridot.datasets.splits import parsed_infos, sample_ids
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS, MODELS
from peridot.structures import Pairs
from peridot.visualization.figures import caption
from peridot.weights import check_same_network, verify_loading


@dataclass(frozen=True)
class Cameras:
    """Images of one sample, all resized to one size.

    Attributes:
        names: Names of the V cameras.
        images: Uint8 (V, H, W, 3).
        lidar2cam: Float64 (V, 4, 4).
        cam2img: Float64 (V, 4, 4), for the resized images.
        front: Float (4, 4), lidar2cam of the front camera, None without cameras.
    """

    names: Sequence[str]
    images: np.ndarray
    lidar2cam: np.ndarray
    cam2img: np.ndarray
    front: np.ndarray | None

    def captioned(self) -> np.ndarray:
        """Copies of the images with the cameras' names in their corners."""
        figures = self.images.copy()
        for figure, name in zip(figures, self.names):
            caption(figure, name)
        return figures

    def pairs(self, xyz: np.ndarray) -> Pairs:
        """Pairs of a cloud (N, >=3) in the lidar frame and the images."""
        sizes = np.tile(self.images.shape[1:3], (len(self.images), 1))
        return project_to_cameras(xyz, self.lidar2cam, self.cam2img, sizes)


class Scenes:
    """Samples of a config's test dataset (of a pre-training config: its `picture_dataset`), with their cameras.

    The cameras come from the info file, whether the dataset reads images or not.

    Args:
        config: Config of mmdet3d or of this project.
        count: Number of samples, evenly spaced.
        rows: Rows of the samples in the dataset, instead of `count`.

    Raises:
        ConfigError: The config has no such dataset, or it has no such rows.
    """

    def __init__(self, config: Config, count: int = 1, rows: Sequence[int] | None = None) -> None:
        init_default_scope(config.get('default_scope', 'mmdet3d'))
        settings = config.get('picture_dataset') or (config.get('test_dataloader') or {}).get('dataset')
        if settings is None:
            raise ConfigError(f'{config.filename} has neither test_dataloader nor picture_dataset to take samples from')
        # mmdet3d's own cannot be built lazily
        lazy = {'lazy_init': True} if settings['type'].startswith('peridot.') else {}
        self.dataset = DATASETS.build({**settings, **lazy})
        if not isinstance(self.dataset, BaseDataset):
            raise ConfigError(
                f'the test dataset of {config.filename} is a {type(self.dataset).__name__}: figures need the dataset '
                'that reads the info file itself'
            )
        content = read_info_file(self.dataset.ann_file, self.dataset.data_root, self.dataset.backend_args)
        if lazy and not any(info.get('pts_semantic_mask_path') for info in content['data_list']):
            self.dataset = DATASETS.build({**without_labels(settings), **lazy})
        self.dataset.full_init()
        samples = len(self.dataset)
        self.rows = [i * samples // count for i in range(min(count, samples))] if rows is None else list(rows)
        beyond = [row for row in self.rows if not 0 <= row < samples]
        if beyond:
            raise ConfigError(
                f'{self.dataset.ann_file} has no sample {beyond[0]}: give indices from 0 to {samples - 1}'
            )
        infos, self._entry = content['data_list'], lookup(content['metainfo'].get('dataset'))
        self._images = {key: info.get('images', {}) for key, info in zip(sample_ids(infos), infos)}
        self._ids = list(sample_ids(parsed_infos(self.dataset), self.dataset.data_prefix.get('pts', '')))

    def __iter__(self) -> Iterator[tuple[str, dict, int]]:
        """Yield name for files, packed sample and row of every chosen sample."""
        for row in self.rows:
            yield self._ids[row].replace('/', '_'), self.dataset[row], row

    def cameras(self, row: int, wide: int, narrow: int) -> Cameras:
        """Cameras of a sample: one is `wide` pixels wide, several are `narrow`; all get the height of the first."""
        cameras = {name: camera for name, camera in self._images[self._ids[row]].items() if _is_complete(camera)}
        if not cameras:
            return Cameras((), np.zeros((0, 1, 1, 3), np.uint8), np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), None)
        names = self._entry.sort_cameras(cameras, in_figure=True)
        images = [Image.open(self._path(name, cameras[name]['img_path'])).convert('RGB') for name in names]
        width = wide if len(images) == 1 else narrow
        size = (width, round(images[0].height * width / images[0].width))
        lidar2cam = np.stack([_square(cameras[name]['lidar2cam']) for name in names])
        cam2img = np.stack([_square(cameras[name]['cam2img']) for name in names])
        scale = np.array([[size[0] / image.width, size[1] / image.height] for image in images])
        # a pixel's center has integer coordinates
        cam2img[:, :2] = scale[:, :, None] * cam2img[:, :2] + (scale - 1)[:, :, None] / 2 * cam2img[:, 2:3]
        front = lidar2cam[self._entry.front_index(names)]
        resized = np.stack([np.asarray(image.resize(size)) for image in images])
        return Cameras(names, resized, lidar2cam, cam2img, front)

    def _path(self, name: str, path: str) -> Path:
        """Path of an image: lidar configs do not say where images are, so the catalog's folder is tried too."""
        prefix, root = self.dataset.data_prefix, Path(self.dataset.data_root)
        folders = [prefix[key] for key in (name, 'img') if key in prefix]
        folders += [root, root / self._entry.cameras.get(name, '')]
        found = next((Path(folder) / path for folder in folders if (Path(folder) / path).is_file()), None)
        if found is None:
            raise DataError(f'image {path} of {name} is not below {root}: set data_prefix.{name} of the test dataset')
        return found


def load_network(config: Config, checkpoint: str, device: str | torch.device = 'cpu') -> nn.Module:
    """The config's model with the weights of a checkpoint of the same config, ready to predict.

    Raises:
        CheckpointError: The file is missing or damaged, or does not hold all of the network.
    """
    init_default_scope(config.get('default_scope', 'mmdet3d'))
    model = MODELS.build(config.model)
    content = read_checkpoint(checkpoint)
    check_same_network(model, content)
    load_checkpoint(model, checkpoint, map_location='cpu')
    verify_loading(model, checkpoint)
    return model.to(device).eval()


@torch.no_grad()
def predict(model: nn.Module, sample: dict):
    """Run a network on one packed sample; returns its `Det3DDataSample` with the prediction."""
    return model.test_step(pseudo_collate([sample]))[0]


@torch.no_grad()
def point_features(model: nn.Module, sample: dict, head: str | None = None) -> Tensor:
    """Features (N, C) of the points of one packed sample, on the CPU.

    Args:
        model: A `Pretrainer`, or one of mmdet3d's MinkUNet segmentors.
        sample: As its pipeline packs it.
        head: Head of a `Pretrainer` that embeds the points.

    Raises:
        ConfigError: The model is another network, or has no such head.
    """
    data = model.data_preprocessor(pseudo_collate([sample]), False)
    if hasattr(model, 'embed_points'):
        return model.embed_points(data['inputs']['points'], head)[0].float().cpu()
    if not hasattr(model, 'decode_head') or 'voxels' not in data['inputs']:
        raise ConfigError(
            f'{type(model).__name__} has no point features: give a pre-training config or that of a MinkUNet'
        )
    return model.extract_feat(data['inputs'])[data['data_samples'][0].point2voxel_map].float().cpu()


def true_labels(sample: dict) -> np.ndarray | None:
    """True class (N,) of the points of one packed sample, None if it has none."""
    packed = sample['data_samples']
    truth = (packed.get('eval_ann_info') or {}).get('pts_semantic_mask')
    if truth is None and 'gt_pts_seg' in packed:
        truth = packed.gt_pts_seg.get('pts_semantic_mask')
    return None if truth is None else np.asarray(truth, dtype=np.int64)


def _is_complete(camera) -> bool:
    # KITTI's infos also list cameras without images, and matrices, beside the cameras
    return isinstance(camera, dict) and all(camera.get(key) is not None for key in ('img_path', 'lidar2cam', 'cam2img'))


def _square(matrix) -> np.ndarray:
    result, matrix = np.eye(4), np.asarray(matrix, dtype=np.float64)
    result[: matrix.shape[0], : matrix.shape[1]] = matrix
    return result


def front_camera(info: dict) -> np.ndarray | None:
    """`lidar2cam` (4, 4) of the front camera: by the catalog, otherwise the first one, if any.

    Args:
        info: As `PairedDataset.get_data_info` gives it.
    """
    names = info['cameras']
    return info['lidar2cam'][lookup(info['dataset_name']).front_index(names)] if names else None

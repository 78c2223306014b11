"""What is unusual about a dataset's samples, in numbers and as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from mmengine.dataset import Compose

from peridot.catalog import lookup
from peridot.datasets.projection import FEW_POINTS
from peridot.datasets.recordings.transforms import is_rotation
from peridot.errors import PeridotError
from peridot.preflight.sources import READS
from peridot.preflight.survey import Survey
from peridot.visualization.overlays import frames_from_above, overlay
from peridot.walk import steps_of


def first_overlay(item: Survey) -> np.ndarray | None:
    """The points of a sample on its images, see `peridot.visualization.overlays`; None without images.

    It is the first sample, unless others have more images: with `images_of` the first of a drive has none of others.
    """
    infos = map(item.dataset.get_data_info, range(len(item.dataset)))
    info = max(infos, key=lambda info: len(info.get('img_paths', ())))
    if not len(info.get('img_paths', ())):
        return None
    return overlay(info, _load(info, item.source.settings)['points'].tensor.numpy())


def first_frames(item: Survey) -> np.ndarray | None:
    """The scans of a sample of several frames, see `frames_from_above`; None if samples have one frame."""
    infos = map(item.dataset.get_data_info, range(len(item.dataset)))
    info = max(infos, key=lambda info: len(info.get('frames', ())))
    # a dense cloud is the keyframe again
    frames = [info, *(frame for frame in info.get('frames', ()) if 'dense_sweeps' not in frame)]
    if len(frames) == 1:
        return None
    read = Compose([_points_step(info, item.source.settings)])
    clouds = [read(dict(frame))['points'].tensor.numpy() for frame in frames]
    return frames_from_above(clouds, [np.eye(4), *(frame['to_sample'] for frame in frames[1:])])


def oddities(item: Survey, rows: int = 20) -> dict[str, list[str]]:
    """Samples that are unlike what the dataset or the others say.

    Args:
        item: A dataset whose samples can be listed; only a `PairedDataset` is looked at.
        rows: Samples to read, spread evenly over those of the survey.

    Returns:
        Names of samples or cameras by what is unusual about them.
    """
    found: dict[str, list[str]] = {}
    dataset = item.dataset
    if dataset is None or not len(dataset) or 'img_paths' not in dataset.get_data_info(0):
        return found
    sizes: dict[str, list[tuple[str, tuple]]] = {}
    for row in np.unique(np.linspace(0, len(dataset) - 1, rows).astype(int)).tolist():
        info = dataset.get_data_info(row)
        for kind, name in _odd_calibration(info):
            found.setdefault(kind, []).append(name)
        try:
            sample = _load(info, item.source.settings)
        except PeridotError as error:
            found.setdefault('cannot be read', []).append(str(error))
            continue
        for kind, name in _odd_sample(sample, info):
            found.setdefault(kind, []).append(name)
        for name, path, size in zip(info['cameras'], info['img_paths'], sample['views'].file_size.tolist()):
            sizes.setdefault(name, []).append((path, tuple(size)))
    for camera, images in sizes.items():
        usual = Counter(size for _, size in images).most_common(1)[0][0]
        others = [f'{path} ({h}x{w})' for path, (h, w) in images if (h, w) != usual]
        if others:
            found.setdefault(f'images of {camera} not of {usual[0]}x{usual[1]} pixels', []).extend(others)
    return found


def _load(info: dict, settings: Mapping) -> dict:
    """Points, image files and pairs of a sample."""
    images = dict(type='peridot.LoadImageViews', backend_args=info.get('backend_args'))
    return Compose([_points_step(info, settings), images, dict(type='peridot.ProjectPoints')])(dict(info))


def _points_step(info: dict, settings: Mapping) -> dict:
    points = next(step for step in steps_of(settings) if READS.get(step['type'].split('.')[-1]) == 'points')
    return {'backend_args': info.get('backend_args'), **points}


def _odd_calibration(info: dict) -> Iterator[tuple[str, str]]:
    for camera, matrix, intrinsics in zip(info['cameras'], info['lidar2cam'], info['cam2img']):
        if not is_rotation(matrix[:3, :3]):
            yield 'lidar2cam is not a rotation', f'{camera} of {info["token"]}'
        if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
            yield 'cam2img has no positive focal length', f'{camera} of {info["token"]}'


def _odd_sample(sample: dict, info: dict) -> Iterator[tuple[str, str]]:
    points = sample['points'].tensor
    seen = torch.bincount(sample['pairs'].camera, minlength=len(info['cameras'])) / len(points)
    for camera, share in zip(info['cameras'], seen.tolist()):
        if share < FEW_POINTS:
            yield f'fewer than {FEW_POINTS:.1%} of the points fall on the image', f'{camera} of {info["token"]}'
    limits = lookup(info['dataset_name']).intensity_range
    if limits and points.shape[1] > 3 and not limits[0] <= points[:, 3].min() <= points[:, 3].max() <= limits[1]:
        low, high = points[:, 3].aminmax()
        yield f'intensities outside {limits[0]} to {limits[1]}', f'{info["token"]} ({low:g} to {high:g})'
    if points[:, :3].abs().max() > 1000:
        yield 'points farther than 1000 m: meters?', info['token']

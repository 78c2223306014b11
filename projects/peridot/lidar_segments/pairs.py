"""Pairs of scans that get segments: two keyframes of a drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mmengine.config import Config
from torch.utils.data import Dataset

from peridot.datasets.frames import next_scan
from peridot.datasets.transforms import LoadPoints
from peridot.errors import ConfigError, DataError
from peridot.labels.training_maps import training_settings
from peridot.registry import TRANSFORMS
from peridot.walk import dicts_of, innermost, steps_of


@dataclass(frozen=True)
class ScanPair:
    """Two scans of a drive.

    Attributes:
        points: `lidar_points` of both, as `LoadPoints` takes them.
        to_first: Float64 (4, 4), from the frame of the second scan into that of the first.
    """

    points: tuple[dict, dict]
    to_first: np.ndarray

    @property
    def scans(self) -> tuple[str, str]:
        """Their lidar files."""
        return self.points[0]['lidar_path'], self.points[1]['lidar_path']

    def read(self, load: LoadPoints) -> list[np.ndarray]:
        """Coordinates Float32 (N, 3) and (M, 3) of both, each in its own frame."""
        return [load({'lidar_points': dict(points)})['points'].tensor[:, :3].numpy() for points in self.points]

    def together(self, clouds: list[np.ndarray]) -> list[np.ndarray]:
        """Coordinates Float64 of what `read` gives, in the frame of the first."""
        first, second = (cloud.astype(np.float64) for cloud in clouds)
        return [first, second @ self.to_first[:3, :3].T + self.to_first[:3, 3]]


def load_points(config: Config, dataset: Dataset) -> LoadPoints:
    """The transform that reads the points of the training set.

    Raises:
        ConfigError: The pipelines have none, or several.
    """
    found = [
        step
        for part in dicts_of(training_settings(config))
        for step in steps_of(part)
        if step['type'] == 'peridot.LoadPoints'
    ]
    if len(found) != 1:
        raise ConfigError(
            f'{config.filename}: the training pipeline reads points with {len(found)} peridot.LoadPoints, segments '
            'need one: give the config of one dataset'
        )
    load: LoadPoints = TRANSFORMS.build(found[0])
    load.backend_args = load.backend_args or innermost(dataset)[0].backend_args
    return load


def pairs_of(dataset: Dataset) -> tuple[list[ScanPair], dict]:
    """Pairs of keyframes of a dataset, or of one inside wrappers, and the `frames` of the manifest.

    Raises:
        ConfigError: Its samples have one keyframe.
        DataError: No keyframe has another one in time.
    """
    (paired,) = innermost(dataset)
    rule = paired.frame_rule
    if rule is None or not rule.keyframes:
        raise ConfigError(
            'lidar segments are those of two keyframes, and the samples of the training set have one: set '
            'train_dataloader.dataset.frames=dict(keyframes=(1,))'
        )
    infos = [paired.get_data_info(row) for row in range(len(paired))]
    found = [(info, next_scan(info)) for info in infos]
    pairs = {
        info['lidar_path']: ScanPair((info['lidar_points'], other['lidar_points']), other['to_sample'])
        for info, other in found
        if other is not None
    }
    if not pairs:
        raise DataError(
            f'no keyframe of {paired.ann_file} has another one {rule.keyframes[0]:+d} in its drive: check the times of '
            f'the info file, or set a larger frames.max_gap than {rule.max_gap} s'
        )
    return list(pairs.values()), {'offset': rule.keyframes[0], 'max_gap': rule.max_gap}

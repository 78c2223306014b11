"""Infos of an info file that have all that a dataset is asked for."""

from __future__ import annotations

import os.path as osp
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from peridot.datasets.missing import absent_files, first, report


def token_of(info: dict) -> str:
    """Name of a raw info's sample: its token, or the lidar file's path in the info file without suffix."""
    return str(info.get('token') or osp.splitext(info.get('lidar_points', {}).get('lidar_path') or '')[0])


def cameras_with_image(info: dict) -> list[str]:
    """Names of the cameras of a raw info that have an image."""
    # KITTI's infos list cameras without images, and besides the cameras a matrix called R0_rect
    cameras = info.get('images', {}).items()
    return [name for name, camera in cameras if isinstance(camera, dict) and camera.get('img_path')]


def without_labels(settings: Mapping) -> dict:
    """Config of a dataset that reads no point labels, for figures that do not show them."""
    steps = [step for step in settings.get('pipeline', ()) if step['type'] != 'peridot.LoadPointLabels']
    return {**settings, 'pipeline': steps}


@dataclass(frozen=True)
class Wanted:
    """What a dataset wants of its samples.

    Attributes:
        cameras: Names of cameras that must have an image; None for all that have one.
        images: Whether the pipeline loads images: then there must be one.
        labels: Whether there must be point labels.
    """

    cameras: Collection[str] | None
    images: bool
    labels: bool

    def is_met_by(self, info: dict) -> bool:
        """Whether a raw info has all of it."""
        if self.labels and not info.get('pts_semantic_mask_path'):
            return False
        found = cameras_with_image(info)
        return set(self.cameras or ()).issubset(found) and bool(found or not self._any_image)

    def __str__(self) -> str:
        cameras = [f'an image of {", ".join(self.cameras)}'] if self.cameras else ['an image'] * self._any_image
        return ' or '.join([*cameras, *['point labels'] * self.labels])

    @property
    def _any_image(self) -> bool:
        return self.images and self.cameras is None


def divide_complete(
    infos: list[dict], wanted: Wanted, ann_file: str, remedy: str, missing: str
) -> tuple[list[dict], list[str]]:
    """Divide raw infos into those that have what is wanted, and the others.

    Args:
        infos: Of an info file.
        wanted: What a sample must have.
        ann_file: The info file, for the line about the others.
        remedy: What to do about them.
        missing: See `report`.

    Returns:
        The complete infos, and the names of the others' samples.

    Raises:
        DataError: No info is complete, or `missing` is 'error' and some are not.
    """
    whole, others = [], []
    for info in infos:
        (whole if wanted.is_met_by(info) else others).append(info)
    names = [token_of(info) for info in others]
    if others:
        has = f'; the first has those of {", ".join(cameras_with_image(others[0])) or "no camera"}'
        has *= bool(wanted.cameras)
        line = f'{len(others)} of {len(infos)} samples of {ann_file} lack {wanted} ({first(names)}{has})'
        report(line, remedy, missing if whole else 'error')
    return whole, names


def keep_existing_sweeps(infos: list[dict], missing: str) -> None:
    """Take the sweeps whose file is absent out of the `lidar_sweeps` of parsed infos.

    Raises:
        DataError: All are absent, or `missing` is 'error' and some are.
    """
    paths = {sweep['lidar_path'] for info in infos for sweep in info['lidar_sweeps']}
    absent = absent_files(paths)
    if absent:
        line = f'{len(absent)} of {len(paths)} sweeps before key frames are absent ({first(sorted(absent))})'
        remedy = (
            'unpack them, or correct data_prefix.sweeps, or set num_sweeps=0 and take LoadSecondSweep and `frames` out'
        )
        report(line, remedy, missing if len(absent) < len(paths) else 'error')
    for info in infos:
        info['lidar_sweeps'] = [sweep for sweep in info['lidar_sweeps'] if sweep['lidar_path'] not in absent]

"""Infos of an info file that have all that a dataset is asked for."""

from __future__ import annotations

import os.path as osp
from collections.abc import Collection, Mapping

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


def is_complete(info: dict, cameras: Collection[str], labels: bool) -> bool:
    """Whether a raw info has an image of all cameras, and labels of its points if they are asked for."""
    has_labels = not labels or bool(info.get('pts_semantic_mask_path'))
    return has_labels and set(cameras).issubset(cameras_with_image(info))


def divide_complete(
    infos: list[dict], cameras: Collection[str], labels: bool, ann_file: str, remedy: str, missing: str
) -> tuple[list[dict], list[str]]:
    """Divide raw infos into those that have all cameras, and labels of their points, and the others.

    Args:
        infos: Of an info file.
        cameras: Names of the cameras that a sample must have.
        labels: Whether a sample must have point labels.
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
        (whole if is_complete(info, cameras, labels) else others).append(info)
    names = [token_of(info) for info in others]
    if others:
        what = ' or '.join([*[f'an image of {", ".join(cameras)}'] * bool(cameras), *['point labels'] * labels])
        has = f'; the first has those of {", ".join(cameras_with_image(others[0])) or "no camera"}' * bool(cameras)
        line = f'{len(others)} of {len(infos)} samples of {ann_file} lack {what} ({first(names)}{has})'
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

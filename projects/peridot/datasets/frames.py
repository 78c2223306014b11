"""Samples of several frames: neighboring keyframes and earlier sweeps of the same drive."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch

from peridot.errors import ConfigError, DataError
from peridot.structures import Frames, Pairs, Queries

# entries of a sample that have one value per camera
PER_CAMERA = ('cameras', 'img_paths', 'img_tokens', 'lidar2cam', 'cam2img')
# larger times are microseconds (Waymo's info files), not seconds
_LATEST_SECOND = 1e11


@dataclass(frozen=True)
class FrameRule:
    """Choice of the frames that a sample has besides its keyframe.

    Attributes:
        keyframes: Offsets of other keyframes, e.g. (-1, 1) for the one before and the one after.
        sweeps: Sweeps before the keyframe, 1 for the latest; they have no images.
        cameras: Give other keyframes their images, too.
        max_gap: Longest time in seconds between successive keyframes of a drive.
        dense: With a number n the keyframe comes a second time, its points and those of the n sweeps before it in one
            cloud that shares the keyframe's images; a frame behind all others. A keyframe without sweeps has none.
        missing: What a sample gets in place of keyframes beyond the ends of its drive and of a dense cloud without
            sweeps: 'skip', nothing; or 'repeat', the keyframe itself as another frame, as SuperFlow was released.
        images_of: Offsets of other keyframes whose images the sample's own scan has, too: its points are projected into
            them through the poses. No scan is added.

    Raises:
        ConfigError: An offset is 0, a sweep is below 1, there is nothing else than the keyframe, or `missing` is
            another word.
    """

    keyframes: Sequence[int] = ()
    sweeps: Sequence[int] = ()
    cameras: bool = True
    max_gap: float = 1.0
    dense: int = 0
    missing: str = 'skip'
    images_of: Sequence[int] = ()

    def __post_init__(self) -> None:
        keyframes = (*self.keyframes, *self.images_of)
        nothing = not (keyframes or self.sweeps or self.dense)
        if 0 in keyframes or any(number < 1 for number in self.sweeps) or self.dense < 0 or nothing:
            raise ConfigError(
                f'frames: keyframes={list(self.keyframes)}, sweeps={list(self.sweeps)}, dense={self.dense}, '
                f'images_of={list(self.images_of)}: set offsets other than 0, numbers of sweeps from 1, and at least '
                'one of them'
            )
        if self.missing not in ('skip', 'repeat'):
            raise ConfigError(f"frames: missing={self.missing!r}: choose 'skip' or 'repeat'")


def link_frames(infos: list[dict], rule: FrameRule) -> None:
    """Give each info the `frames` of its sample, a list of infos in the order of the rule.

    An info of a frame has also `frame`, its place in the rule from 1, `time` in seconds from the sample's keyframe, and
    `to_sample` (4, 4) float64, from its lidar frame into that of the keyframe. Frames that do not exist are left out,
    or repeat the keyframe. That of a dense cloud has `dense_sweeps`, the sweeps to add to the keyframe's points.

    With `images_of` the entries of the cameras are those of all its images: the own ones, then those of the other
    keyframes, whose names have the offset (`CAM_FRONT -1`) and whose `lidar2cam` takes points of the own scan to the
    camera at the other time. `image_offsets` Int64 (V,) says which is which, 0 for the own ones, and `image_scans` are
    the scans that were taken with the others (`offset`, `lidar_path`, `lidar_points`, `to_sample`).

    Args:
        infos: Parsed infos of the dataset, with `timestamp`, `lidar2global` and `lidar_sweeps`.
        rule: The frames to link.
    """
    drives = list(drives_of(infos, rule.max_gap))
    # copies from before any info has frames of its own
    plain = [dict(info) for info in infos]
    for drive in drives:
        for place, row in enumerate(drive):
            neighbors = [(i, _neighbor(drive, place, offset, rule)) for i, offset in enumerate(rule.keyframes, 1)]
            frames = [_keyframe(plain, row, other, i, rule.cameras) for i, other in neighbors if other is not None]
            infos[row]['frames'] = frames + _sweeps(plain[row], rule) + _dense(plain[row], rule)
            if rule.images_of:
                infos[row].update(_images_of(plain, drive, place, rule.images_of))


def drives_of(infos: Sequence[dict], max_gap: float) -> Iterator[list[int]]:
    """Rows of the keyframes of each drive, ordered by time.

    A drive is recorded without a longer gap; its lidar files have the same folder and log, the part of their names
    before `__` (nuScenes).
    """
    order = sorted(range(len(infos)), key=lambda row: (_log(infos[row]), infos[row]['timestamp']))
    drive: list[int] = []
    for row in order:
        if drive and not _follows(infos[drive[-1]], infos[row], max_gap):
            yield drive
            drive = []
        drive.append(row)
    if drive:
        yield drive


def next_scan(info: dict) -> dict | None:
    """Info of the first of the other keyframes of a sample, None where its drive has none there.

    Args:
        info: Parsed info of a dataset whose `frames` have keyframes, see `link_frames`.
    """
    first = next((frame for frame in info.get('frames', ()) if frame['frame'] == 1), None)
    return None if first is None or first['lidar_path'] == info['lidar_path'] else first


def timestamp_of(info: dict, ann_file: str) -> float:
    """Time of a raw info in seconds.

    Raises:
        DataError: It has none.
    """
    time = info.get('timestamp')
    if time is None:
        raise DataError(
            f'the samples of {ann_file} have no timestamp, which `frames` of the dataset needs: make the info file '
            'again with tools/create_data.py from data with times and poses, or take `frames` out'
        )
    return seconds(time)


def seconds(timestamp: float) -> float:
    """A time stamp in seconds; info files of Waymo have microseconds."""
    return float(timestamp) / 1e6 if float(timestamp) > _LATEST_SECOND else float(timestamp)


def lidar2global_of(info: dict, ann_file: str) -> np.ndarray:
    """Transform Float64 (4, 4) of a raw info from the lidar's frame to a fixed one.

    Raises:
        DataError: It has no ego pose.
    """
    ego2global = info.get('ego2global')
    lidar2ego = info['lidar_points'].get('lidar2ego', np.eye(4))
    try:
        matrix = np.asarray(ego2global, dtype=np.float64) @ np.asarray(lidar2ego, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(matrix.shape)
    except (TypeError, ValueError):
        raise DataError(
            f'sample {info.get("token", info.get("sample_idx"))} of {ann_file} has no ego pose (ego2global), which '
            '`frames` of the dataset needs: make the info file again with tools/create_data.py from data with '
            'poses, or take `frames` out'
        ) from None
    return matrix


def boxes_of(info: dict) -> np.ndarray | None:
    """Boxes of a raw info of nuScenes with their speeds; None if it has no boxes with velocities.

    Returns:
        Float32 (M, 8), x, y, z of the center, length, width, height in meters and yaw in radians in the lidar frame,
        and the speed in meters per second, NaN where it is unknown.
    """
    instances = info.get('instances')
    if instances is None or any('velocity' not in instance for instance in instances):
        return None
    rows = [[*instance['bbox_3d'][:7], np.hypot(*instance['velocity'][:2])] for instance in instances]
    return np.array(rows, dtype=np.float32).reshape(-1, 8)


def lidar2sensor_of(sweep: dict, info: dict) -> np.ndarray:
    """Transform Float64 (4, 4) from a keyframe's lidar frame to that of a sweep; of another shape if there is none.

    Args:
        sweep: Entry of `lidar_sweeps` of the raw info.
        info: Raw info of the keyframe.
    """
    matrix = sweep['lidar_points'].get('lidar2sensor')
    if 'lidar2sensor' not in sweep['lidar_points'] and 'ego2global' in sweep and 'ego2global' in info:
        # infos of Waymo have poses alone
        then, now = (np.asarray(part['ego2global'], dtype=np.float64) for part in (sweep, info))
        then, now = (
            pose @ np.asarray(part['lidar_points'].get('lidar2ego', np.eye(4)))
            for pose, part in ((then, sweep), (now, info))
        )
        matrix = np.linalg.solve(then, now)
    return np.asarray(matrix, dtype=np.float64)


def join_frames(packed: Sequence[dict]) -> dict:
    """One packed sample of the packed frames, the keyframe first.

    Clouds and segments are concatenated, images and maps stacked, as `pairs` and `queries` then count them; the data
    sample is the keyframe's. Pairs of a frame without images are with those of the keyframe.
    """
    inputs = [frame['inputs'] for frame in packed]
    frames = Frames.cat([part['frames'] for part in inputs])
    num_images = frames.num_images.tolist()
    pairs = [
        part['pairs'] if own else part['pairs'].replace(camera=part['pairs'].camera - before)
        for part, own, before in zip(inputs, num_images, accumulate(num_images, initial=0))
    ]
    pairs = Pairs.batch(pairs, frames.num_points.tolist(), num_images)
    joined = {'points': torch.cat([part['points'] for part in inputs]), 'pairs': pairs, 'frames': frames}
    if 'queries' in inputs[0]:
        joined['queries'] = Queries.batch([part['queries'] for part in inputs], [1] * len(inputs))
    for name in ('images', 'teacher_maps', 'segments'):
        if found := [part[name] for part in inputs if name in part]:
            joined[name] = torch.cat(found)
    if maps := [part['maps'] for part in inputs if 'maps' in part]:
        joined['maps'] = {name: torch.cat([part[name] for part in maps]) for name in maps[0]}
    sample = packed[0]['data_samples']
    if 'dropped_points' in sample.metainfo:
        dropped = sum(frame['data_samples'].metainfo['dropped_points'] for frame in packed)
        sample.set_metainfo({'dropped_points': dropped})
    return {**packed[0], 'inputs': joined}


def _log(info: dict) -> str:
    folder, name = osp.split(info['lidar_path'])
    return osp.join(folder, name.split('__')[0] if '__' in name else '')


def _follows(earlier: dict, later: dict, max_gap: float) -> bool:
    return _log(earlier) == _log(later) and later['timestamp'] - earlier['timestamp'] <= max_gap


def _neighbor(drive: Sequence[int], place: int, offset: int, rule: FrameRule) -> int | None:
    """Row of the keyframe at an offset of another; what stands for one beyond the drive."""
    if 0 <= place + offset < len(drive):
        return drive[place + offset]
    return drive[place] if rule.missing == 'repeat' else None


def _keyframe(infos: Sequence[dict], row: int, other: int, number: int, cameras: bool) -> dict:
    own, info = infos[row], infos[other]
    frame = dict(info) if cameras else {**info, **_no_cameras(info)}
    time = info['timestamp'] - own['timestamp']
    to_sample = np.linalg.solve(own['lidar2global'], info['lidar2global'])
    return {**frame, 'frame': number, 'time': time, 'to_sample': to_sample}


def _sweeps(info: dict, rule: FrameRule) -> list[dict]:
    sweeps, first = info['lidar_sweeps'], 1 + len(rule.keyframes)
    shared = {key: info[key] for key in ('token', 'sample_idx') if key in info} | _no_cameras(info)
    return [
        {
            **shared,
            'lidar_path': sweeps[number - 1]['lidar_path'],
            'lidar_points': {**info['lidar_points'], 'lidar_path': sweeps[number - 1]['lidar_path']},
            'frame': first + i,
            'time': sweeps[number - 1]['time'],
            'to_sample': sweeps[number - 1]['sensor2lidar'],
        }
        for i, number in enumerate(rule.sweeps)
        if number <= len(sweeps)
    ]


def _dense(info: dict, rule: FrameRule) -> list[dict]:
    sweeps = info['lidar_sweeps'][: rule.dense]
    if not rule.dense or not (sweeps or rule.missing == 'repeat'):
        return []
    frame = {key: value for key, value in info.items() if key != 'pts_semantic_mask_path'} | _no_cameras(info)
    number = 1 + len(rule.keyframes) + len(rule.sweeps)
    return [{**frame, 'dense_sweeps': sweeps, 'frame': number, 'time': 0.0, 'to_sample': np.eye(4)}]


def _no_cameras(info: dict) -> dict:
    return {key: info[key][:0] for key in PER_CAMERA}


def _images_of(infos: Sequence[dict], drive: Sequence[int], place: int, offsets: Sequence[int]) -> dict:
    """Entries of the cameras of a keyframe, at a place of its drive, with the images of others; see `link_frames`."""
    own = infos[drive[place]]
    entries: dict[str, list] = {key: list(own[key]) for key in PER_CAMERA}
    image_offsets, scans = [0] * len(own['cameras']), []
    for offset in offsets:
        if not 0 <= place + offset < len(drive):
            continue
        other = infos[drive[place + offset]]
        to_other = np.linalg.solve(other['lidar2global'], own['lidar2global'])
        named = [f'{name} {offset:+d}' for name in other['cameras']]
        moved = {**other, 'cameras': named, 'lidar2cam': other['lidar2cam'] @ to_other}
        for key, values in entries.items():
            values.extend(moved[key])
        image_offsets += [offset] * len(named)
        scan = {key: other[key] for key in ('lidar_path', 'lidar_points')}
        scans.append({'offset': offset, **scan, 'to_sample': np.linalg.inv(to_other)})
    stacked = {key: np.stack(entries[key]) if len(entries[key]) else own[key] for key in ('lidar2cam', 'cam2img')}
    return {**entries, **stacked, 'image_offsets': np.array(image_offsets, dtype=np.int64), 'image_scans': scans}

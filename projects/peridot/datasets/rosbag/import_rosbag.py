"""A ROS bag written as a recording: points, images, calibration, times and poses."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from PIL import Image
from tqdm import tqdm

from peridot.datasets.recordings.calibration import CALIBRATION, read_json
from peridot.datasets.recordings.matching import nearest_rows
from peridot.datasets.recordings.recording import IMAGE_SUFFIXES
from peridot.datasets.recordings.tables import POSES, TIMESTAMPS
from peridot.datasets.rosbag.bag import Bag, nanoseconds
from peridot.datasets.rosbag.frames import FrameTree, moving_frames, pose_of
from peridot.datasets.rosbag.messages import camera_entry, image_file, intensity_of, points_of
from peridot.datasets.rosbag.sources import Sources, choose
from peridot.errors import ConfigError, DataError
from peridot.files import write_bytes

# largest intensities of lidars
_RANGES = (1, 255, 65535)
_STATIC = '/tf_static'
# what the files of a folder were imported from
SETTINGS = 'import.json'


@dataclass
class Index:
    """What is known of a bag before points and images are written.

    Attributes:
        stamps: Nanoseconds of the messages of each topic of points or images.
        frames: Frame of each of these topics.
        infos: First CameraInfo of each camera.
        tree: Static transforms.
        poses: Position and quaternion of the vehicle, x, y, z, qx, qy, qz, qw, by nanoseconds.
        ego_frame: Frame of the vehicle.
        intensity: Whether the points have an intensity.
    """

    stamps: dict[str, list[int]] = field(default_factory=dict)
    frames: dict[str, str] = field(default_factory=dict)
    infos: dict[str, Any] = field(default_factory=dict)
    tree: FrameTree = field(default_factory=FrameTree)
    poses: dict[int, tuple[float, ...]] = field(default_factory=dict)
    ego_frame: str = ''
    intensity: bool = True


@dataclass
class Files:
    """What was written of a bag.

    Attributes:
        stamps: Nanoseconds by file.
        largest: The largest intensity.
        points: Number of points that were left out.
        scans: Number of scans without any other points, which were left out.
    """

    stamps: dict[str, int] = field(default_factory=dict)
    largest: float = 0.0
    points: int = 0
    scans: int = 0


def import_rosbag(
    paths: Sequence[Path],
    out: Path,
    lidar: str | None = None,
    cameras: Mapping[str, str] | None = None,
    poses: str | None = None,
    ego_frame: str = 'base_link',
    tolerance: float = 0.05,
    verbose: bool = False,
) -> Path:
    """Write a bag as a recording that `create_folder_infos` reads.

    Scans keep the points that are finite and not at the origin; of the images those nearest to a scan are kept. Files
    that exist are kept if they were imported with the same settings, and so is a `calibration.json`, which is otherwise
    made of the CameraInfo messages and the static transforms.

    Args:
        paths: The bag: .bag files that continue each other, a folder of ROS 2, or a .db3 or .mcap file.
        out: Folder of the recording.
        lidar: Topic of PointCloud2 messages; None if there is one only.
        cameras: Topics of Image or CompressedImage messages by names of cameras; None takes all with a CameraInfo.
        poses: Topic of Odometry, PoseStamped or TFMessage messages with the vehicle's poses; None for none.
        ego_frame: Frame of the vehicle, where `poses` does not name it.
        tolerance: Longest time in seconds between a scan and an image of it.
        verbose: Show progress and what was found.

    Returns:
        `out`.

    Raises:
        ConfigError: Topics are missing or of another type, the folder holds an import with other settings, or the
            package rosbags is not installed.
        DataError: The bag is damaged, or a message cannot be stored.
    """
    with Bag(paths) as bag:
        sources = choose(bag.topics, lidar, cameras, poses, bag.title)
        settings = dict(bags=[path.name for path in paths], **sources.files, tolerance=tolerance)
        _check_settings(out, settings)
        index = _index(bag, sources, ego_frame, verbose)
        wanted = _wanted(index, sources, tolerance, bag.title)
        entries = _calibration(out, index, sources, bag.title)
        _write(out / SETTINGS, [json.dumps(settings, indent=1)])
        files = _write_files(bag, sources, wanted, index.infos if entries else {}, out, verbose)
    _write_tables(out, files.stamps, index)
    if entries:
        _complete(entries['lidar'], index, files)
        _write(out / CALIBRATION, [json.dumps(entries, indent=1)])
    if verbose:
        scans = sum(name.startswith('points/') for name in files.stamps)
        print(f'{scans} scans, {len(files.stamps) - scans} images, {len(index.poses)} poses')
        print(f'{files.points} points without coordinates and {files.scans} scans without points left out')
        print(f'the largest intensity is {files.largest:g}: check lidar.intensity_range in {out / CALIBRATION}')
    return out


def _check_settings(out: Path, settings: dict) -> None:
    """Refuse a folder whose files were imported with other settings."""
    if not (out / SETTINGS).is_file():
        return
    before = read_json(out / SETTINGS, 'remove the folder, or give another --out')
    before = before if isinstance(before, dict) else {}
    for name, value in settings.items():
        if before.get(name) != value:
            raise ConfigError(
                f'{out} holds an import with {name}={before.get(name)!r} instead of {value!r}, whose files would be '
                'kept: remove the folder, or give another --out'
            )


def _complete(lidar: dict, index: Index, files: Files) -> None:
    """Add the intensity to a lidar's entry."""
    if index.intensity:
        lidar['intensity_range'] = [0, next((limit for limit in _RANGES if files.largest <= limit), files.largest)]
    else:
        lidar['intensity'] = None


def _write_tables(out: Path, files: Mapping[str, int], index: Index) -> None:
    """Write times, and poses if there are some."""
    _write(out / TIMESTAMPS, ['file,time', *(f'{name},{stamp / 1e9!r}' for name, stamp in sorted(files.items()))])
    if index.poses:
        rows = (','.join(map(repr, [stamp / 1e9, *pose])) for stamp, pose in sorted(index.poses.items()))
        _write(out / POSES, ['time,x,y,z,qx,qy,qz,qw', *rows])


def _index(bag: Bag, sources: Sources, ego_frame: str, verbose: bool) -> Index:
    """Times, frames, calibrations, transforms and poses."""
    index = Index(ego_frame=ego_frame)
    cameras = {topic: name for name, topic in sources.infos.items()}
    recorded = {sources.lidar, *sources.cameras.values()}
    static = {_STATIC, _STATIC.lstrip('/')}
    moving: set[str] = set()
    for topic, message in _shown(bag, {*recorded, *cameras, *static, sources.poses} - {None}, 'times', verbose):
        if topic in recorded:
            _add_stamp(index, topic, message, bag.title)
            if topic == sources.lidar:
                index.intensity = intensity_of(message) is not None
            elif len(index.stamps[topic]) == 1:
                image_file(
                    message, topic
                )  # an encoding that cannot be stored is an error now, not after the first pass
        if topic in cameras:
            index.infos.setdefault(cameras[topic], message)
        if topic in static:
            index.tree.add(message)
        if topic == sources.poses:
            moving |= moving_frames(message)
            if pose := pose_of(message, ego_frame):
                index.ego_frame = pose[1]
                index.poses[pose[0]] = (*pose[2].tolist(), *pose[3].tolist())
    if sources.poses and not index.poses:
        frames = ', '.join(sorted(moving)) or 'none'
        raise DataError(
            f'{bag.title}: {sources.poses} has no pose of the frame {ego_frame} (its frames are {frames}): name the '
            'frame of the vehicle with --ego-frame, or another topic with --poses'
        )
    return index


def _add_stamp(index: Index, topic: str, message: Any, bag: str) -> None:
    stamp, frame = nanoseconds(message), message.header.frame_id.lstrip('/')
    first = index.frames.setdefault(topic, frame)
    if frame != first:
        raise DataError(f'{bag}: {topic} changes its frame from {first} to {frame}: record one sensor a topic')
    index.stamps.setdefault(topic, []).append(stamp)


def _wanted(index: Index, sources: Sources, tolerance: float, bag: str) -> dict[str, set[int]]:
    """Time stamps to keep of each topic: scans, and the images nearest to them."""
    scans = _sorted_stamps(index, sources.lidar, bag)
    wanted = {sources.lidar: set(scans.tolist())}
    for name, topic in sources.cameras.items():
        images = _sorted_stamps(index, topic, bag)
        nearest = images[nearest_rows(images, scans)]
        gaps = abs(nearest - scans) / 1e9
        if gaps.min() > tolerance:
            raise DataError(
                f'{bag}: no image of {name} lies within {tolerance:g} s of a scan (the nearest is {gaps.min():.3f} s '
                'away): the clocks of the sensors differ; correct the stamps, or set --tolerance'
            )
        wanted[topic] = set(nearest[gaps <= tolerance].tolist())
    return wanted


def _sorted_stamps(index: Index, topic: str, bag: str) -> np.ndarray:
    """Time stamps of a topic, int64, at least one, each once: of messages with the same one the first is taken."""
    every = index.stamps.get(topic, [])
    if not every:
        raise DataError(f'{bag}: {topic} has no message: name another topic with --lidar or --cameras')
    stamps = np.unique(np.array(every, np.int64))
    if 2 * len(stamps) < len(every):
        raise DataError(
            f'{bag}: {topic} has {len(every)} messages, but only {len(stamps)} different time stamps: let the driver '
            'stamp its messages'
        )
    if len(stamps) < len(every):
        line = f'{bag}: {len(every) - len(stamps)} messages of {topic} repeat a time stamp and are left out'
        print_log(line, 'current', logging.WARNING)
    return stamps


def _calibration(out: Path, index: Index, sources: Sources, bag: str) -> dict:
    """Content of `calibration.json` without intensity; empty if there is one."""
    frame = index.frames[sources.lidar]
    if (out / CALIBRATION).is_file():
        content = read_json(out / CALIBRATION, 'correct or remove it')
        lidar = content.get('lidar') if isinstance(content, dict) else None
        if not isinstance(lidar, dict):
            raise DataError(f'{out / CALIBRATION} has no object lidar: correct or remove it')
        declared = lidar.get('frame_id', frame)
        if declared != frame:
            raise DataError(
                f'{out / CALIBRATION} is about points in the frame {declared} (lidar.frame_id), but those of '
                f'{sources.lidar} are in {frame}: name the topic of the raw points with --lidar, or correct the file'
            )
        if index.poses and 'lidar2ego' not in lidar and frame != index.ego_frame:
            raise DataError(
                f'{out / CALIBRATION} has no lidar.lidar2ego, the transform from {frame} to {index.ego_frame} that the '
                f'poses of {sources.poses} need: add it, or remove the file so that it is made again'
            )
        return {}
    cameras = {}
    for name, topic in sources.cameras.items():
        if name not in index.infos:
            raise DataError(
                f'{bag} has no CameraInfo of {name} (beside {topic}): record it, or write {out / CALIBRATION} first'
            )
        entry, change = camera_entry(index.infos[name], sources.infos[name], 'image_rect' in topic)
        matrix = change @ index.tree.between(frame, index.frames[topic], bag)
        if change[:3, 3].any():
            line = f'{topic} counts as the second camera of a stereo pair, by {sources.infos[name]}: P moves points by'
            moved = ', '.join(f'{value:.3f}' for value in change[:3, 3])
            print_log(f'{line} {moved} m from the frame {index.frames[topic]}', 'current', logging.WARNING)
        cameras[name] = {**entry, 'lidar2cam': matrix.tolist()}
    lidar = {'columns': ['x', 'y', 'z', 'intensity'], 'frame_id': frame}
    if index.poses:
        lidar['lidar2ego'] = index.tree.between(frame, index.ego_frame, bag).tolist()
    return {'lidar': lidar, 'cameras': cameras}


def _write_files(
    bag: Bag, sources: Sources, wanted: Mapping[str, set[int]], infos: Mapping[str, Any], out: Path, verbose: bool
) -> Files:
    """Write the files that do not exist; images must have the sizes of the CameraInfo messages `infos`."""
    files = Files()
    existing = {name: _existing(out / 'images' / name) for name in sources.cameras}
    for topic, message in _shown(bag, wanted, 'files', verbose):
        stamp = nanoseconds(message)
        if stamp not in wanted[topic]:
            continue
        if topic == sources.lidar:
            _write_scan(out, f'points/{stamp}.bin', message, topic, files)
            continue
        camera = sources.names[topic]
        suffix = existing[camera].get(str(stamp))
        if suffix is None:
            suffix, data = image_file(message, topic)
            _check_size(data, infos.get(camera), topic)
            write_bytes(out / f'images/{camera}/{stamp}{suffix}', data)
            existing[camera][str(stamp)] = suffix
        files.stamps[f'images/{camera}/{stamp}{suffix}'] = stamp
    return files


def _write_scan(out: Path, path: str, message: Any, topic: str, files: Files) -> None:
    """Write the points of a scan, if it has some and its file does not exist."""
    if not (out / path).is_file():
        points, invalid = points_of(message, topic)
        files.points += invalid
        if not len(points):
            files.scans += 1
            return
        write_bytes(out / path, points.tobytes())
    files.largest = max(files.largest, float(np.fromfile(out / path, np.float32)[3::4].max()))
    files.stamps[path] = nanoseconds(message)


def _existing(folder: Path) -> dict[str, str]:
    """Suffixes of the images in a folder by name."""
    return {path.stem: path.suffix for path in folder.glob('*') if path.suffix in IMAGE_SUFFIXES}


def _check_size(data: bytes, info: Any, topic: str) -> None:
    try:
        size = Image.open(io.BytesIO(data)).size
    except (OSError, SyntaxError, ValueError):
        raise DataError(f'{topic} has an image that is damaged: record the bag again') from None
    if info is not None and info.width and size != (info.width, info.height):
        raise DataError(
            f'{topic} has images of {size[0]}x{size[1]}, but its CameraInfo is about {info.width}x{info.height}: '
            'record the images in full, or write calibration.json first'
        )


def _shown(bag: Bag, topics, what: str, verbose: bool):
    """Messages of topics, with a progress bar."""
    total = sum(topic.count for name, topic in bag.topics.items() if name in topics)
    return tqdm(bag.messages(topics), f'{bag.title}: {what}', total, unit='message', disable=not verbose)


def _write(path: Path, lines: Sequence[str]) -> None:
    write_bytes(path, ''.join(f'{line}\n' for line in lines).encode())

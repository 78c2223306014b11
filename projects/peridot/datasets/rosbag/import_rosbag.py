"""A ROS bag written as a recording: points, images, calibration, times and poses."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from peridot.datasets.recordings.calibration import CALIBRATION, read_json
from peridot.datasets.recordings.recording import IMAGE_SUFFIXES
from peridot.datasets.recordings.tables import POSES, TIMESTAMPS
from peridot.datasets.rosbag.bag import Bag, nanoseconds
from peridot.datasets.rosbag.frames import FrameTree, pose_of
from peridot.datasets.rosbag.messages import camera_entry, image_file, points_of
from peridot.datasets.rosbag.sources import Sources, choose
from peridot.errors import DataError
from peridot.files import atomic_path

# largest intensities of lidars
_RANGES = (1, 255, 65535)
_STATIC = '/tf_static'


@dataclass
class Index:
    """What is known of a bag before points and images are written.

    Attributes:
        stamps: Nanoseconds of the messages of each topic of points or images.
        frames: Frame of each of these topics.
        infos: First CameraInfo of each camera.
        tree: Static transforms.
        poses: Nanoseconds, position and quaternion of the vehicle.
        ego_frame: Frame of the vehicle.
    """

    stamps: dict[str, list[int]] = field(default_factory=dict)
    frames: dict[str, str] = field(default_factory=dict)
    infos: dict[str, Any] = field(default_factory=dict)
    tree: FrameTree = field(default_factory=FrameTree)
    poses: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    ego_frame: str = ''


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

    Scans keep the points that are finite; of the images those nearest to a scan are kept. Files that exist are kept,
    and so is a `calibration.json`, which is otherwise made of the CameraInfo messages and the static transforms.

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
        ConfigError: Topics are missing or of another type, or the package rosbags is not installed.
        DataError: The bag is damaged, or a message cannot be stored.
    """
    bag = Bag(paths)
    try:
        sources = choose(bag.topics, lidar, cameras, poses, bag.title)
        index = _index(bag, sources, ego_frame, verbose)
        wanted = _wanted(index, sources, tolerance, bag.title)
        entries = _calibration(out, index, sources, bag.title)
        files, largest, dropped = _write_files(bag, sources, wanted, index, out, verbose)
    finally:
        bag.close()
    _write_tables(out, files, index)
    if entries:
        high = next((limit for limit in _RANGES if largest <= limit), float(largest))
        entries['lidar']['intensity_range'] = [0, high]
        _write(out / CALIBRATION, [json.dumps(entries, indent=1)])
    if verbose:
        scans = sum(name.startswith('points/') for name in files)
        print(f'{scans} scans, {len(files) - scans} images, {len(index.poses)} poses; {dropped} points without a place')
        print(f'the largest intensity is {largest:g}: check lidar.intensity_range in {out / CALIBRATION}')
    return out


def _write_tables(out: Path, files: Mapping[str, int], index: Index) -> None:
    """Write times, and poses if there are some."""
    _write(out / TIMESTAMPS, ['file,time', *(f'{name},{stamp / 1e9!r}' for name, stamp in sorted(files.items()))])
    if index.poses:
        numbers = ([stamp / 1e9, *place, *turn] for stamp, (place, turn) in sorted(index.poses.items()))
        _write(out / POSES, ['time,x,y,z,qx,qy,qz,qw', *(','.join(repr(float(n)) for n in row) for row in numbers)])


def _index(bag: Bag, sources: Sources, ego_frame: str, verbose: bool) -> Index:
    """Times, frames, calibrations, transforms and poses."""
    index = Index(ego_frame=ego_frame)
    cameras = {topic: name for name, topic in sources.infos.items()}
    recorded = {sources.lidar, *sources.cameras.values()}
    static = {_STATIC, _STATIC.lstrip('/')}
    for topic, message in _shown(bag, {*recorded, *cameras, *static, sources.poses} - {None}, 'times', verbose):
        if topic in recorded:
            _add_stamp(index, topic, message, bag.title)
        if topic in cameras:
            index.infos.setdefault(cameras[topic], message)
        if topic in static:
            index.tree.add(message)
        if topic == sources.poses and (pose := pose_of(message, ego_frame)):
            index.ego_frame = pose[1]
            index.poses[pose[0]] = pose[2:]
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
        later = np.searchsorted(images, scans).clip(max=len(images) - 1)
        before = (later - 1).clip(min=0)
        nearest = np.where(abs(images[before] - scans) <= abs(images[later] - scans), images[before], images[later])
        gaps = abs(nearest - scans) / 1e9
        if gaps.min() > tolerance:
            raise DataError(
                f'{bag}: no image of {name} lies within {tolerance:g} s of a scan (the nearest is {gaps.min():.3f} s '
                'away): the clocks of the sensors differ; correct the stamps, or set --tolerance'
            )
        wanted[topic] = set(nearest[gaps <= tolerance].tolist())
    return wanted


def _sorted_stamps(index: Index, topic: str, bag: str) -> np.ndarray:
    """Time stamps of a topic, int64, at least one, each once."""
    stamps = np.array(sorted(index.stamps.get(topic, [])), np.int64)
    if not len(stamps):
        raise DataError(f'{bag}: {topic} has no message: name another topic with --lidar or --cameras')
    twice = np.flatnonzero(np.diff(stamps) == 0)
    if len(twice):
        raise DataError(
            f'{bag}: {topic} has two messages with the time stamp {stamps[twice[0]] / 1e9:.9f} s: let the driver stamp '
            'its messages'
        )
    return stamps


def _calibration(out: Path, index: Index, sources: Sources, bag: str) -> dict:
    """Content of `calibration.json` without intensity; empty if there is one."""
    frame = index.frames[sources.lidar]
    if (out / CALIBRATION).is_file():
        lidar = read_json(out / CALIBRATION, 'correct or remove it').get('lidar', {})
        declared = lidar.get('frame_id', frame)
        if declared != frame:
            raise DataError(
                f'{out / CALIBRATION} is about points in the frame {declared} (lidar.frame_id), but those of '
                f'{sources.lidar} are in {frame}: name the topic of the raw points with --lidar, or correct the file'
            )
        return {}
    cameras = {}
    for name, topic in sources.cameras.items():
        if name not in index.infos:
            raise DataError(
                f'{bag} has no CameraInfo of {name} (beside {topic}): record it, or write {out / CALIBRATION} first'
            )
        entry, turn = camera_entry(index.infos[name], sources.infos[name], 'image_rect' in topic)
        matrix = index.tree.between(frame, index.frames[topic], bag)
        matrix[:3] = turn @ matrix[:3]
        cameras[name] = {**entry, 'lidar2cam': matrix.tolist()}
    lidar = {'columns': ['x', 'y', 'z', 'intensity'], 'frame_id': frame}
    if index.poses:
        lidar['lidar2ego'] = index.tree.between(frame, index.ego_frame, bag).tolist()
    return {'lidar': lidar, 'cameras': cameras}


def _write_files(
    bag: Bag, sources: Sources, wanted: Mapping[str, set[int]], index: Index, out: Path, verbose: bool
) -> tuple[dict[str, int], float, int]:
    """Write the files that do not exist; nanoseconds by file, the largest intensity, the number of dropped points."""
    files: dict[str, int] = {}
    largest, dropped = 0.0, 0
    existing = {name: _existing(out / 'images' / name) for name in sources.cameras}
    for topic, message in _shown(bag, wanted, 'files', verbose):
        stamp = nanoseconds(message)
        if stamp not in wanted[topic]:
            continue
        if topic == sources.lidar:
            path = f'points/{stamp}.bin'
            if not (out / path).is_file():
                points, invalid = points_of(message, topic)
                dropped += invalid
                _write_bytes(out / path, points.tobytes())
            largest = max(largest, float(np.fromfile(out / path, np.float32)[3::4].max(initial=0)))
        else:
            camera = sources.names[topic]
            suffix = existing[camera].get(str(stamp))
            if suffix is None:
                suffix, data = image_file(message, topic)
                _check_size(data, index.infos.get(camera), topic)
                _write_bytes(out / f'images/{camera}/{stamp}{suffix}', data)
            path = f'images/{camera}/{stamp}{suffix}'
        files[path] = stamp
    return files, largest, dropped


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
    _write_bytes(path, ''.join(f'{line}\n' for line in lines).encode())


def _write_bytes(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)

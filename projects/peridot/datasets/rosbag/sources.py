"""Which topics of a bag hold points, images, calibrations and poses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from peridot.datasets.rosbag.bag import CAMERA_INFO, COMPRESSED, IMAGE, POINTS, Topic
from peridot.datasets.rosbag.frames import POSE_TYPES
from peridot.errors import ConfigError

# the last parts of topics of images, behind the name of the camera
_IMAGE_PARTS = ('compressed', 'image_raw', 'image', 'image_color', 'image_mono', 'image_rect', 'image_rect_color')


@dataclass(frozen=True)
class Sources:
    """Topics to import.

    Attributes:
        lidar: Topic of the points.
        cameras: Topic of the images of each camera, by the camera's name.
        infos: Topic of each camera's CameraInfo, where there is one.
        poses: Topic of the vehicle's poses, None without.
    """

    lidar: str
    cameras: Mapping[str, str]
    infos: Mapping[str, str]
    poses: str | None

    @property
    def names(self) -> dict[str, str]:
        """Name of the camera by topic of images."""
        return {topic: name for name, topic in self.cameras.items()}


def choose(
    topics: Mapping[str, Topic], lidar: str | None, cameras: Mapping[str, str] | None, poses: str | None, bag: str
) -> Sources:
    """Check the topics that were named, and find those that were not.

    Args:
        topics: Topics of the bag by name.
        lidar: Topic of points; None if there is one only.
        cameras: Topics of images by the names of cameras; None takes all with a CameraInfo beside them.
        poses: Topic of odometry, poses or tf; None for none.
        bag: The bag, for errors.

    Raises:
        ConfigError: A topic does not exist or has another type, or it is not clear which one is meant.
    """
    lidar = lidar or _only_lidar(topics, bag)
    cameras = _all_cameras(topics) if cameras is None else cameras
    if not cameras:
        raise ConfigError(f'{bag} has no images with a camera_info beside them: name topics with --cameras NAME=TOPIC')
    for topic, kinds, option in (
        (lidar, (POINTS,), '--lidar'),
        *((topic, (IMAGE, COMPRESSED), '--cameras') for topic in cameras.values()),
        *([(poses, POSE_TYPES, '--poses')] if poses else []),
    ):
        _check_type(topics, topic, kinds, option, bag)
    infos = {name: info for name, topic in cameras.items() if (info := _info_beside(topics, topic))}
    return Sources(lidar, cameras, infos, poses)


def _only_lidar(topics: Mapping[str, Topic], bag: str) -> str:
    found = [topic.name for topic in topics.values() if topic.kind == POINTS]
    if len(found) != 1:
        raise ConfigError(
            f'{bag} has {len(found)} topics of points ({", ".join(found) or "see --list"}): name one with --lidar'
        )
    return found[0]


def _all_cameras(topics: Mapping[str, Topic]) -> dict[str, str]:
    """Topics of images with a CameraInfo by the names of their cameras; the compressed one where there are two."""
    found: dict[str, str] = {}
    # compressed ones last, so that they win
    for topic in sorted(topics.values(), key=lambda item: item.kind == COMPRESSED):
        if topic.kind in (IMAGE, COMPRESSED) and _info_beside(topics, topic.name):
            found['_'.join(_camera_parts(topic.name)) or 'camera'] = topic.name
    return dict(sorted(found.items()))


def _camera_parts(topic: str) -> list[str]:
    """Parts of a topic without those that every camera has."""
    parts = topic.strip('/').split('/')
    while parts and parts[-1] in _IMAGE_PARTS:
        parts.pop()
    return parts


def _info_beside(topics: Mapping[str, Topic], topic: str) -> str | None:
    parts = topic.strip('/').split('/')
    while parts:
        parts.pop()
        name = '/'.join(['', *parts, 'camera_info'])
        for other in (name, name.lstrip('/')):
            if other in topics and topics[other].kind == CAMERA_INFO:
                return other
        # only within the camera's own namespace
        if parts == _camera_parts(topic):
            return None
    return None


def _check_type(topics: Mapping[str, Topic], topic: str, kinds: Collection[str], option: str, bag: str) -> None:
    wanted = ' or '.join(kind.rpartition('/')[2] for kind in kinds)
    if topic not in topics:
        raise ConfigError(f'{bag} has no topic {topic}: {option} wants a topic of {wanted}, --list shows all')
    kind = topics[topic].kind
    if kind not in kinds:
        raise ConfigError(f'{bag}: {topic} holds {kind}, but {option} wants a topic of {wanted}: --list shows all')

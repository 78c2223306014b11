"""Which topics of a bag hold points, images, calibrations and poses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from peridot.datasets.rosbag.bag import CAMERA_INFO, COMPRESSED, IMAGE, POINTS, Topic
from peridot.datasets.rosbag.frames import POSE_TYPES
from peridot.errors import ConfigError

# the last parts of topics of images, behind the name of the camera
_IMAGE_PARTS = ('image_raw', 'image', 'image_color', 'image_mono', 'image_rect', 'image_rect_color')
_TRANSPORT = 'compressed'
# in topics of messages of Image that are no photographs
_OTHER_IMAGES = ('depth', 'disparity')


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
    def files(self) -> dict[str, str | dict[str, str]]:
        """Topics whose messages become files."""
        return dict(lidar=self.lidar, cameras=dict(self.cameras))

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
    cameras = _all_cameras(topics, bag) if cameras is None else cameras
    if not cameras:
        raise ConfigError(f'{bag} has no images with a camera_info beside them: name topics with --cameras NAME=TOPIC')
    _check_names(cameras)
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


def _check_names(cameras: Mapping[str, str]) -> None:
    for name, topic in cameras.items():
        if '/' in name or name.startswith('.'):
            raise ConfigError(
                f'--cameras {name}={topic}: the name of a camera is that of its folder, e.g. front={topic}'
            )
        others = [other for other in cameras if other != name and cameras[other] == topic]
        if others:
            raise ConfigError(f'--cameras names {topic} twice, {name} and {others[0]}: leave one out')


def _all_cameras(topics: Mapping[str, Topic], bag: str) -> dict[str, str]:
    """Topics of images with a CameraInfo by the names of their cameras; the compressed one where there are both."""
    found: dict[str, dict[str, str]] = {IMAGE: {}, COMPRESSED: {}}
    for topic in topics.values():
        other_image = any(word in topic.name.lower() for word in _OTHER_IMAGES)
        if topic.kind not in found or other_image or not _info_beside(topics, topic.name):
            continue
        name = '_'.join(_namespace(topic.name)) or 'camera'
        other = found[topic.kind].setdefault(name, topic.name)
        if other != topic.name:
            raise ConfigError(
                f'{bag} has several topics of images of {name} ({other}, {topic.name}): name one of each camera with '
                f'--cameras {name}={other} ...'
            )
    return dict(sorted({**found[IMAGE], **found[COMPRESSED]}.items()))


def _parts(topic: str) -> list[str]:
    """Parts of a topic without that of the transport."""
    parts = topic.strip('/').split('/')
    return parts[:-1] if parts[-1] == _TRANSPORT else parts


def _namespace(topic: str) -> list[str]:
    """Parts of a topic that belong to its camera."""
    parts = _parts(topic)
    return parts[:-1] if parts and parts[-1] in _IMAGE_PARTS else parts


def _info_beside(topics: Mapping[str, Topic], topic: str) -> str | None:
    """The CameraInfo beside the images, or beside the topic without its transport."""
    for parts in (topic.strip('/').split('/')[:-1], _parts(topic)[:-1]):
        name = '/'.join(['', *parts, 'camera_info'])
        for other in (name, name.lstrip('/')):
            if other in topics and topics[other].kind == CAMERA_INFO:
                return other
    return None


def _check_type(topics: Mapping[str, Topic], topic: str, kinds: Collection[str], option: str, bag: str) -> None:
    wanted = ' or '.join(kind.rpartition('/')[2] for kind in kinds)
    if topic not in topics:
        raise ConfigError(f'{bag} has no topic {topic}: {option} wants a topic of {wanted}, --list shows all')
    kind = topics[topic].kind
    if kind not in kinds:
        raise ConfigError(f'{bag}: {topic} holds {kind}, but {option} wants a topic of {wanted}: --list shows all')

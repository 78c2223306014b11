"""Bags of ROS 1 (.bag) and ROS 2 (folders, .db3, .mcap): their topics and messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peridot.errors import DataError
from peridot.optional import import_package

POINTS = 'sensor_msgs/msg/PointCloud2'
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
# the second one until ROS Groovy
TRANSFORMS = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
ODOMETRY, POSE = 'nav_msgs/msg/Odometry', 'geometry_msgs/msg/PoseStamped'
_CUT = 'record it again, or repair it (`rosbag reindex`, `ros2 bag reindex`, `mcap recover`)'


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: Its name.
        kind: Type of its messages, in ROS 2's spelling.
        count: How many messages the bag has.
    """

    name: str
    kind: str
    count: int


class Bag:
    """One recording in bags; several files of ROS 1 that were split continue each other.

    Args:
        paths: Files or, of ROS 2, a folder.

    Raises:
        ConfigError: The package rosbags is not installed.
        DataError: A file is missing, damaged or cut off.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        highlevel = import_package('rosbags.highlevel', 'reading ROS bags')
        typesys = import_package('rosbags.typesys', 'reading ROS bags')
        self.title = str(paths[0])
        # bags of ROS 2 before Iron hold no definitions of their messages
        store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
        with self._readable():
            self._reader = highlevel.AnyReader(list(paths), default_typestore=store)
            self._reader.open()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *error) -> None:
        self._reader.close()

    @property
    def topics(self) -> dict[str, Topic]:
        """Topics by name, ordered."""
        found = sorted(self._reader.topics.items())
        return {name: Topic(name, item.msgtype or '', item.msgcount) for name, item in found}

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Topic and message of all messages of some topics, in the order of the bag."""
        connections = [item for item in self._reader.connections if item.topic in topics]
        if not connections:
            return
        with self._readable():
            for connection, _, data in self._reader.messages(connections=connections):
                yield connection.topic, self._reader.deserialize(data, connection.msgtype)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (DataError, GeneratorExit, KeyboardInterrupt):
            raise
        except FileNotFoundError as error:
            raise DataError(
                f'{self.title} is not a bag ({_first_line(error)}): name a .bag, .db3 or .mcap file, or a folder '
                'with metadata.yaml'
            ) from None
        except MemoryError:
            raise DataError(f'{self.title} has a message that needs more memory than there is: free memory') from None
        except Exception as error:  # a damaged file may fail anywhere in the library
            raise DataError(f'{self.title} cannot be read to its end ({_first_line(error)}): {_CUT}') from None


def nanoseconds(message: Any) -> int:
    """Time stamp of a message's header."""
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

"""Bags of ROS 1 and ROS 2 with the sensors of a recording, written by the library that reads them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from scipy.spatial.transform import Rotation

KINDS = ('ros1', 'sqlite3', 'mcap')
# PointField's numbers
FIELD_TYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}


class BagFile:
    """Makes messages of one kind of bag and writes them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.store = get_typestore(Stores.ROS1_NOETIC if kind == 'ros1' else Stores.ROS2_HUMBLE)
        if 'tf2_msgs/msg/TFMessage' not in self.store.types:
            self.store.register(
                get_types_from_msg('geometry_msgs/TransformStamped[] transforms', 'tf2_msgs/msg/TFMessage')
            )

    def make(self, kind: str, **fields):
        return self.store.types[kind](**fields)

    def header(self, stamp: int, frame: str):
        time = self.make('builtin_interfaces/msg/Time', sec=stamp // 10**9, nanosec=stamp % 10**9)
        extra = {'seq': 0} if self.kind == 'ros1' else {}
        return self.make('std_msgs/msg/Header', stamp=time, frame_id=frame, **extra)

    def points(self, stamp: int, frame: str, table: np.ndarray, padding: int = 0):
        """A PointCloud2 of a structured array (N,) or (H, W), with some bytes behind each row."""
        fields = [
            self.make(
                'sensor_msgs/msg/PointField',
                name=name,
                offset=table.dtype.fields[name][1],
                datatype=FIELD_TYPES[table.dtype[name].str[1:]],
                count=1,
            )
            for name in table.dtype.names
        ]
        height, width = table.shape if table.ndim == 2 else (1, len(table))
        step = table.dtype.itemsize
        rows = np.frombuffer(table.tobytes(), np.uint8).reshape(height, step * width)
        return self.make(
            'sensor_msgs/msg/PointCloud2',
            header=self.header(stamp, frame),
            height=height,
            width=width,
            fields=fields,
            is_bigendian=table.dtype[0].str[0] == '>',
            point_step=step,
            row_step=step * width + padding,
            data=np.pad(rows, ((0, 0), (0, padding))).ravel(),
            is_dense=True,
        )

    def compressed(self, stamp: int, frame: str, data: bytes, form: str = 'jpeg'):
        content = np.frombuffer(data, np.uint8)
        kind = 'sensor_msgs/msg/CompressedImage'
        return self.make(kind, header=self.header(stamp, frame), format=form, data=content)

    def image(self, stamp: int, frame: str, pixels: np.ndarray, encoding: str, padding: int = 0):
        """An Image of uint8 (H, W, C), with some bytes behind each row."""
        rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)))
        return self.make(
            'sensor_msgs/msg/Image',
            header=self.header(stamp, frame),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=rows.shape[1],
            data=rows.ravel(),
        )

    def camera_info(
        self,
        stamp: int,
        frame: str,
        size: tuple[int, int],
        matrix,
        model: str = 'plumb_bob',
        lens=(),
        turn=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        projection=None,
    ):
        region = self.make(
            'sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        if projection is None:
            projection = np.c_[np.array(matrix, float), np.zeros(3)]
        numbers = {'k': np.ravel(matrix), 'd': lens, 'r': np.ravel(turn), 'p': np.ravel(projection)}
        spelled = {name.upper() if self.kind == 'ros1' else name: np.array(v, float) for name, v in numbers.items()}
        return self.make(
            'sensor_msgs/msg/CameraInfo',
            header=self.header(stamp, frame),
            height=size[0],
            width=size[1],
            distortion_model=model,
            binning_x=0,
            binning_y=0,
            roi=region,
            **spelled,
        )

    def pose(self, matrix: np.ndarray):
        x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat()
        place = self.make('geometry_msgs/msg/Point', **dict(zip('xyz', matrix[:3, 3])))
        return self.make(
            'geometry_msgs/msg/Pose',
            position=place,
            orientation=self.make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w),
        )

    def transforms(self, stamp: int, items: list[tuple[str, str, np.ndarray]]):
        """A TFMessage of (parent, child, child to parent)."""
        stamped = []
        for parent, child, matrix in items:
            pose = self.pose(matrix)
            place = self.make('geometry_msgs/msg/Vector3', **dict(zip('xyz', matrix[:3, 3])))
            stamped.append(
                self.make(
                    'geometry_msgs/msg/TransformStamped',
                    header=self.header(stamp, parent),
                    child_frame_id=child,
                    transform=self.make('geometry_msgs/msg/Transform', translation=place, rotation=pose.orientation),
                )
            )
        return self.make('tf2_msgs/msg/TFMessage', transforms=stamped)

    def odometry(self, stamp: int, parent: str, child: str, matrix: np.ndarray):
        zero = self.make('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0)
        twist = self.make('geometry_msgs/msg/Twist', linear=zero, angular=zero)
        covariance = np.zeros(36)
        return self.make(
            'nav_msgs/msg/Odometry',
            header=self.header(stamp, parent),
            child_frame_id=child,
            pose=self.make('geometry_msgs/msg/PoseWithCovariance', pose=self.pose(matrix), covariance=covariance),
            twist=self.make('geometry_msgs/msg/TwistWithCovariance', twist=twist, covariance=covariance),
        )

    def write(self, path: Path, messages: Iterator[tuple[str, int, object]]) -> Path:
        """Write (topic, nanoseconds, message); returns the bag."""
        path = path.with_suffix('.bag') if self.kind == 'ros1' else path
        plugin = StoragePlugin.MCAP if self.kind == 'mcap' else StoragePlugin.SQLITE3
        writer = Writer1(path) if self.kind == 'ros1' else Writer2(path, version=9, storage_plugin=plugin)
        serialize: Callable = self.store.serialize_ros1 if self.kind == 'ros1' else self.store.serialize_cdr
        connections: dict = {}
        with writer:
            for topic, stamp, message in messages:
                kind = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=self.store)
                writer.write(connections[topic], stamp, serialize(message, kind))
        return path


def recording_messages(bag: BagFile, folder: Path) -> Iterator[tuple[str, int, object]]:
    """Sensors of a recording of the synthetic streets: points, JPEG images, calibrations, transforms, odometry."""
    calibration = json.loads((folder / 'calibration.json').read_text())
    lidar2ego = np.array(calibration['lidar']['lidar2ego'])
    times = {row['file']: round(float(row['time']) * 1e6) * 1000 for row in _rows(folder / 'timestamps.csv')}
    start = min(times.values())
    transforms = [('base_link', 'lidar', lidar2ego)]
    for name, camera in calibration['cameras'].items():
        transforms.append(('base_link', f'{name}_optical', lidar2ego @ np.linalg.inv(camera['lidar2cam'])))
        yield f'/{name}/camera_info', start, bag.camera_info(start, f'{name}_optical', (198, 352), camera['intrinsics'])
    yield '/tf_static', start, bag.transforms(start, transforms)
    for row in _rows(folder / 'poses.csv'):
        stamp, matrix = round(float(row['time']) * 1e6) * 1000, np.eye(4)
        matrix[:3, 3] = [float(row[name]) for name in 'xyz']
        matrix[:3, :3] = Rotation.from_quat([float(row[f'q{name}']) for name in 'xyzw']).as_matrix()
        yield '/odometry', stamp, bag.odometry(stamp, 'odom', 'base_link', matrix)
    row_type = np.dtype([(name, '<f4') for name in calibration['lidar']['columns']])
    for file, stamp in sorted(times.items(), key=lambda item: item[1]):
        sensor = file.split('/')[-2]
        if sensor == 'points':
            yield '/lidar/points', stamp, bag.points(stamp, 'lidar', np.fromfile(folder / file, row_type))
        else:
            data = (folder / file).read_bytes()
            yield f'/{sensor}/image_raw/compressed', stamp, bag.compressed(stamp, f'{sensor}_optical', data)


def _rows(path: Path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file))

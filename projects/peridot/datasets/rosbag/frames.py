"""Transforms between the frames of a bag, from its messages of tf and odometry."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from peridot.datasets.recordings.transforms import rigid
from peridot.datasets.rosbag.bag import ODOMETRY, POSE, TRANSFORMS, nanoseconds
from peridot.errors import DataError


class FrameTree:
    """Static transforms between frames."""

    def __init__(self) -> None:
        self._edges: dict[str, dict[str, np.ndarray]] = {}

    @property
    def frames(self) -> list[str]:
        """Names of all frames."""
        return sorted(self._edges)

    def add(self, message: Any) -> None:
        """Add the transforms of a TFMessage, child to parent."""
        for item in message.transforms:
            parent, child = _name(item.header.frame_id), _name(item.child_frame_id)
            position, quaternion = _parts(item.transform.translation, item.transform.rotation)
            if not quaternion.any():  # left empty by a driver, which is an error only if the frame is needed
                continue
            matrix = rigid(Rotation.from_quat(quaternion).as_matrix(), position)
            self._edges.setdefault(parent, {})[child] = matrix
            self._edges.setdefault(child, {})[parent] = np.linalg.inv(matrix)

    def between(self, source: str, target: str, bag: str) -> np.ndarray:
        """Transform Float64 (4, 4) from one frame to another.

        Raises:
            DataError: No static transforms connect them.
        """
        source, target = _name(source), _name(target)
        found, queue = {source: np.eye(4)}, deque([source])
        while queue and target not in found:
            frame = queue.popleft()
            for other, to_frame in self._edges.get(frame, {}).items():
                if other not in found:
                    found[other] = np.linalg.inv(to_frame) @ found[frame]
                    queue.append(other)
        if target not in found:
            known = ', '.join(self.frames) or 'none: it has no tf_static'
            raise DataError(
                f'{bag} has no static transform from {source} to {target} (its frames are {known}): record tf_static, '
                'or write calibration.json into the folder first'
            )
        return found[target]


def pose_of(message: Any, ego_frame: str) -> tuple[int, str, np.ndarray, np.ndarray] | None:
    """Pose of the vehicle in a message of odometry, a pose, or tf.

    Args:
        message: The message.
        ego_frame: Frame of the vehicle, for poses and tf; odometry names it itself.

    Returns:
        Nanoseconds, frame of the vehicle, position (3,) and quaternion (4,) qx, qy, qz, qw; None if a message of tf is
        about other frames.
    """
    if message.__msgtype__ == ODOMETRY:
        pose = message.pose.pose
        return (
            nanoseconds(message),
            _name(message.child_frame_id) or ego_frame,
            *_parts(pose.position, pose.orientation),
        )
    if message.__msgtype__ == POSE:
        return nanoseconds(message), ego_frame, *_parts(message.pose.position, message.pose.orientation)
    for item in message.transforms:
        if _name(item.child_frame_id) == _name(ego_frame):
            return nanoseconds(item), ego_frame, *_parts(item.transform.translation, item.transform.rotation)
    return None


def moving_frames(message: Any) -> set[str]:
    """Frames whose poses a message holds."""
    items = getattr(message, 'transforms', [message])
    return {_name(item.child_frame_id) for item in items if hasattr(item, 'child_frame_id')}


POSE_TYPES = (ODOMETRY, POSE, *TRANSFORMS)


def _name(frame: str) -> str:
    return frame.lstrip('/')


def _parts(place: Any, turn: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.array([place.x, place.y, place.z]), np.array([turn.x, turn.y, turn.z, turn.w])

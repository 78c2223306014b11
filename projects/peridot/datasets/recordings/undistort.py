"""Images of distorted cameras as those of pinhole cameras, by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from peridot.datasets.recordings.calibration import CameraModel
from peridot.errors import DataError


@dataclass(frozen=True)
class Pinhole:
    """Images of a camera as samples have them.

    Attributes:
        cam2img: Float64 (3, 3).
        size: (height, width) in pixels.
    """

    cam2img: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True)
class Undistortion:
    """Where the pixels of an undistorted image lie in the distorted one.

    Attributes:
        cam2img: Float64 (3, 3), intrinsics of the undistorted image.
        maps: OpenCV's two maps for images of one size.
    """

    cam2img: np.ndarray
    maps: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, camera: CameraModel, size: tuple[int, int], where: str) -> Undistortion:
        """The undistortion to an image of the same size that shows only pixels which the distorted one has.

        Args:
            camera: The camera.
            size: (height, width) of its images.
            where: File and key of the camera, for errors.

        Raises:
            DataError: Such an image does not exist: the coefficients belong to another model or lens.
        """
        height, width = size
        matrix, distortion = camera.intrinsics, camera.distortion
        if camera.fisheye:
            estimate = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify
            new = estimate(matrix, distortion, (width, height), np.eye(3), balance=0.0)
            build = cv2.fisheye.initUndistortRectifyMap
        else:
            new, _ = cv2.getOptimalNewCameraMatrix(matrix, distortion, (width, height), 0, (width, height))
            build = cv2.initUndistortRectifyMap
        if not np.isfinite(new).all() or min(new[0, 0], new[1, 1]) < 1:
            raise DataError(f'{where}.distortion leaves no image: check the coefficients and distortion_model')
        return cls(new, build(matrix, distortion, np.eye(3), new, (width, height), cv2.CV_16SC2))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Undistort an image (H, W, 3)."""
        return cv2.remap(image, *self.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def inversion_error(camera: CameraModel, size: tuple[int, int]) -> float:
    """Largest distance in pixels between positions along the border and what they become undistorted and distorted.

    Coefficients of another model or lens do not invert there.
    """
    height, width = size
    x, y = np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)
    sides = [np.stack([x, np.full(9, v)], 1) for v in (0, height - 1)] + [
        np.stack([np.full(9, u), y], 1) for u in (0, width - 1)
    ]
    border = np.concatenate(sides)[:, None]
    if camera.fisheye:
        flat = cv2.fisheye.undistortPoints(border, camera.intrinsics, camera.distortion)
        back = cv2.fisheye.distortPoints(flat, camera.intrinsics, camera.distortion)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-8)
        flat = cv2.undistortPointsIter(border, camera.intrinsics, camera.distortion, None, None, criteria)
        rays = cv2.convertPointsToHomogeneous(flat)
        back = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.intrinsics, camera.distortion)[0]
    return float(np.nan_to_num(np.linalg.norm(back - border, axis=-1), nan=np.inf).max())

"""Images of distorted cameras as those of pinhole cameras, by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from peridot.datasets.recordings.calibration import CameraModel
from peridot.errors import DataError

# of the focal length of coefficients that can be true
_LARGEST_ZOOM = 10
# of an undistorted fisheye to each side, radians: farther out, a pinhole camera has many pixels for few of the lens
_WIDEST = np.radians(60)


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

        Of a fisheye it shows at most 120 degrees.

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
            new, build = _fisheye_view(camera, size), cv2.fisheye.initUndistortRectifyMap
        else:
            new, _ = cv2.getOptimalNewCameraMatrix(matrix, distortion, (width, height), 0, (width, height))
            build = cv2.initUndistortRectifyMap
        zoom = np.diag(new)[:2] / np.diag(matrix)[:2]
        if not np.isfinite(new).all() or min(new[0, 0], new[1, 1]) < 1 or max(zoom) > _LARGEST_ZOOM:
            raise DataError(f'{where}.distortion leaves no image: check the coefficients and distortion_model')
        return cls(new, build(matrix, distortion, np.eye(3), new, (width, height), cv2.CV_16SC2))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Undistort an image (H, W, 3)."""
        return cv2.remap(image, *self.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _fisheye_view(camera: CameraModel, size: tuple[int, int]) -> np.ndarray:
    """Intrinsics (3, 3) of an image within that of a fisheye; NaN where its coefficients do not reach the border.

    OpenCV's own estimate fails for lenses of 170 degrees and more.
    """
    focal, center, last = np.diag(camera.intrinsics)[:2], camera.intrinsics[:2, 2], np.array(size[::-1]) - 1
    angles = np.linspace(0, _WIDEST, 2000)
    radii = angles[:, None] ** (1, 3, 5, 7, 9) @ (1, *camera.distortion)
    rising = 1 + int(np.argmin([*(np.diff(radii) > 0), False]))
    # where the lines through the principal point end, as the lens sees it and as a pinhole camera would
    ends = np.stack([-center, last - center]) / focal
    if rising < len(radii) and abs(ends).max() > radii[rising - 1]:
        return np.full((3, 3), np.nan)
    first, end = np.sign(ends) * np.tan(np.interp(abs(ends), radii[:rising], angles[:rising]))
    matrix = np.diag([*max(last / (end - first) / focal) * focal, 1])
    matrix[:2, 2] = (last - np.diag(matrix)[:2] * (first + end)) / 2
    return matrix


def inversion_error(camera: CameraModel, view: Pinhole) -> float:
    """Largest distance in pixels between positions along the border and what they become undistorted and distorted.

    Coefficients of another model or lens do not invert there. Of a fisheye, it is the border of the undistorted image:
    farther out no pinhole camera sees anything.

    Args:
        camera: The camera.
        view: Its undistorted images.
    """
    border = _border(view.size)
    if camera.fisheye:
        rays = cv2.undistortPoints(border, view.cam2img, None)
        pixels = cv2.fisheye.distortPoints(rays, camera.intrinsics, camera.distortion)
        back = cv2.fisheye.undistortPoints(pixels, camera.intrinsics, camera.distortion, None, view.cam2img)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-8)
        flat = cv2.undistortPointsIter(border, camera.intrinsics, camera.distortion, None, None, criteria)
        rays = cv2.convertPointsToHomogeneous(flat)
        back = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.intrinsics, camera.distortion)[0]
    return float(np.nan_to_num(np.linalg.norm(back - border, axis=-1), nan=np.inf).max())


def _border(size: tuple[int, int]) -> np.ndarray:
    """Float64 (36, 1, 2), positions along the border of an image."""
    height, width = size
    x, y = np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)
    sides = [np.stack([x, np.full(9, v)], 1) for v in (0, height - 1)]
    sides += [np.stack([np.full(9, u), y], 1) for u in (0, width - 1)]
    return np.concatenate(sides)[:, None]

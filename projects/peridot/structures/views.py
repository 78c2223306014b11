"""Camera images of one sample, decoded once and no larger than needed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from peridot.errors import ConfigError, DataError
from peridot.files import read_file
from peridot.structures.pairs import Pairs

_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_REDUCED_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class ImageViews:
    """Encoded image files plus the geometry that takes them to the current frame.

    Crops, resizes and flips only change two numbers per axis; `decode` then reads every JPEG at the smallest
    of the sizes 1, 1/2, 1/4, 1/8 that has at least one pixel per output pixel and warps it once, bilinearly.
    A position of the current frame lies at `scale * position + offset` in the image file, both (row, column)
    with integers at pixel centers.

    Args:
        paths: Image files, one per camera.
        data: Their content.

    Attributes:
        file_size: Int64 (V, 2), height and width of the images in the files.
        size: Int64 (V, 2), height and width of the current frames.
        scale: Float64 (V, 2), pixels of the file per pixel of the current frame, negative along
            a flipped axis.
        offset: Float64 (V, 2).
        maps: Per-pixel maps (H, W) at the files' size that follow the geometry: arrays, or others with a `shape` that
            are read at [rows, columns].

    Raises:
        DataError: A file is no image.
    """

    def __init__(self, paths: Sequence[str], data: Sequence[bytes]) -> None:
        self.paths = list(paths)
        self.data = list(data)
        sizes = [_header_size(path, content) for path, content in zip(self.paths, self.data)]
        self.file_size = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        self.size = self.file_size.copy()
        self.scale = np.ones((len(self), 2))
        self.offset = np.zeros((len(self), 2))
        self.maps: dict[str, Sequence] = {}

    @classmethod
    def from_files(cls, paths: Sequence[str], backend_args: Mapping | None = None) -> ImageViews:
        """Read files without decoding them.

        Args:
            paths: Image files, one per camera.
            backend_args: Arguments of mmengine's file back end, see `peridot.files`.

        Raises:
            DataError: A file is absent, empty, truncated or no image.
        """
        return cls(paths, [_read_image_file(path, backend_args) for path in paths])

    def __len__(self) -> int:
        return len(self.paths)

    def resized_crop(self, boxes: np.ndarray, size: tuple[int, int]) -> None:
        """Crop every view and resize the crops to one size.

        Args:
            boxes: Float (V, 4), top, left, height and width in the current frame.
            size: Height and width after resizing.
        """
        boxes = np.asarray(boxes, dtype=np.float64)
        ratio = boxes[:, 2:] / np.array(size)
        self.offset += self.scale * (boxes[:, :2] + 0.5 * ratio - 0.5)
        self.scale *= ratio
        self.size = np.tile(np.array(size, dtype=np.int64), (len(self), 1))

    def flip(self, flipped: np.ndarray) -> None:
        """Mirror the columns of some views.

        Args:
            flipped: Bool (V,).
        """
        self.offset[:, 1] += np.where(flipped, self.scale[:, 1] * (self.size[:, 1] - 1), 0)
        self.scale[:, 1] *= np.where(flipped, -1, 1)

    def follow(self, pairs: Pairs) -> Pairs:
        """Pairs at positions of the image files, moved into the current frame; those outside of it are left out."""
        scale, offset, size = (torch.from_numpy(value)[pairs.camera] for value in (self.scale, self.offset, self.size))
        moved = ((pairs.position - offset) / scale).float()
        return pairs.replace(position=moved)[((moved >= -0.5) & (moved < size - 0.5)).all(1)]

    def decode(self) -> np.ndarray:
        """Images in the current frame.

        Returns:
            Uint8 (V, 3, h, w), RGB.

        Raises:
            DataError: A file cannot be decoded.
            ConfigError: The views have different sizes.
        """
        height, width = self.common_size()
        images = np.empty((len(self), 3, height, width), dtype=np.uint8)
        for view in range(len(self)):
            decoded = self._warp(view, *self._decode_reduced(view))
            for channel in range(3):
                cv2.extractChannel(decoded, 2 - channel, images[view, channel])
        return images

    def warp_maps(self, name: str) -> np.ndarray:
        """A per-pixel map in the current frame, by the value of the nearest pixel.

        Returns:
            (V, h, w) in the dtype of the maps.
        """
        height, width = self.common_size()
        sampled = []
        for view, pixels in enumerate(self.maps[name]):
            limits = np.array(pixels.shape) - 1
            rows = self._nearest(view, 0, height, limits[0])
            columns = self._nearest(view, 1, width, limits[1])
            sampled.append(pixels[rows[:, None], columns])
        return np.stack(sampled)

    def _nearest(self, view: int, axis: int, count: int, limit: int) -> np.ndarray:
        position = self.scale[view, axis] * np.arange(count) + self.offset[view, axis]
        return np.clip(np.floor(position + 0.5), 0, limit).astype(np.int64)

    def common_size(self) -> tuple[int, int]:
        """Height and width of all views.

        Raises:
            ConfigError: The views have different sizes.
        """
        if (self.size != self.size[0]).any():
            raise ConfigError(
                f'images of different sizes ({", ".join("x".join(map(str, s)) for s in self.size)}) cannot '
                'be stacked: add peridot.RandomResizedCropViews or peridot.ResizeViews to the pipeline'
            )
        return int(self.size[0, 0]), int(self.size[0, 1])

    def reduction(self, view: int) -> int:
        """Factor by which the decoder may shrink an image without dropping below one pixel per output pixel."""
        if not self.data[view].startswith(_JPEG_START):
            return 1
        finest = np.abs(self.scale[view]).min() + 1e-9
        return max(r for r in _REDUCED_FLAGS if r == 1 or r <= finest)

    def _decode_reduced(self, view: int) -> tuple[np.ndarray, int]:
        reduction = self.reduction(view)
        # EXIF orientation is ignored: calibrations and maps refer to the pixels as they are stored
        flags = _REDUCED_FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(self.data[view], np.uint8), flags)
        if image is None:
            raise _damaged(self.paths[view])
        return image, reduction

    def _warp(self, view: int, image: np.ndarray, reduction: int) -> np.ndarray:
        scale, offset = self.scale[view] / reduction, (self.offset[view] + 0.5) / reduction - 0.5
        height, width = map(int, self.size[view])
        # edges of the crop in the decoded image; where they are whole pixels, slicing and resizing is twice as fast
        edges = np.stack([offset - scale / 2 + 0.5, offset + scale * (self.size[view] - 0.5) + 0.5])
        whole = np.rint(edges).astype(np.int64)
        (top, left), (bottom, right) = whole.min(0), whole.max(0)
        inside = top >= 0 and left >= 0 and bottom <= image.shape[0] and right <= image.shape[1]
        if inside and scale[0] > 0 and np.abs(edges - whole).max() < 1e-6:
            resized = cv2.resize(image[top:bottom, left:right], (width, height), interpolation=cv2.INTER_LINEAR)
            return resized if scale[1] > 0 else cv2.flip(resized, 1)
        matrix = np.array([[scale[1], 0, offset[1]], [0, scale[0], offset[0]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _read_image_file(path: str, backend_args: Mapping | None) -> bytes:
    data = read_file(path, 'image file', backend_args)
    if not _is_complete(data):
        raise _damaged(path)
    return data


def _is_complete(data: bytes) -> bool:
    """True unless the file is cut off: decoders fill the missing part with gray, in some versions silently."""
    if data.startswith(_JPEG_START) and data.endswith(_JPEG_END):
        return True
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _header_size(path: str, data: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise _damaged(path) from None


def _damaged(path: str) -> DataError:
    return DataError(f'image file {path} is truncated or damaged: restore it from the original dataset')

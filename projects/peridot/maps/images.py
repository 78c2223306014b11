"""Camera images of a dataset as files, and resizing of images and maps."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from peridot.errors import DataError
from peridot.files import is_remote, read_bytes
from peridot.walk import innermost


@dataclass(frozen=True)
class ImageSource:
    """One camera image of a dataset.

    Attributes:
        path: Image file.
        token: Token of the camera's sample data where the dataset has one.
        key: Path relative to the data root, without suffix.
        backend_args: Arguments of mmengine's file back end, see `peridot.files`.
    """

    path: str
    token: str | None = None
    key: str = ''
    backend_args: Mapping | None = field(default=None, compare=False)

    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, from the header alone."""
        with self._open() as image:
            return image.height, image.width

    def read(self, at_least: tuple[int, int] | None = None) -> np.ndarray:
        """Decode the image: uint8 (H, W, 3), RGB.

        Args:
            at_least: (height, width) that the caller needs; a JPEG is then decoded at a half, quarter or eighth
                of its size if that is large enough. The full image by default.
        """
        with self._open() as image:
            try:
                if at_least is not None:
                    image.draft('RGB', (at_least[1], at_least[0]))
                return np.asarray(image.convert('RGB'))
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f'image {self.path} is damaged ({error}): fetch it again') from None

    def _open(self) -> Image.Image:
        try:
            if is_remote(self.path, self.backend_args):
                return Image.open(io.BytesIO(read_bytes(self.path, self.backend_args)))
            return Image.open(self.path)
        except FileNotFoundError:
            raise DataError(f'image {self.path} is missing: check --data-root and the info file') from None
        except OSError:
            raise DataError(f'{self.path} is not an image or is damaged: fetch it again') from None


def images_of(dataset) -> list[ImageSource]:
    """Camera images of a dataset (or of all datasets that a wrapper holds), each once, in order.

    Args:
        dataset: `PairedDataset`, or a wrapper, see `innermost`.
    """
    infos = (part.get_data_info(index) for part in innermost(dataset) for index in range(len(part)))
    return list({source.path: source for info in infos for source in image_sources(info)}.values())


def image_sources(info: dict) -> list[ImageSource]:
    """Images of one parsed info of a `PairedDataset`."""
    sources = []
    for path, token in zip(info['img_paths'], info['img_tokens']):
        relative = Path(os.path.relpath(path, info['data_root']))
        key = relative.with_suffix('').as_posix()
        sources.append(ImageSource(os.fspath(path), token, key, info.get('backend_args')))
    return sources


def nearest_resize(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbor resize of a map; pixel centers stay where they are.

    Args:
        ids: Int (h, w).
        size: (H, W) of the result.
    """
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1) for old, new in zip(ids.shape, size)
    )
    return ids[rows[:, None], columns]


def size_at_height(size: tuple[int, int], height: int) -> tuple[int, int]:
    """(height, width) of an image of a given (height, width) after scaling to a height."""
    return height, max(1, round(size[1] * height / size[0]))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image to a (height, width) by averaging areas."""
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def reduce_image(image: np.ndarray, height: int | None) -> np.ndarray:
    """Reduce an image to a height; smaller images, and all images for None, stay as they are."""
    if height is None or image.shape[0] <= height:
        return image
    return resize_image(image, size_at_height(image.shape[:2], height))

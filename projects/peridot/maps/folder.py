"""Folders of superpixels or weak labels: one file per image beside a `manifest.json`."""

import hashlib
import io
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from peridot.errors import DataError
from peridot.files import atomic_path, join, read_bytes, write_bytes
from peridot.maps.base import BaseMapFolder
from peridot.maps.manifest import LARGEST, RUNS, Manifest, read_manifest
from peridot.maps.runs import WIDEST, RunMap, decode_runs, encode_runs
from peridot.maps.tools import command_for

# value of pixels without class in 8-bit label maps, and of pixels without id in 16-bit superpixel maps
UNLABELED = 255
NO_SUPERPIXEL = LARGEST
_SINGLE_CHANNEL_MODES = {'L', 'P', '1', 'I', 'I;16', 'I;16B'}


def write_map(path: str | os.PathLike, array: np.ndarray, dtype: type = np.uint8) -> None:
    """Write one map, atomically.

    Args:
        path: File to write; missing folders are made. Its suffix says the form: `.runs`, or a single-channel PNG.
        array: Int (H, W).
        dtype: Type that the values must fit: np.uint8 for labels, np.uint16 for superpixels. A PNG has as many bits.

    Raises:
        ValueError: The array is not two-dimensional or its values do not fit the type.
        DataError: The form cannot hold so wide a map.
    """
    limits = np.iinfo(dtype)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f'a map has two dimensions, not shape {array.shape}')
    if array.min() < limits.min or array.max() > limits.max:
        raise ValueError(f'values {array.min()}..{array.max()} do not fit {limits.dtype}')
    pixels = array.astype(dtype)
    if Path(path).suffix == RUNS:
        if pixels.shape[1] > WIDEST:
            raise DataError(f'{path}: maps of runs are at most {WIDEST} pixels wide, this has {pixels.shape[1]}')
        write_bytes(path, encode_runs(pixels))
        return
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format='PNG', compress_level=3)


def pixel_crc(array: np.ndarray) -> int:
    """CRC-32 of the values of a map, as 16-bit little-endian numbers row by row."""
    return zlib.crc32(np.ascontiguousarray(array, '<u2'))


def content_hash(folder: str | os.PathLike, crcs: Mapping[Path, int]) -> str:
    """sha256 over the sorted lines `<path relative to folder, without suffix> <CRC-32 of the values>`.

    It does not depend on the form of the files, on their order or times, or on how many processes wrote them.

    Args:
        folder: Folder of the maps.
        crcs: `pixel_crc` of each map by its path.
    """
    lines = (f'{path.relative_to(folder).with_suffix("").as_posix()} {crc:08x}\n' for path, crc in crcs.items())
    return 'sha256:' + hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()


class MapFolder(BaseMapFolder):
    """Reads the maps of one folder and checks every one of them.

    Args:
        folder: Folder with `manifest.json`; relative to `data_root` unless absolute.
        data_root: Root of the dataset; image paths are taken relative to it.
        kind: 'superpixels' or 'labels' if the reader needs that kind.
        generator: Name of the generator that the reader needs, None for any.
        manifest: Used in place of the folder's `manifest.json`.
        backend_args: Arguments of mmengine's file back end, see `peridot.files`.

    Attributes:
        manifest: Checked content of the manifest.

    Raises:
        DataError: The manifest is missing or wrong, or of another kind or generator than needed.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        data_root: str | os.PathLike = '.',
        kind: str | None = None,
        generator: str | None = None,
        manifest: Manifest | None = None,
        backend_args: Mapping | None = None,
    ) -> None:
        manifest = manifest or read_manifest(join(data_root, folder), backend_args)
        super().__init__(folder, data_root, manifest, backend_args)
        for name, asked in (('kind', kind), ('generator', generator)):
            found = getattr(self.manifest, name)
            if asked is not None and found != asked:
                # the folder's own command makes maps of the wrong kind
                command = command_for(kind or self.manifest.kind, self.data_root, generator)
                raise DataError(
                    f'{self.manifest_path} describes maps of {name} {found!r}, but {asked!r} is '
                    f'needed: name another folder or make the maps with `{command}`'
                )

    @property
    def num_classes(self) -> int | None:
        """Number of classes of a label folder, None for superpixels."""
        return len(self.manifest.classes) if self.manifest.kind == 'labels' else None

    @property
    def num_ids(self) -> int | None:
        """Exclusive upper bound of the ids of a superpixel folder, None for labels."""
        return self.manifest.num_ids if self.manifest.kind == 'superpixels' else None

    @property
    def ignore(self) -> int | None:
        """Value of pixels without id or class, None when there is none."""
        return self.manifest.ignore

    @property
    def is_finished(self) -> bool:
        """Whether the run that makes these maps has ended; maps of other programs count as finished without a hash."""
        return self.manifest.hash is not None or self._is_external

    @property
    def command(self) -> str:
        """Command that makes these maps."""
        return self.manifest.command or command_for(self.manifest.kind, self.data_root)

    def describe(self) -> str:
        """One line about the folder: generator, number of ids or classes, first digits of the hash."""
        manifest = self.manifest
        unit = 'ids at most' if manifest.kind == 'superpixels' else 'classes'
        if manifest.hash is not None:
            state = manifest.hash[:15]
        else:
            state = 'no hash' if self.is_finished else f'unfinished, to be completed with `{self.command}`'
        return f'{self.location}: {manifest.kind} of {manifest.generator!r}, {manifest.limit} {unit}, {state}'

    def read(self, img_path: str | os.PathLike, image_size: tuple[int, int], token: str | None = None) -> np.ndarray:
        """Map of an image.

        Args:
            img_path: Image file, see `path_for`.
            image_size: (height, width) of the image in the file, in pixels.
            token: Token of the camera's sample data, for layouts that use it.

        Returns:
            Uint16 (H, W) for superpixels, uint8 (or uint16 where needed) for labels.

        Raises:
            DataError: The map is missing, damaged, of another size, or holds a value out of range.
        """
        return self.read_file(self._location_of(img_path, token), image_size)

    def open(
        self, img_path: str | os.PathLike, image_size: tuple[int, int], token: str | None = None
    ) -> np.ndarray | RunMap:
        """Like `read`, for a reader that needs the values at some positions, as `map[rows, columns]`."""
        path = self._location_of(img_path, token)
        pixels = self._decode(path)
        self.check(path, pixels, image_size)
        return pixels

    def ids(self, values: np.ndarray | RunMap) -> np.ndarray | RunMap:
        """Ids or classes of the values of a map, int32, -1 where there is none; those of a `RunMap` are one."""
        if isinstance(values, RunMap):
            return values.map(self.ids)
        ids = values.astype(np.int32)
        if self.ignore is not None:
            ids[values == self.ignore] = -1
        return ids

    def read_file(self, path: str | os.PathLike, image_size: tuple[int, int] | None = None) -> np.ndarray:
        """Like `read`, for the path of the map itself; any size is accepted when `image_size` is None."""
        pixels = self._decode(path)
        self.check(path, pixels, image_size)
        array = np.asarray(pixels)
        if self.manifest.kind == 'superpixels':
            return array.astype(np.uint16, copy=False)
        return array if array.dtype == np.uint8 else array.astype(np.uint16, copy=False)

    def check(
        self, path: str | os.PathLike, array: np.ndarray | RunMap, image_size: tuple[int, int] | None = None
    ) -> None:
        """Check size and values of a map; `path` is named in the error.

        Raises:
            DataError: The map has another size than `image_size`, or a value that the manifest excludes.
        """
        if image_size is not None and array.shape != tuple(image_size):
            found, expected = ('x'.join(map(str, size)) for size in (array.shape, image_size))
            raise self._error(path, f'has {found} pixels, its image has {expected} (height x width)')
        self._check_range(path, array.values if isinstance(array, RunMap) else array)

    def _decode(self, path: str | os.PathLike) -> np.ndarray | RunMap:
        try:
            data = read_bytes(path, self.backend_args)
            if os.fspath(path).endswith(RUNS):
                return decode_runs(data)
            with Image.open(io.BytesIO(data)) as image:
                if image.mode not in _SINGLE_CHANNEL_MODES:
                    raise self._error(path, f'is a {image.mode} image, a map has one channel')
                array = np.array(image)
        except FileNotFoundError:
            raise self._error(path, 'is missing') from None
        except (OSError, SyntaxError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else 'damaged'
            raise self._error(path, f'cannot be decoded ({reason})') from None
        return array.astype(np.uint8) if array.dtype == bool else array

    def _check_range(self, path: str | os.PathLike, array: np.ndarray) -> None:
        limit, ignore = self.manifest.limit, self.manifest.ignore
        if int(array.max()) < limit and int(array.min()) >= 0:
            return
        wrong = (array >= limit) | (array < 0)
        if ignore is not None:
            wrong &= array != ignore
        if wrong.any():
            noun = 'superpixel ids' if self.manifest.kind == 'superpixels' else 'classes'
            also = '' if ignore is None else f' and ignore value {ignore}'
            raise self._error(path, f'holds value {array[wrong][0]}, the manifest declares {limit} {noun}{also}')

    @property
    def _is_external(self) -> bool:
        """Whether a user made the maps and wrote the manifest."""
        return self.manifest.generator == 'files' and not self.manifest.command

    def _hint(self, action: str) -> str:
        return f'fix {self.manifest_path} or the files' if self._is_external else super()._hint(action)

"""Folders of lidar segments: ids of the points of two scans, one file per pair of scans beside a `manifest.json`."""

import io
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from peridot.errors import DataError
from peridot.files import atomic_path, join, read_bytes
from peridot.maps.base import BaseMapFolder
from peridot.maps.manifest import read_manifest_of

KIND = 'lidar segments'
TOOL = 'tools/make_lidar_segments.py'
# arrays of a file
_ARRAYS = {'ids', 'points', 'checksums', 'scans'}


@dataclass
class SegmentManifest:
    """What `manifest.json` says about the lidar segments around it.

    Attributes:
        frames: Which keyframes are a pair: `offset`, from the first to the second, and `max_gap`, see `FrameRule`.
        num_segments: Ids are smaller than this number.
        parameters: Settings of the clustering.
        version: Program that clustered.
        command: Command that made the segments and makes missing ones; quoted in error messages.
        pairs: Number of pairs; None while they are being made.
        layout: Path of a pair's file below the folder, after the lidar file of its first scan.
        kind: Tells these folders from those of maps.
    """

    frames: dict[str, Any]
    num_segments: int
    parameters: dict[str, Any]
    version: str
    command: str
    pairs: int | None = None
    layout: str = '{relative_stem}.npz'
    kind: str = KIND

    @property
    def settings(self) -> dict:
        """The fields that must be equal for two runs to write into one folder."""
        return {name: value for name, value in asdict(self).items() if name not in ('command', 'pairs')}


class SegmentFolder(BaseMapFolder):
    """Reads the lidar segments of one folder, and checks that they belong to the points of both scans.

    A file has the ids of both scans, int16, -1 for points without segment, and a checksum of their coordinates.

    Args:
        folder: Folder with `manifest.json`; relative to `data_root` unless absolute.
        data_root: Root of the dataset; lidar files are taken relative to it.
        manifest: Used in place of the folder's `manifest.json`.
        backend_args: Arguments of mmengine's file back end, see `peridot.files`.

    Raises:
        DataError: The manifest is missing or wrong.
    """

    manifest: SegmentManifest
    lacking = 'has no segments for {missing} of {total} pairs of scans ({first})'

    def __init__(
        self,
        folder: str | os.PathLike,
        data_root: str | os.PathLike = '.',
        manifest: SegmentManifest | None = None,
        backend_args: Mapping | None = None,
    ) -> None:
        manifest = manifest or read_segment_manifest(join(data_root, folder), backend_args)
        super().__init__(folder, data_root, manifest, backend_args)

    @property
    def is_finished(self) -> bool:
        """Whether the run that makes these segments has ended."""
        return self.manifest.pairs is not None

    @property
    def command(self) -> str:
        """Command that makes these segments."""
        return self.manifest.command

    def describe(self) -> str:
        """One line about the folder."""
        pairs = self.manifest.pairs
        state = f'{pairs} pairs' if self.is_finished else f'unfinished, to be completed with `{self.command}`'
        return f'{self.location}: {KIND} of two scans, {self.manifest.num_segments} at most, {state}'

    def ids(self, scans: Sequence[str], number: int, xyz: np.ndarray) -> np.ndarray:
        """Segment of every point of one scan of a pair.

        Args:
            scans: Lidar files of both scans.
            number: The scan, 0 or 1.
            xyz: Float32 (N, 3), its points as they are in the file.

        Returns:
            Int64 (N,), -1 for none.

        Raises:
            DataError: The file is missing or damaged, or belongs to other scans or points.
        """
        path = self._location_of(scans[0])
        found = self._read(path)
        if found['scans'].tolist() != self._names(scans):
            pair = ' and '.join(found['scans'].tolist())
            raise self._error(path, f'are of {pair}, but the sample has {" and ".join(self._names(scans))}')
        if found['points'][number] != len(xyz) or found['checksums'][number] != _checksum(xyz):
            raise DataError(
                f'lidar segments {path} are of other points ({found["points"][number]}) than {scans[number]} has '
                f'({len(xyz)}): put LoadLidarSegments right after LoadPoints, or {self._hint("make them again")}'
            )
        return np.split(found['ids'], [found['points'][0]])[number].astype(np.int64)

    def both(self, scans: Sequence[str], clouds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`ids` of both scans of a pair."""
        return [self.ids(scans, number, xyz) for number, xyz in enumerate(clouds)]

    def write(self, scans: Sequence[str], clouds: Sequence[np.ndarray], ids: Sequence[np.ndarray]) -> None:
        """Write the segments of a pair, atomically; the same segments give the same bytes.

        Args:
            scans: Lidar files of both scans.
            clouds: Float32 (N, 3) and (M, 3), their points.
            ids: Int (N,) and (M,), below `num_segments`, -1 for none.
        """
        with atomic_path(self.path_for(scans[0])) as temporary, open(temporary, 'wb') as file:
            np.savez_compressed(
                file,
                ids=np.concatenate(ids).astype(np.int16),
                points=np.array([len(xyz) for xyz in clouds], np.int64),
                checksums=np.array([_checksum(xyz) for xyz in clouds], np.uint32),
                scans=np.array(self._names(scans)),
            )

    def _names(self, scans: Sequence[str]) -> list[str]:
        return [os.path.splitext(self._relative(os.fspath(path)))[0] for path in scans]

    def _read(self, path: str) -> dict[str, np.ndarray]:
        try:
            with np.load(io.BytesIO(read_bytes(path, self.backend_args)), allow_pickle=False) as arrays:
                found = dict(arrays)
        except FileNotFoundError:
            raise self._error(path, 'are missing') from None
        except Exception:  # a damaged archive fails in any way
            raise self._error(path, 'are damaged') from None
        if set(found) != _ARRAYS or found['ids'].ndim != 1 or found['points'].sum() != len(found['ids']):
            raise self._error(path, 'are damaged')
        if len(found['ids']) and not -1 <= found['ids'].min() <= found['ids'].max() < self.manifest.num_segments:
            raise self._error(path, f'have ids beyond the {self.manifest.num_segments} that the manifest declares')
        return found

    def _error(self, path: str | os.PathLike, problem: str) -> DataError:
        return DataError(f'lidar segments {path} {problem}: {self._hint("make them again")}')


def _checksum(xyz: np.ndarray) -> int:
    """CRC-32 of coordinates: a file of points that was changed has another one."""
    return zlib.crc32(np.ascontiguousarray(xyz[:, :3], '<f4'))


def read_segment_manifest(folder: str | os.PathLike, backend_args: Mapping | None = None) -> SegmentManifest:
    """Read and check `folder/manifest.json`.

    Args:
        folder: Path or URI of the folder.
        backend_args: Arguments of mmengine's file back end.

    Raises:
        DataError: The folder or its manifest is missing or not one of lidar segments.
    """
    return read_manifest_of(TOOL, SegmentManifest, 'lidar segments', folder, backend_args)

"""Lidar scans without info files: point files in the folders of sequences."""

from __future__ import annotations

import os.path as osp
import re
from pathlib import Path

from peridot.datasets.paired_dataset import PairedDataset
from peridot.errors import DataError
from peridot.registry import DATASETS

# a line of KITTI-360's split files: the accumulated cloud of some frames of a sequence
_WINDOW = re.compile(r'(?:.*/)?(?P<sequence>[^/]+)/static/(?P<first>\d+)_(?P<last>\d+)\.ply')


@DATASETS.register_module()
class LidarFolder(PairedDataset):
    """Lidar scans of sequences, found by the paths of their files; no cameras, no labels (KITTI-360, ONCE).

    Keys handed to the pipeline are those of `PairedDataset` without cameras; the token of a sample is its path without
    suffix.

    Args:
        data_root: Folder of the dataset.
        pattern: Paths of the point files below `data_root`, with `{sequence}` where the name of a sequence
            stands, e.g. 'data/{sequence}/lidar_roof/*.bin'.
        split: File below `data_root` that lists the sequences to use, one per line (ONCE's `ImageSets`),
            or windows of frames, first and last included, `.../SEQUENCE/static/FIRST_LAST.ply` (KITTI-360's lists).
            None takes all sequences.
        dataset: Name of the dataset in the catalog, e.g. 'kitti360' or 'once'.
        **kwargs: Those of mmengine's `BaseDataset` (`pipeline`, `indices`, `test_mode`, ...).

    Raises:
        DataError: The folder or the split file is missing, or a sequence of it has no point file.
    """

    def __init__(
        self, data_root: str, pattern: str, split: str | None = None, dataset: str | None = None, **kwargs
    ) -> None:
        self.pattern = pattern
        self.split = split
        super().__init__(data_root, ann_file=split or pattern, cameras=[], dataset=dataset, **kwargs)

    def check_files(self) -> None:
        """Raise a DataError when the folder or the split file is missing; no scan is looked for."""
        if not osp.isdir(self.data_root):
            raise DataError(
                f'the data root {self.data_root} does not exist: unpack the dataset there, or name its folder with '
                '--data-root'
            )
        if self.split and not osp.isfile(self.ann_file):
            raise DataError(
                f'the split file {self.ann_file} does not exist: unpack it from the dataset, or set `split=None` for '
                'all sequences'
            )

    def load_data_list(self) -> list[dict]:
        """List the point files, ordered by path."""
        self.check_files()
        self._metainfo.setdefault('dataset', self.dataset or 'unknown')
        paths = self._listed() if self.split else self._files('*')
        return [self.parse_data_info({'lidar_points': {'lidar_path': path}}) for path in sorted(paths)]

    def _listed(self) -> set[str]:
        """Files of all sequences and windows of the split file; windows overlap."""
        lines = [line.strip() for line in Path(self.ann_file).read_text().splitlines() if line.strip()]
        if not lines:
            raise DataError(f'the split file {self.ann_file} lists nothing: unpack it from the dataset again')
        found, files = set(), {}
        for line in lines:
            window = _WINDOW.fullmatch(line)
            sequence = window['sequence'] if window else line
            if sequence not in files:
                files[sequence] = self._files(sequence)
            found.update(path for path in files[sequence] if window is None or _within(path, window))
        return found

    def _files(self, sequence: str) -> list[str]:
        """Paths below the data root, at least one."""
        pattern = self.pattern.format(sequence=sequence)
        files = [path.relative_to(self.data_root).as_posix() for path in Path(self.data_root).glob(pattern)]
        if not files:
            raise DataError(
                f'no point file {osp.join(self.data_root, pattern)}: unpack the scans there, or correct `pattern` of '
                'peridot.LidarFolder' + (f' or the lines of {self.ann_file}' if self.split else '')
            )
        return files


def _within(path: str, window: re.Match) -> bool:
    return int(window['first']) <= int(Path(path).stem) <= int(window['last'])

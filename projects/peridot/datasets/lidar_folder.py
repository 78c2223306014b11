"""Lidar scans without info files: point files in the folders of sequences."""

from __future__ import annotations

import logging
import os.path as osp
import re
from pathlib import Path

from mmengine.logging import print_log

from peridot.datasets.missing import first, report
from peridot.datasets.paired_dataset import PairedDataset
from peridot.errors import DataError
from peridot.files import exists, find, read_lines
from peridot.registry import DATASETS

# a line of KITTI-360's split files: the accumulated cloud of some frames of a sequence
_WINDOW = re.compile(r'(?:.*/)?(?P<sequence>[^/]+)/static/(?P<first>\d+)_(?P<last>\d+)\.ply')
_SPLIT_REMEDY = 'unpack it from the dataset, or set `split=None` for all sequences'


@DATASETS.register_module()
class LidarFolder(PairedDataset):
    """Lidar scans of sequences, found by the paths of their files; no cameras, no labels (KITTI-360, ONCE).

    Keys handed to the pipeline are those of `PairedDataset` without cameras; the token of a sample is its path without
    suffix.

    Args:
        data_root: Folder of the dataset.
        pattern: Paths of the point files below `data_root`, with `{sequence}` where the name of a sequence
            stands, e.g. `data/{sequence}/lidar_roof/*.bin`.
        split: File below `data_root` that lists the sequences to use, one per line (ONCE's `ImageSets`),
            or windows of frames, first and last included, `.../SEQUENCE/static/FIRST_LAST.ply` (KITTI-360's lists).
            None takes all sequences.
        dataset: Name of the dataset in the catalog, e.g. 'kitti360' or 'once'.
        missing: What to do about listed sequences and windows without scans: 'skip' counts them in one line, 'error'
            stops. With 'skip' all sequences are taken where the split file's whole folder is absent.
        **kwargs: Those of mmengine's `BaseDataset` (`pipeline`, `indices`, `test_mode`, ...).

    Raises:
        DataError: The folder is missing, or there are no scans.
        ConfigError: `missing` is another word, or the folder lies in a store that cannot be listed (HTTP).
    """

    def __init__(
        self,
        data_root: str,
        pattern: str,
        split: str | None = None,
        dataset: str | None = None,
        missing: str = 'skip',
        **kwargs,
    ) -> None:
        self.pattern = pattern
        self.split = split
        super().__init__(data_root, ann_file=split or pattern, cameras=[], dataset=dataset, missing=missing, **kwargs)

    def check_files(self) -> None:
        """Raise a DataError when the folder, or a split file that must be there, is missing; no scan is looked for."""
        if not exists(self.data_root, self.backend_args, folder=True):
            raise DataError(
                f'the data root {self.data_root} does not exist: unpack the dataset there, or name its folder with '
                '--data-root'
            )
        if self._split_is_absent():
            others = ', '.join(find(osp.dirname(self.ann_file), '*.txt', self.backend_args))
            if others or self.missing == 'error':
                there = f' (there are {others})' * bool(others)
                raise DataError(f'the split file {self.ann_file} does not exist{there}: {_SPLIT_REMEDY}')

    def load_data_list(self) -> list[dict]:
        """List the point files, ordered by path."""
        self.check_files()
        self._metainfo.setdefault('dataset', self.dataset or 'unknown')
        absent = self._split_is_absent()
        paths = self._listed() if self.split and not absent else self._files('*')
        if not paths:
            raise DataError(self._nothing())
        if absent:
            line = f'the split file {self.ann_file} does not exist: all {len(paths)} scans of {self.data_root} are used'
            print_log(f'{line}, perhaps those of other splits, too; {_SPLIT_REMEDY}', 'current', logging.WARNING)
        return [self.parse_data_info({'lidar_points': {'lidar_path': path}}) for path in sorted(paths)]

    def _split_is_absent(self) -> bool:
        return bool(self.split) and not exists(self.ann_file, self.backend_args)

    def _listed(self) -> set[str]:
        """Files of all sequences and windows of the split file; windows overlap."""
        lines = read_lines(self.ann_file, self.backend_args)
        if not lines:
            raise DataError(f'the split file {self.ann_file} lists nothing: unpack it from the dataset again')
        found, files = set(), {}
        empty_sequences, empty_windows = [], []
        for line in lines:
            window = _WINDOW.fullmatch(line)
            sequence = window['sequence'] if window else line
            if sequence not in files:
                files[sequence] = self._files(sequence)
                empty_sequences += [sequence] * (not files[sequence])
            own = [path for path in files[sequence] if window is None or _within(path, window)]
            empty_windows += [line] * bool(files[sequence] and not own)
            found.update(own)
        if found:
            self._report(f'{len(empty_sequences)} of {len(files)} sequences', empty_sequences)
            self._report(f'{len(empty_windows)} of {len(lines)} windows', empty_windows)
        return found

    def _report(self, count: str, names: list[str]) -> None:
        if names:
            pattern = osp.join(self.data_root, self.pattern)
            line = f'{count} in {self.ann_file} have no scans {pattern} ({first(names)})'
            report(line, 'unpack the rest of the scans to use them', self.missing)

    def _files(self, sequence: str) -> list[str]:
        """Paths of the scans of a sequence below the data root."""
        return find(self.data_root, self.pattern.format(sequence=sequence), self.backend_args)

    def _nothing(self) -> str:
        """Error of a folder without scans."""
        pattern = self.pattern.format(sequence='*')
        if deeper := find(self.data_root, f'*/{pattern}', self.backend_args):
            folder = osp.join(self.data_root, deeper[0].split('/')[0])
            return f'the scans of {self.data_root} lie a folder deeper: give --data-root {folder}'
        listed = f' of the sequences and windows in {self.ann_file}' if self.split else ''
        return (
            f'no point file {osp.join(self.data_root, pattern)}{listed}: unpack the scans there, or correct `pattern` '
            'of peridot.LidarFolder' + ' or its `split`' * bool(self.split)
        )


def _within(path: str, window: re.Match) -> bool:
    frame = Path(path).stem
    return frame.isdigit() and int(window['first']) <= int(frame) <= int(window['last'])

"""What is there of the files that a dataset's samples name."""

from __future__ import annotations

import logging
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset

from peridot.datasets.complete_infos import Wanted
from peridot.datasets.frames import timestamp_of
from peridot.datasets.paired_dataset import paused_collector, read_info_file
from peridot.datasets.sampler import seeded_sample
from peridot.datasets.splits import sample_ids
from peridot.errors import DataError, PeridotError
from peridot.files import exists
from peridot.preflight.sources import Source, files_of
from peridot.registry import DATASETS
from peridot.split_files import read_split

# samples whose files are looked for, and those of them that are read
LOOKED_AT = 100
READ = 3
MISSING_LABELS = (
    'has samples without point labels: unpack them (nuScenes: its lidarseg archive) and make the info file again'
)


@dataclass
class Survey:
    """What was found of a source.

    Attributes:
        source: The dataset.
        samples: Number of its samples; 0 if they cannot be listed.
        looked_at: Samples whose files were looked for.
        entries: Their entries in the info file.
        found: Number of files by kind.
        missing: Names of absent files by kind.
        problems: What keeps a run from reading it, one line each.
        dataset: The samples that were looked at, None if they cannot be listed.
    """

    source: Source
    samples: int = 0
    looked_at: int = 0
    entries: int = 0
    found: dict[str, int] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    dataset: BaseDataset | None = None


def survey(sources: Sequence[Source], look_at: int | None = LOOKED_AT) -> list[Survey]:
    """Look for the files of several datasets and read a few samples; each info file is read once.

    Args:
        sources: The datasets.
        look_at: Number of samples of each whose files are looked for, spread evenly; None for all.
    """
    surveys = [Survey(source) for source in sources]
    by_file: dict[str, list[Survey]] = {}
    for item in surveys:
        if item.source.is_known:
            by_file.setdefault(item.source.info_file or '', []).append(item)
    with _without_log():
        for path, items in by_file.items():
            _survey_file(path, items, look_at)
    return surveys


def _survey_file(path: str, items: list[Survey], look_at: int | None) -> None:
    """Survey the datasets of one info file, or, without a path, those that have none."""
    parts: list[tuple[bytes, list[int] | None] | None] = [None] * len(items)
    if path:
        with paused_collector():
            parts = _cut(path, items, look_at)
    for item, part in zip(items, parts):
        with _problems_of(item):
            if not item.problems:
                _look(item, part, look_at)


@contextmanager
def _problems_of(*items: Survey) -> Iterator[None]:
    """Note an error of the block as a problem of datasets."""
    try:
        yield
    except PeridotError as error:
        for item in items:
            item.problems.append(str(error))


def _cut(path: str, items: list[Survey], look_at: int | None) -> list[tuple[bytes, list[int] | None]]:
    """Info files of the samples to look at and their frames, one a dataset, and which of their samples to look at.

    The whole content, which is large, is then dropped.
    """
    source, parts = items[0].source, [(b'', None)] * len(items)
    settings = source.settings
    with _problems_of(*items):
        if source.is_ours:
            DATASETS.build({**settings, 'pipeline': [], 'maps': {}, 'lazy_init': True}).check_files()
        # mmdet3d's datasets read it from the disk, whatever their transforms do
        infos = read_info_file(path, settings['data_root'], settings.get('backend_args') if source.is_ours else None)
        for number, item in enumerate(items):
            with _problems_of(item):
                used = _used_infos(infos['data_list'], item.source)
                item.samples = len(used)
                rows = _rows(item.source, item.samples, look_at)
                item.entries = len(rows)
                kept, chosen = _with_neighbors(used, rows, item.source)
                parts[number] = pickle.dumps({**infos, 'data_list': [used[row] for row in kept]}), chosen
    return parts


def _with_neighbors(infos: list[dict], rows: list[int], source: Source) -> tuple[list[int], list[int] | None]:
    """Rows of samples and of all keyframes that their frames may be, and the places of the samples among them.

    None in place of the latter if samples have no other keyframes: all are to be looked at.
    """
    rule = None
    if source.is_ours and source.settings.get('frames'):
        rule = DATASETS.build({**source.settings, 'pipeline': [], 'maps': {}, 'lazy_init': True}).frame_rule
    if rule is None or not rule.keyframes:
        return rows, None
    times = np.array([timestamp_of(info, source.info_file) for info in infos])
    # successive keyframes are within `max_gap`; a millisecond for rounding
    reach = max(map(abs, rule.keyframes)) * rule.max_gap + 1e-3
    order, near = np.argsort(times), np.zeros(len(infos), bool)
    for row in rows:
        near[order[slice(*np.searchsorted(times[order], [times[row] - reach, times[row] + reach]))]] = True
    kept = np.flatnonzero(near)
    return kept.tolist(), np.searchsorted(kept, rows).tolist()


def _used_infos(infos: list[dict], source: Source) -> list[dict]:
    """Infos of the split, without those of the samples that the dataset leaves out; all if it refuses them."""
    if source.split:
        chosen = set(read_split(source.split).samples)
        infos = [info for info, name in zip(infos, sample_ids(infos)) if name in chosen]
    if not source.is_ours:
        return infos
    wanted = Wanted(source.settings.get('cameras'), 'images' in source.reads, 'labels' in source.reads)
    whole = [info for info in infos if wanted.is_met_by(info)]
    return infos if source.settings.get('missing') == 'error' or not whole else whole


@contextmanager
def _without_log() -> Iterator[None]:
    """Datasets log sizes, which would be those of the few samples."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _look(item: Survey, part: tuple[bytes, list[int] | None] | None, look_at: int | None) -> None:
    """Look for the files of a dataset's samples, and read some.

    Args:
        item: Filled in.
        part: Content of an info file, and which of its samples to look at, None for all; None for a dataset that has
            no info file.
        look_at: See `survey`.
    """
    settings = deepcopy(dict(item.source.settings))
    # objects of a database are looked for elsewhere, and take long to load
    settings['pipeline'] = [step for step in settings['pipeline'] if 'db_sampler' not in step]
    with tempfile.TemporaryDirectory() as folder:
        if part is None:
            item.dataset = _some(DATASETS.build(settings), item, look_at)
        else:
            item.dataset = _dataset_of(*part, Path(folder), item.source, settings)
        item.looked_at = len(item.dataset)
        if item.entries and settings.get('indices') is None:
            # of images, an entry of the info file has several
            item.samples = item.samples * item.looked_at // item.entries
        for kind in item.source.reads:
            _look_for(item, kind)
        if not item.problems and item.looked_at:
            _read_some(item.dataset)


def _some(dataset: BaseDataset, item: Survey, look_at: int | None) -> BaseDataset:
    """The samples to look at of a dataset without info file."""
    dataset.full_init()
    item.samples = len(dataset)
    # it has applied its `indices` itself
    source = replace(item.source, settings={**item.source.settings, 'indices': None})
    return dataset.get_subset(_rows(source, len(dataset), look_at))


def _dataset_of(part: bytes, chosen: list[int] | None, folder: Path, source: Source, settings: dict) -> BaseDataset:
    """A dataset of an info file's content, or of chosen samples of it."""
    indices = settings.get('indices') if isinstance(settings.get('indices'), int) else None
    indices = indices if chosen is None else chosen
    small = dict(indices=indices, serialize_data=False)
    if source.is_ours:
        dataset = DATASETS.build({**settings, **small, 'lazy_init': True})
        dataset.read_infos = partial(pickle.loads, part)
        dataset.full_init()
        return dataset
    path = folder / Path(settings['ann_file']).name
    path.write_bytes(part)
    try:
        dataset = DATASETS.build({**settings, **small, 'ann_file': str(path)})
        dataset.full_init()
        return dataset
    except PeridotError as error:
        # the user knows the whole file
        raise type(error)(str(error).replace(str(path), source.info_file)) from None


def _rows(source: Source, count: int, look_at: int | None) -> list[int]:
    """Rows to look at, spread evenly over those that the dataset uses."""
    wanted = source.settings.get('indices')
    if isinstance(wanted, int) and source.index is None:
        # they may count images, of which a sample has several
        return list(range(min(wanted, count, look_at or count)))
    rows = np.arange(count) if wanted is None or isinstance(wanted, int) else _chosen(wanted, count, source)
    if source.index is not None:
        if source.index >= len(rows):
            raise DataError(
                f'index={source.index} of the hook that draws it, but it has {len(rows)} samples: set a smaller one'
            )
        return rows[source.index : source.index + 1].tolist()
    if look_at is None or len(rows) <= look_at:
        return rows.tolist()
    return rows[np.linspace(0, len(rows) - 1, look_at).astype(int)].tolist()


def _chosen(indices: Sequence[int], count: int, source: Source) -> np.ndarray:
    beyond = [index for index in indices if not -count <= index < count]
    if beyond:
        raise DataError(f'`indices` names {beyond[0]}, but {source.info_file} has {count} samples: name smaller ones')
    return np.arange(count)[indices]


def _look_for(item: Survey, kind: str) -> None:
    """Count the files of a kind; a problem names the first that are absent."""
    dataset, settings = item.dataset, item.source.settings
    lists = [files_of(dataset.get_data_info(row), kind) for row in range(len(dataset))]
    if any(names is None for names in lists):
        item.problems.append(f'{settings.get("ann_file")} {MISSING_LABELS}')
        lists = [names for names in lists if names is not None]
    names = [name for part in lists for name in part]
    store = settings.get('backend_args') if item.source.is_ours else None
    missing = [name for name in names if not exists(name, store)]
    item.found[kind], item.missing[kind] = len(names) - len(missing), missing
    if missing:
        first = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
        item.problems.append(
            f'{len(missing)} of {len(names)} files with {kind} that were looked for do not exist ({first}): restore '
            'them, make the info file again, or correct `data_prefix` and --data-root'
        )


def _read_some(dataset: BaseDataset) -> None:
    """Run the pipeline on a few samples.

    Raises:
        DataError: A file cannot be read.
    """
    for row in sorted({0, len(dataset) // 2, len(dataset) - 1})[:READ]:
        try:
            with seeded_sample(0):
                dataset[row]
        except PeridotError:
            raise
        except OSError as error:
            raise DataError(f'{error.filename or error}: {error.strerror or "cannot be read"}: restore it') from None

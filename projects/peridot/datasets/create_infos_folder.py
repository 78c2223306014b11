"""mmdet3d's info files (v2) of own recordings: folders of points and images with a `calibration.json`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from peridot.catalog.folder import FOLDER
from peridot.datasets.create_infos import check_writable, write_splits
from peridot.datasets.missing import check_missing
from peridot.datasets.recordings.checks import check, table
from peridot.datasets.recordings.classes import CLASSES, read_classes
from peridot.datasets.recordings.matching import Sample, match
from peridot.datasets.recordings.products import Products
from peridot.datasets.recordings.recording import Recording, find_recordings
from peridot.errors import ConfigError, DataError
from peridot.files import usable_cores


def create_folder_infos(
    root: str | os.PathLike,
    val: Sequence[str] = (),
    tolerance: float = 0.05,
    drop_invalid: bool = False,
    missing: str = 'skip',
    verbose: bool = False,
) -> list[Path]:
    """Write `folder_infos_{train,val}.pkl` of one recording, or of a folder of recordings, and what they refer to.

    Points become float32 x, y, z (meters), intensity (0 to 1) once, in `RECORDING/converted/points/`; images of
    distorted cameras are undistorted once, in `RECORDING/converted/images/`. What needs no conversion stays where it
    is. Files that exist are kept unless the calibration or the source has changed: an interrupted run goes on.

    Args:
        root: The recording (`points/`, `images/`, `calibration.json`; docs/own_recording.md), or a folder of several.
        val: Names of the recordings for validation; by default the last tenth in time of each recording.
        tolerance: Longest time in seconds between a scan and its images.
        drop_invalid: Drop points that are not finite, and their labels, instead of stopping.
        missing: 'skip' leaves scans without an image or a pose out and counts them, 'error' stops.
        verbose: Print the numbers that show a wrong calibration, warnings and progress.

    Returns:
        The info files; a split without samples gets none, and that of an earlier run is removed.

    Raises:
        ConfigError: `val` names no recording or all of them.
        DataError: Files are missing, damaged or do not fit together, or the calibration is wrong.
    """
    check_missing(missing)
    root = Path(root).resolve()
    recordings = find_recordings(root)
    _check_val([recording.name for recording in recordings], val)
    meta = _classes(root, recordings)
    matched = [(recording, *match(recording, tolerance)) for recording in recordings]
    if missing == 'error' and (notes := [note for *_, own in matched for note in own]):
        raise DataError(f'{notes[0]}: complete the recording, or leave such scans out with --missing skip')
    check_writable(root)
    ids = list(meta.get('seg_label_mapping', ()))
    products = [Products(recording, root, drop_invalid, ids) for recording in recordings]
    _report(matched, products, verbose)
    infos: dict[str, list[dict]] = {'train': [], 'val': []}
    for (recording, samples, _), product in zip(matched, products):
        product.prepare()
        for info, split in zip(_convert(product, samples, verbose), _splits(recording, len(samples), val)):
            infos[split].append(info)
    if verbose:
        dropped = sum(sum(product.dropped.values()) for product in products)
        print(f'{dropped} points that are not finite were dropped\n' * bool(dropped), end='')
        print(', '.join(f'{split}: {len(samples)} samples' for split, samples in infos.items()))
    return write_splits(root, FOLDER, infos, **meta)


def _splits(recording: Recording, count: int, val: Sequence[str]) -> list[str]:
    """Split of each sample of a recording, in their order: by its name, or the last tenth is for validation."""
    if val:
        return ['val' if recording.name in val else 'train'] * count
    last = max(count // 10, int(count > 1))
    return ['train'] * (count - last) + ['val'] * last


def _check_val(names: Sequence[str], val: Sequence[str]) -> None:
    unknown = [name for name in val if name not in names]
    if unknown:
        known = ', '.join(filter(None, names)) or 'none: the folder is a single recording'
        raise ConfigError(f'--val {unknown[0]}: there is no such recording (the recordings are {known})')
    if set(names) == set(val):
        raise ConfigError('--val names all recordings: leave one for training')


def _classes(root: Path, recordings: Sequence[Recording]) -> dict:
    """Metainfo of the classes; empty without labels."""
    labeled = [recording for recording in recordings if recording.labels]
    if labeled and len(labeled) < len(recordings):
        bare = next(recording for recording in recordings if not recording.labels)
        raise DataError(
            f'{labeled[0].folder} has labels, but {bare.folder} has none: keep labeled recordings in a folder of their '
            'own, or rename labels/ to do without'
        )
    return read_classes(root / CLASSES) if labeled else {}


def _report(
    matched: Iterable[tuple[Recording, list[Sample], list[str]]], products: Sequence[Products], verbose: bool
) -> None:
    """Check all recordings before anything is converted; print their numbers."""
    rows, warnings = [], []
    for (recording, samples, notes), product in zip(matched, products):
        finding = check(recording, samples, product.cameras)
        rows += finding.rows
        warnings += [*(f'{note}: left out' for note in notes), *finding.warnings]
    if verbose:
        print(table(rows))
        for line in warnings:
            print(f'warning: {line}')


def _convert(product: Products, samples: Sequence[Sample], verbose: bool) -> Iterator[dict]:
    """Infos of the samples; decoding, undistorting and encoding run side by side."""
    pool = ThreadPoolExecutor(usable_cores())
    try:
        infos = pool.map(product.convert, samples)
        yield from tqdm(infos, product.recording.title, len(samples), unit='scan', disable=not verbose)
    finally:
        pool.shutdown(cancel_futures=True)

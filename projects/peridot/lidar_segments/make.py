"""Makes the lidar segments of a dataset: sharded over processes, resumable, atomic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import sklearn
from mmengine import dist
from mmengine.config import Config
from mmengine.logging import MMLogger

from peridot.datasets.transforms import LoadPoints
from peridot.errors import ConfigError, DataError, PeridotError
from peridot.files import disk_folder
from peridot.labels.distributed import gather, in_first_process, only_run, raise_together, start_distributed
from peridot.labels.memory import memory_errors
from peridot.labels.parallel import progress, run_parallel
from peridot.labels.training_maps import training_set
from peridot.lidar_segments.clustering import SegmentRule, find_segments
from peridot.lidar_segments.pairs import ScanPair, load_points, pairs_of
from peridot.lidar_segments.previews import write_previews
from peridot.maps import SegmentFolder, write_manifest
from peridot.maps.lidar_segments import SegmentManifest, read_segment_manifest
from peridot.maps.manifest import MANIFEST, was_begun

HINT = 'free memory, or give fewer --workers'


def make_lidar_segments(
    config: Config,
    out: str,
    rule: SegmentRule,
    workers: int = 1,
    overwrite: bool = False,
    previews: int = 0,
    command: str = '',
) -> list[Path]:
    """Make the segments of all pairs of keyframes of a config's training set; torchrun's processes share the pairs.

    A pair is a keyframe and the first of the other keyframes that the `frames` of the dataset give it. Files that exist
    and belong to the points are kept, so that an interrupted run continues.

    Args:
        config: Pre-training config.
        out: Folder of the segments, relative to the data root.
        rule: How they are found.
        workers: Processes on this machine.
        overwrite: Replace a folder that was begun with other settings.
        previews: Number of figures to write.
        command: Command kept in the manifest, for error messages.

    Returns:
        The figures.

    Raises:
        PeridotError: Anything the user can fix.
    """
    dataset, root = training_set(config)
    load, (pairs, frames) = load_points(config, dataset), pairs_of(dataset)
    start_distributed()
    manifest = SegmentManifest(
        frames=frames,
        num_segments=rule.max_segments,
        parameters={name: value for name, value in asdict(rule).items() if name != 'max_segments'},
        version=f'scikit-learn {sklearn.__version__}',
        command=command,
    )
    # absolute, because a relative one lies below the root
    folder = SegmentFolder(disk_folder(root, out).absolute(), root, manifest)
    MMLogger.get_instance('peridot').info(f'{len(pairs)} pairs of scans -> {folder.folder}')
    with only_run(folder.folder):
        in_first_process(partial(_begin, folder, pairs, overwrite))
        made = _make_part(folder, load, rule, pairs, workers)
        in_first_process(partial(_complete, folder, len(pairs)))
    MMLogger.get_instance('peridot').info(
        f'{len(pairs)} pairs in {folder.folder}: {made} made, {len(pairs) - made} kept'
    )
    return write_previews(folder, load, pairs, previews)


def _begin(folder: SegmentFolder, pairs: list[ScanPair], overwrite: bool) -> None:
    """Put the manifest in place, or check that the existing one has the same settings."""
    if not overwrite and was_begun(folder.folder, folder.manifest, read_segment_manifest):
        return
    # without a manifest, files of an interrupted run cannot be taken for those of the new settings
    (folder.folder / MANIFEST).unlink(missing_ok=True)
    for pair in pairs if overwrite else ():
        folder.path_for(pair.scans[0]).unlink(missing_ok=True)
    write_manifest(folder.folder, folder.manifest)


def _make_part(folder: SegmentFolder, load: LoadPoints, rule: SegmentRule, pairs: list[ScanPair], workers: int) -> int:
    """Make this process's part of the pairs; returns how many all processes have made."""
    rank, world_size = dist.get_dist_info()
    own = pairs[rank::world_size]
    results = run_parallel(partial(_make_pair, folder, load, rule), own, workers)
    outcomes = list(progress(results, len(own), 'lidar segments', 'pairs'))
    raise_together([outcome for outcome in outcomes if isinstance(outcome, str)], len(pairs), 'pairs', 'segments')
    return sum(gather(sum(outcomes)))


def _make_pair(folder: SegmentFolder, load: LoadPoints, rule: SegmentRule, pair: ScanPair) -> bool | str:
    """Make the segments of a pair unless they are there; returns whether it did, or what went wrong."""
    try:
        with memory_errors(f'the pair of {pair.scans[0]}', HINT):
            clouds = pair.read(load)
            if is_done(folder, pair, clouds):
                return False
            folder.write(pair.scans, clouds, find_segments(pair.together(clouds), rule))
            return True
    except PeridotError as error:
        return str(error)


def is_done(folder: SegmentFolder, pair: ScanPair, clouds: list[np.ndarray]) -> bool:
    """Whether the segments of a pair exist and belong to its points."""
    if not folder.path_for(pair.scans[0]).is_file():
        return False
    try:
        folder.both(pair.scans, clouds)
        return True
    except DataError:
        return False


def _complete(folder: SegmentFolder, pairs: int) -> None:
    folder.manifest.pairs = pairs
    write_manifest(folder.folder, folder.manifest)
    for path in folder.folder.rglob('.*.part'):
        path.unlink()


def rule_of(options: Mapping) -> SegmentRule:
    """Rule of the settings of a command line.

    Raises:
        ConfigError: A setting is unknown or makes no sense.
    """
    unknown = sorted(set(options) - set(SegmentRule.__dataclass_fields__))
    if unknown:
        known = ', '.join(SegmentRule.__dataclass_fields__)
        raise ConfigError(f'--options {unknown[0]}: lidar segments have no such setting, but {known}')
    return SegmentRule(**options)

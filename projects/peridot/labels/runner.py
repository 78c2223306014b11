"""Makes the maps of a dataset: sharded over processes, resumable, atomic."""

import shutil
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from mmengine import dist
from mmengine.logging import MMLogger

from peridot.errors import DataError, PeridotError
from peridot.labels.distributed import gather, in_first_process, only_run, raise_together, warn_together
from peridot.labels.generator import LabelGenerator
from peridot.labels.job import MapJob
from peridot.labels.memory import memory_errors
from peridot.labels.parallel import progress, run_parallel
from peridot.maps import ImageSource, MapFolder, content_hash, write_manifest, write_map
from peridot.maps.folder import pixel_crc
from peridot.maps.manifest import FORMS, MANIFEST, RUNS_LAYOUT, was_begun


def make_maps(
    generator: LabelGenerator,
    job: MapJob,
    layout: str = RUNS_LAYOUT,
    overwrite: bool = False,
    command: str | None = None,
) -> MapFolder:
    """Make the maps of all images and their manifest.

    Maps that exist and are valid are kept, so that an interrupted run continues. Every process of a
    distributed run calls this with the same arguments and makes its part. An image that is damaged or needs too much
    memory does not stop the others: it is reported at the end, as are maps without any id or class.

    Args:
        generator: Makes the maps.
        job: Images and folders.
        layout: Path of a map below the folder, see `Manifest`; a folder that was begun keeps its own.
        overwrite: Replace a folder that was begun with other settings.
        command: Command kept in the manifest, for error messages.

    Returns:
        The finished folder.

    Raises:
        ConfigError: The folder was begun with other settings, or holds maps without a manifest.
        DataError: Another run makes maps in the folder, or some maps could not be made.
    """
    generator.open(job)
    with only_run(job.out):
        in_first_process(partial(begin_maps, generator, job, layout, overwrite, command))
        generator.prepare(job)
        parts = gather(_make_part(generator, job))
        made = sum(count for count, _ in parts)
        crcs = dict(ChainMap(*(own for _, own in parts)))
        in_first_process(partial(complete_maps, generator, job, crcs))
    MMLogger.get_current_instance().info(
        f'{len(job.images)} {generator.kind} maps in {job.out}: {made} made, {len(job.images) - made} kept'
    )
    return job.maps()


def _make_part(generator: LabelGenerator, job: MapJob) -> tuple[int, dict[Path, int]]:
    """Make this process's part of the maps.

    Returns:
        How many there were to make, and the checksum of each map by its file.

    Raises:
        DataError: Maps of some images could not be made, in this process or another one.
    """
    failures: list[str] = []
    empty: list[str] = []
    crcs: dict[Path, int] = {}
    made = 0
    maps = job.maps()
    rank, world_size = dist.get_dist_info()
    groups = generator.groups(job.images)[rank::world_size]
    images = [source for group in groups for source in group]
    results = run_parallel(partial(_make_group, generator, maps), groups, generator.workers(job.workers))
    results = progress(chain.from_iterable(results), len(images), generator.kind)
    # results first: they are asked for once more and end their workers, which otherwise wait
    for (failure, was_made, is_empty, crc), source in zip(results, images):
        made += was_made
        failures += [failure] if failure else []
        empty += [source.key] if is_empty else []
        crcs[maps.path_for(source.path, source.token)] = crc
    warn_together(empty, f'of {len(job.images)} {generator.kind} maps are empty: every pixel is ignored')
    raise_together(failures, len(job.images))
    return made, crcs


def _make_group(
    generator: LabelGenerator, maps: MapFolder, sources: Sequence[ImageSource]
) -> list[tuple[str | None, bool, bool, int | None]]:
    """Make the maps of a group of images unless valid ones are there.

    Returns:
        For each image what went wrong or None, whether its map was made, whether all of its pixels are ignored, and the
        `pixel_crc` of its map.
    """
    try:
        with memory_errors(f'image {sources[0].path}'):
            arrays = [valid_map(maps, source) for source in sources]
            missing = [array is None for array in arrays]
            if any(missing):
                arrays = generator.generate_group(sources)
                for source, array, is_missing in zip(sources, arrays, missing):
                    if is_missing:
                        _write(maps, source, array)
    except PeridotError as error:
        return [(str(error), False, False, None)] * len(sources)
    return [
        (None, is_missing, maps.ignore is not None and bool((array == maps.ignore).all()), pixel_crc(array))
        for array, is_missing in zip(arrays, missing)
    ]


def _write(maps: MapFolder, source: ImageSource, array: np.ndarray) -> None:
    path = maps.path_for(source.path, source.token)
    maps.check(path, array, source.size())
    write_map(path, array, 'uint16' if maps.manifest.kind == 'superpixels' or maps.manifest.limit > 256 else 'uint8')


def is_done(maps: MapFolder, source: ImageSource) -> bool:
    """Whether the map of an image exists and is valid."""
    return valid_map(maps, source) is not None


def valid_map(maps: MapFolder, source: ImageSource) -> np.ndarray | None:
    """Map of an image if it exists and is valid."""
    path = maps.path_for(source.path, source.token)
    if not path.is_file():
        return None
    size = source.size()
    try:
        return maps.read_file(path, size)
    except DataError:
        return None


def begin_maps(generator: LabelGenerator, job: MapJob, layout: str, overwrite: bool, command: str | None) -> None:
    """Put the manifest in place, or check that the existing one has the same settings."""
    manifest = generator.manifest(layout, command)
    if not overwrite and was_begun(job.out, manifest):
        return
    # the old manifest is removed first and the new one written last: an interruption leaves maps without a manifest,
    # which cannot be taken for maps of the new settings
    (job.out / MANIFEST).unlink(missing_ok=True)
    maps = MapFolder(job.out.absolute(), job.data_root, manifest=manifest)
    if overwrite:
        for source in job.images:
            for form in FORMS:
                maps.path_for(source.path, source.token).with_suffix(form).unlink(missing_ok=True)
    shutil.rmtree(job.work_dir, ignore_errors=True)
    write_manifest(job.out, manifest)


def complete_maps(generator: LabelGenerator, job: MapJob, crcs: Mapping[Path, int]) -> None:
    """Record the hash of all maps in the manifest, and clean up."""
    maps = job.maps()
    manifest = maps.manifest
    manifest.hash = content_hash(maps.folder, crcs)
    write_manifest(job.out, manifest)
    for path in job.out.rglob('.*.part'):
        path.unlink()
    generator.finish(job)

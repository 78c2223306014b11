"""Rewrites a folder of maps in another form: sharded over processes, resumable, atomic."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
from mmengine import dist
from mmengine.logging import MMLogger

from peridot.errors import DataError
from peridot.files import atomic_path
from peridot.labels.distributed import in_first_process, only_run, raise_together, start_distributed
from peridot.labels.parallel import progress, run_parallel
from peridot.maps import MapFolder, write_map
from peridot.maps.manifest import FORMS


def convert_maps(folder: str | os.PathLike, form: str, workers: int = 1) -> MapFolder:
    """Rewrite all maps of a folder in another form, together with the processes that torchrun started.

    All maps are written before the manifest names the new form, and old ones are removed after that: at any time the
    manifest names files that are complete. The same call continues after an interruption.

    Args:
        folder: Folder of maps with its manifest.
        form: Suffix of the files to write, one of `FORMS`.
        workers: Processes on this machine that work for this process.

    Returns:
        The folder in its new form.

    Raises:
        DataError: The folder has no manifest, another run works on it, or some maps are damaged: it keeps its form.
    """
    start_distributed()
    folder = MapFolder(Path(folder).absolute()).folder
    rank, world_size = dist.get_dist_info()
    with only_run(folder):
        # as the first process sees it: network file systems may show others an earlier state
        maps, paths = in_first_process(partial(_begin, folder, form))
        mine = paths[rank::world_size]
        results = run_parallel(partial(_convert, maps, form), mine, workers)
        results = progress(results, len(mine), maps.manifest.kind, unit='maps')
        raise_together([failure for failure in results if failure], len(paths))
        in_first_process(partial(_switch, maps, form))
    MMLogger.get_instance('peridot').info(
        f'{len(paths)} {maps.manifest.kind} maps in {maps.location} were rewritten as {form}'
    )
    return MapFolder(maps.location)


def _begin(folder: Path, form: str) -> tuple[MapFolder, list[Path]]:
    """A folder, and its maps that have another form."""
    maps = MapFolder(folder)
    suffix = Path(maps.manifest.layout).suffix
    return maps, _files(maps, suffix) if suffix != form else []


def _files(maps: MapFolder, suffix: str) -> list[Path]:
    """Maps whose names end in a suffix."""
    return sorted(maps.folder.rglob(f'[!.]*{suffix}'))


def _convert(maps: MapFolder, form: str, path: Path) -> str | None:
    """Write a map in another form unless it is there; returns what went wrong."""
    target = path.with_suffix(form)
    try:
        array = maps.read_file(path)
        if not _holds(maps, target, array):
            write_map(target, array, array.dtype)
    except DataError as error:
        return str(error)
    return None


def _holds(maps: MapFolder, path: Path, array: np.ndarray) -> bool:
    """Whether a file holds a map: one that was left from an earlier conversion may hold another."""
    try:
        return path.is_file() and np.array_equal(maps.read_file(path), array)
    except DataError:
        return False


def _switch(maps: MapFolder, form: str) -> None:
    """Name the new form in the manifest, whose other fields stay as their author wrote them; remove the old files."""
    path, layout = Path(maps.manifest_path), Path(maps.manifest.layout)
    if layout.suffix != form:
        absent = next((old for old in _files(maps, layout.suffix) if not old.with_suffix(form).is_file()), None)
        if absent:
            raise DataError(f'{absent} came while its folder was converted: run the same command again')
        values = {**json.loads(path.read_text()), 'layout': str(layout.with_suffix(form))}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(values, indent=2) + '\n')
    for suffix in {layout.suffix, *FORMS} - {form}:
        for old in _files(maps, suffix):
            if old.with_suffix(form).is_file():
                old.unlink()

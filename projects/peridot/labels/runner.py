"""Making maps for a whole dataset: sharded over processes, resumable, atomic."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from mmengine import dist
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from peridot.errors import ConfigError, DataError, PeridotError
from peridot.labels.generator import LabelGenerator
from peridot.labels.job import MapJob
from peridot.maps.folder import (
    DEFAULT_LAYOUT,
    MANIFEST,
    MapFolder,
    check_same_settings,
    content_hash,
    write_manifest,
    write_map,
)
from peridot.maps.images import ImageSource

# of many maps, a warning names the first
LISTED = 10


def make_maps(
    generator: LabelGenerator,
    job: MapJob,
    layout: str = DEFAULT_LAYOUT,
    overwrite: bool = False,
    command: str | None = None,
) -> MapFolder:
    """Make the maps of all images and their manifest.

    Valid maps that exist are kept, so that an interrupted run continues. Every process of a distributed run calls this
    with the same arguments and makes its part of them. A damaged image does not stop the others: it is reported at the
    end, as are maps without any id or class.

    Args:
        generator: Makes the maps.
        job: Images and folders.
        layout: Path of a map below the folder, see `Manifest`.
        overwrite: Replace a folder that was begun with other settings.
        command: Command kept in the manifest, for error messages.

    Returns:
        The finished folder.

    Raises:
        ConfigError: The folder was begun with other settings, or holds maps without a manifest.
        DataError: Maps of some images could not be made.
    """
    generator.open(job)
    in_first_process(partial(begin_maps, generator, job, layout, overwrite, command))
    generator.prepare(job)
    failures, empty, made = [], [], 0
    rank, world_size = dist.get_dist_info()
    groups = generator.groups(job.images)[rank::world_size]
    images = [source for group in groups for source in group]
    results = run_parallel(partial(_make_group, generator, job.maps()), groups, generator.workers(job.workers))
    results = progress(chain.from_iterable(results), len(images), generator.kind)
    for source, (failure, was_made, is_empty) in zip(images, results):
        made += was_made
        failures += [failure] if failure else []
        empty += [source.key] if is_empty else []
    warn_together(empty, f'of {len(job.images)} {generator.kind} maps are empty: every pixel is ignored')
    raise_together(failures, len(job.images))
    in_first_process(partial(complete_maps, generator, job))
    made = sum(dist.all_gather_object(made))
    MMLogger.get_current_instance().info(
        f'{len(job.images)} {generator.kind} maps in {job.out}: {made} made, {len(job.images) - made} kept'
    )
    return job.maps()


def run_parallel(task: Callable, items: Sequence, workers: int) -> Iterator:
    """Results of `task(item)` in the order of `items`, computed in `workers` processes.

    An error of a worker is raised here; leaving the loop early (an error, Ctrl-C) ends the workers.

    Args:
        task: Picklable function.
        items: Its arguments.
        workers: Number of processes; 0 or 1 works in this one.
    """
    if workers <= 1 or len(items) <= 1:
        yield from map(task, items)
        return
    # batch_size=None hands over each result as it is; numpy arrays travel through pipes, not shared memory
    yield from DataLoader(
        _Tasks(task, items),
        batch_size=None,
        num_workers=min(workers, len(items)),
        collate_fn=_unchanged,
        prefetch_factor=4,
        worker_init_fn=_single_thread,
    )


def write_previews(
    maps: MapFolder, job: MapJob, count: int, draw: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
) -> list[Path]:
    """Write overlays of `count` images, drawn from the dataset, to `<folder>/preview`, in the first process.

    Args:
        maps: The maps.
        job: Their images.
        count: How many, at most.
        draw: Picture (H, W, 3) of an image (H, W, 3) uint8 RGB and its map (H, W); by default that of the maps' kind.

    Returns:
        Files written (none in the other processes).
    """
    if count <= 0 or not dist.is_main_process():
        return []
    from peridot.visualization.maps import overlay

    draw = draw or partial(overlay, manifest=maps.manifest)
    written = []
    for number, index in enumerate(np.random.default_rng(0).permutation(len(job.images))[:count]):
        source = job.images[index]
        image = source.read()
        path = maps.folder / 'preview' / f'{number:03d}_{Path(source.path).stem}.jpg'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), draw(image, maps.read(source.path, image.shape[:2], source.token))[..., ::-1])
        written.append(path)
    return written


class _Tasks(Dataset):
    """Lets a DataLoader run a function over a list."""

    def __init__(self, task: Callable, items: Sequence) -> None:
        self.task, self.items = task, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.task(self.items[index])


def _unchanged(item):
    return item


def _single_thread(worker: int) -> None:
    cv2.setNumThreads(1)


def _make_group(
    generator: LabelGenerator, maps: MapFolder, sources: Sequence[ImageSource]
) -> list[tuple[str | None, bool, bool]]:
    """Make the maps of a group of images unless valid ones are there.

    Returns:
        For each image what went wrong or None, whether its map was made, whether all of its pixels are ignored.
    """
    try:
        arrays = [sound_map(maps, source) for source in sources]
        missing = [array is None for array in arrays]
        if any(missing):
            arrays = generator.generate_group(sources)
            for source, array, is_missing in zip(sources, arrays, missing):
                if is_missing:
                    _write(maps, source, array)
    except PeridotError as error:
        return [(str(error), False, False)] * len(sources)
    return [
        (None, is_missing, maps.ignore is not None and bool((array == maps.ignore).all()))
        for array, is_missing in zip(arrays, missing)
    ]


def _write(maps: MapFolder, source: ImageSource, array: np.ndarray) -> None:
    path = maps.path_for(source.path, source.token)
    maps.check(path, array, source.size())
    write_map(path, array, 'uint16' if maps.manifest.kind == 'superpixels' or maps.manifest.limit > 256 else 'uint8')


def is_done(maps: MapFolder, source: ImageSource) -> bool:
    """Whether the map of an image exists and is sound."""
    return sound_map(maps, source) is not None


def sound_map(maps: MapFolder, source: ImageSource) -> np.ndarray | None:
    """Map of an image if it exists and is sound."""
    path = maps.path_for(source.path, source.token)
    if not path.is_file():
        return None
    size = source.size()
    try:
        return maps.read_file(path, size)
    except DataError:
        return None


def begin_maps(generator: LabelGenerator, job: MapJob, layout: str, overwrite: bool, command: str | None) -> None:
    """Put the manifest in place, or check that the one there is of the same settings."""
    wanted = generator.manifest(layout, command)
    exists = (job.out / MANIFEST).is_file()
    if exists and not overwrite:
        check_same_settings(job.out, wanted)
        return
    if not overwrite and (found := next(job.out.rglob('*.png'), None)):
        raise ConfigError(
            f'{job.out} holds maps ({found.name}, ...) but no {MANIFEST}: write elsewhere with --out DIR or '
            'replace them with --overwrite'
        )
    # The old manifest goes first and the new one comes last: an interruption leaves maps without a manifest,
    # which nothing takes for maps of the new settings.
    (job.out / MANIFEST).unlink(missing_ok=True)
    maps = MapFolder(job.out.absolute(), job.data_root, manifest=wanted)
    for source in job.images:
        maps.path_for(source.path, source.token).unlink(missing_ok=True)
    shutil.rmtree(job.work_dir, ignore_errors=True)
    write_manifest(job.out, wanted)


def complete_maps(generator: LabelGenerator, job: MapJob) -> None:
    """Record the hash of all maps in the manifest."""
    maps = job.maps()
    manifest = maps.manifest
    manifest.hash = content_hash(job.out, (job.map_path(source) for source in job.images))
    write_manifest(job.out, manifest)
    for path in job.out.rglob('.*.part'):
        path.unlink()
    generator.finish(job)


def in_first_process(action: Callable[[], None]) -> None:
    """Run `action` in the first process while the others wait; its error is raised in all of them."""
    problem = [None]
    if dist.is_main_process():
        try:
            action()
        except PeridotError as error:
            problem = [error]
    dist.broadcast_object_list(problem)
    if problem[0] is not None:
        raise problem[0]


def raise_together(failures: list[str], total: int) -> None:
    """Raise one error in all processes if any of them had failures."""
    failures = [failure for part in dist.all_gather_object(failures) for failure in part]
    if failures:
        more = f' (and {len(failures) - 1} more of {total} images)' if len(failures) > 1 else ''
        raise DataError(f'{failures[0]}{more}; the other maps are done, the same command makes the rest')


def warn_together(items: list[str], what: str) -> None:
    """Log one warning, in the first process, with the number of items of all processes and the first of them."""
    items = sorted(item for part in dist.all_gather_object(items) for item in part)
    if items:
        more = ', ...' if len(items) > LISTED else ''
        MMLogger.get_current_instance().warning(f'{len(items)} {what}: {", ".join(items[:LISTED])}{more}')


def progress(results: Iterator, total: int, what: str) -> Iterator:
    """`results` with a progress bar and the time left, in the first process (its share stands for all)."""
    interval = 0.2 if sys.stderr.isatty() else 15.0
    hidden = not dist.is_main_process()
    return tqdm(results, total=total, desc=what, unit=' images', disable=hidden, mininterval=interval)

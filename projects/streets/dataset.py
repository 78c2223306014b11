"""Makes a synthetic dataset: keyframes in parallel, tables, info files; resumable and reproducible."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from pathlib import Path

from peridot.errors import ConfigError, DataError
from peridot.files import usable_cores
from tqdm import tqdm

from streets.formats import FORMATS, make_frames, record_path
from streets.frame import PARTIAL, Settings, write_atomic
from streets.taxonomy import SCENES

MANIFEST = 'synthetic.json'
IDENTITY = ('generator', 'scenes')  # what must be equal, beside the settings, for two datasets to be equal
GENERATOR = 2  # increment it when equal settings give other data


def make_dataset(
    root: str | os.PathLike,
    keyframes: int = 7,
    sweeps: int | None = None,
    image_size: tuple[int, int] | None = None,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    infos: bool = True,
    progress: bool = True,
    format: str = 'nuscenes',
) -> Path:
    """Make a dataset of ten streets in the layout of another dataset, with mmdet3d's info files.

    A folder that already holds the same dataset is left as it is; an interrupted one is completed.

    Args:
        root: Folder of the dataset.
        keyframes: Annotated frames per scene, 0.5 s apart.
        sweeps: Lidar sweeps before each keyframe (4 = 10 Hz, the default, 9 = 20 Hz); for nuScenes only.
        image_size: (height, width) of the images in pixels; by default (396, 704) for the six cameras of nuScenes and
            PandaSet, (375, 1242) for KITTI's one, (388, 512) for Argoverse 2, whose front camera stands upright.
        seed: Equal settings and seed give equal files.
        workers: Processes; by default one per core.
        overwrite: Replace a synthetic dataset with other settings.
        infos: Also write the info files (for kitti with the clouds cut to the image, for pandaset and argoverse2 with
            the clouds in the vehicle's frame).
        progress: Show a progress bar.
        format: 'nuscenes' (v1.0-mini with lidarseg) | 'semantickitti' | 'kitti' (object benchmark) | 'pandaset' |
            'argoverse2' (Sensor Dataset) | 'folder' (own recordings, docs/own_recording.md).

    Returns:
        The folder.

    Raises:
        ConfigError: A setting is out of range.
        DataError: The folder holds other data.
    """
    root = Path(root)
    if format not in FORMATS:
        raise ConfigError(f'format {format!r}: the synthetic streets can be written as {", ".join(FORMATS)}')
    sweeps = FORMATS[format].sweeps if sweeps is None else int(sweeps)
    height, width = image_size or FORMATS[format].image_size
    settings = Settings(int(seed), int(keyframes), sweeps, (int(height), int(width)), format)
    _check(settings)
    if not _prepare(root, settings, overwrite):
        _make_all(root, settings, workers or usable_cores(), progress)
    if infos and not all(path.is_file() for path in _info_files(root, format)):
        _create_infos(root, format)
    return root


def _info_files(root: Path, format: str) -> list[Path]:
    """The info files of a format."""
    return [root / name for name in FORMATS[format].infos]


def _create_infos(root: Path, format: str) -> None:
    """Write the info files of a format."""
    # importing mmdet3d and the devkits takes seconds, which a finished dataset should not cost
    from peridot.catalog import CONVERTERS

    CONVERTERS[format].load()(root, **FORMATS[format].options(root))


def read_settings(root: str | os.PathLike) -> Settings:
    """Read the settings of the synthetic dataset in a folder.

    Raises:
        DataError: `synthetic.json` is missing, damaged or of another version.
    """
    path = Path(root) / MANIFEST
    remake = f'make the dataset again with `python tools/make_demo_data.py --out {root} --overwrite` (and its --format)'
    try:
        content = json.loads(path.read_text())
        version, settings = content['generator'], _stored_settings(content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f'{path} cannot be read ({type(error).__name__}): {remake}') from None
    if version != f'streets {GENERATOR}':
        raise DataError(f'{path}: data of {version!r} cannot be rendered again by version {GENERATOR}: {remake}')
    return settings


def _stored_settings(manifest: dict) -> Settings:
    """The settings in a manifest."""
    values = manifest['settings']
    return Settings(**{**values, 'image_size': tuple(values['image_size'])})


def _check(settings: Settings) -> None:
    """Raise a ConfigError for a setting that is out of range."""
    if settings.keyframes < 1 or settings.keyframes > 40:
        raise ConfigError(f'keyframes={settings.keyframes}: a scene has 1 to 40 keyframes')
    if settings.sweeps < 0 or settings.sweeps > 9:
        raise ConfigError(f'sweeps={settings.sweeps}: 0 to 9 sweeps fit between keyframes (9 = 20 Hz)')
    if settings.sweeps and not FORMATS[settings.format].sweeps:
        raise ConfigError(f'sweeps={settings.sweeps}: {settings.format} has none between its keyframes')
    if min(settings.image_size) < 32 or settings.seed < 0:
        h, w = settings.image_size
        raise ConfigError(f'image_size={w}x{h}, seed={settings.seed}: images of at least 32 pixels, a seed >= 0')


def _manifest(settings: Settings, complete: bool) -> dict:
    """Content of `synthetic.json`."""
    return {
        'generator': f'streets {GENERATOR}',
        'settings': settings.as_dict(),
        'scenes': list(SCENES),
        'complete': complete,
    }


def _prepare(root: Path, settings: Settings, overwrite: bool) -> bool:
    """Whether the folder already holds this dataset; otherwise prepare it for making or completing it."""
    path = root / MANIFEST
    if path.is_file():
        try:
            found = json.loads(path.read_text())
            wanted = _manifest(settings, True)
            same = _stored_settings(found) == settings and all(found[key] == wanted[key] for key in IDENTITY)
        except (ValueError, TypeError, KeyError):
            found, same = {}, False
        if same:
            return bool(found.get('complete'))
        if not overwrite:
            raise DataError(f'{path}: made with {found.get("settings")}: choose another folder or pass --overwrite')
        _remove(root, found.get('settings', {}).get('format'))
    elif any((root / name).exists() for layout in FORMATS.values() for name in (*layout.products, PARTIAL)):
        raise DataError(f'{root} holds a dataset that is not synthetic: choose another folder with --out')
    write_atomic(path, json.dumps(_manifest(settings, False), indent=2).encode())
    return False


def _remove(root: Path, format: str | None) -> None:
    """Delete the dataset of a format and its object database, nothing else; the manifest goes last. None is any."""
    for name in [format] if format in FORMATS else FORMATS:
        products = (*FORMATS[name].products, f'{name}_gt_database', PARTIAL)
        for product in products:
            shutil.rmtree(root / product, ignore_errors=True)
        # links too, which rmtree leaves
        files = [path for path in (root / product for product in products) if path.is_file() or path.is_symlink()]
        for path in (*files, *_info_files(root, name), root / f'{name}_dbinfos_train.pkl'):
            path.unlink(missing_ok=True)
    (root / MANIFEST).unlink()


def _make_all(root: Path, settings: Settings, workers: int, progress: bool) -> None:
    """Make the keyframes that are missing, then what needs all of them."""
    todo = _chunks(root, settings, workers)
    total = len(SCENES) * settings.keyframes
    start = _finished(root)
    title = f'synthetic streets in {root}'
    with tqdm(total=total, initial=start, desc=title, unit='frame', disable=not progress) as bar:
        if workers == 1:
            for scene, frames in todo:
                for frame in frames:
                    make_frames(root, settings, scene, [frame])
                    _count(bar, root)
        elif todo:
            _make_parallel(root, settings, todo, workers, bar)
    records = [
        [json.loads(record_path(root, scene, frame).read_text()) for frame in range(settings.keyframes)]
        for scene in range(len(SCENES))
    ]
    FORMATS[settings.format].finish(root, settings, records)
    for path in _info_files(root, settings.format):
        path.unlink(missing_ok=True)
    write_atomic(root / MANIFEST, json.dumps(_manifest(settings, True), indent=2).encode())
    shutil.rmtree(root / PARTIAL)


def _chunks(root: Path, settings: Settings, workers: int) -> list[tuple[int, list[int]]]:
    """Unfinished frames as (scene, frames), so that all workers are busy and few have to build the same scene."""
    length = max(1, min(settings.keyframes, len(SCENES) * settings.keyframes // (workers * 4)))
    chunks = []
    for scene in range(len(SCENES)):
        frames = [f for f in range(settings.keyframes) if not record_path(root, scene, f).is_file()]
        chunks += [(scene, frames[i : i + length]) for i in range(0, len(frames), length)]
    return chunks


def _make_parallel(root: Path, settings: Settings, todo: list[tuple[int, list[int]]], workers: int, bar: tqdm) -> None:
    """Make frames in several processes."""
    # spawn: a forked copy of a process that already runs threads (torch, OpenCV) may hang
    context = multiprocessing.get_context('spawn')
    executor = ProcessPoolExecutor(min(workers, len(todo)), context, initializer=_die_with_parent)
    with _single_threaded_children(), executor as pool:
        pending: set[Future] = {pool.submit(make_frames, root, settings, scene, frames) for scene, frames in todo}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                _count(bar, root)
                for future in done:
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Let processes started here do linear algebra on one thread: idle BLAS threads spin and cost 40 % of the CPU."""
    names = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, '1'))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _die_with_parent() -> None:
    """End a worker when the main process is killed; otherwise it would wait for work forever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _finished(root: Path) -> int:
    """Number of finished frames."""
    return len(list((root / PARTIAL).glob('[0-9]*.json')))


def _count(bar: tqdm, root: Path) -> None:
    """Bring the progress bar up to date."""
    bar.update(_finished(root) - bar.n)

"""Makes the synthetic dataset: frames in parallel, tables, info files; resumable and repeatable."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from pathlib import Path

from tqdm import tqdm

from peridot.errors import ConfigError, DataError
from peridot.synthetic.frame import PARTIAL, VERSION, Settings, make_frames, record_path, write_atomic
from peridot.synthetic.tables import write_tables
from peridot.synthetic.taxonomy import SCENES

MANIFEST = 'synthetic.json'
GENERATOR = 1  # raise it when equal settings give other data
_PRODUCTS = ('samples', 'sweeps', 'lidarseg', 'maps', VERSION, PARTIAL)


def make_dataset(
    root: str | os.PathLike,
    keyframes: int = 7,
    sweeps: int = 4,
    image_size: tuple[int, int] = (396, 704),
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    infos: bool = True,
    progress: bool = True,
) -> Path:
    """Make a street dataset in nuScenes format (v1.0-mini, ten scenes) with mmdet3d's info files.

    A folder that already holds the same dataset is left as it is; an interrupted one is completed.

    Args:
        root: folder of the dataset.
        keyframes: annotated frames a scene, 0.5 s apart.
        sweeps: lidar sweeps before each keyframe (4 = 10 Hz, 9 = 20 Hz).
        image_size: (height, width) of the six cameras' images.
        seed: equal settings and seed give equal files.
        workers: processes, by default one for each core.
        overwrite: replace a synthetic dataset with other settings.
        infos: also write nuscenes_infos_{train,val}.pkl.
        progress: show a progress bar.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the folder holds other data.
    """
    root = Path(root)
    settings = Settings(int(seed), int(keyframes), int(sweeps), (int(image_size[0]), int(image_size[1])))
    _check(settings)
    if not _prepare(root, settings, overwrite):
        _make_all(root, settings, workers or _cores(), progress)
    if infos and not all((root / f'nuscenes_infos_{split}.pkl').is_file() for split in ('train', 'val')):
        from peridot.datasets.create_infos import create_nuscenes_infos

        create_nuscenes_infos(root, VERSION)
    return root


def read_settings(root: str | os.PathLike) -> Settings:
    """Settings of the synthetic dataset in a folder.

    Raises:
        DataError: `synthetic.json` is missing, damaged or of another version.
    """
    path = Path(root) / MANIFEST
    remake = f'make the dataset again with `python tools/make_demo_data.py --out {root} --overwrite`'
    try:
        content = json.loads(path.read_text())
        version, values = content['generator'], content['settings']
        settings = Settings(**{**values, 'image_size': tuple(values['image_size'])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f'{path} cannot be read ({type(error).__name__}): {remake}') from None
    if version != f'peridot.synthetic {GENERATOR}':
        raise DataError(f'{path}: data of {version!r} cannot be rendered again by version {GENERATOR}: {remake}')
    return settings


def _check(settings: Settings) -> None:
    if settings.keyframes < 1 or settings.keyframes > 40:
        raise ConfigError(f'keyframes={settings.keyframes}: a scene has 1 to 40 keyframes')
    if settings.sweeps < 0 or settings.sweeps > 9:
        raise ConfigError(f'sweeps={settings.sweeps}: 0 to 9 sweeps fit between keyframes (9 = 20 Hz)')
    if min(settings.image_size) < 32 or settings.seed < 0:
        h, w = settings.image_size
        raise ConfigError(f'image_size={w}x{h}, seed={settings.seed}: images of at least 32 pixels, a seed >= 0')


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _manifest(settings: Settings, complete: bool) -> dict:
    return {
        'generator': f'peridot.synthetic {GENERATOR}',
        'settings': settings.as_dict(),
        'scenes': list(SCENES),
        'complete': complete,
    }


def _prepare(root: Path, settings: Settings, overwrite: bool) -> bool:
    """Whether the folder already holds this dataset; otherwise get it ready for making or completing it."""
    path = root / MANIFEST
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = {}
        wanted = _manifest(settings, True)
        same = all(found.get(key) == wanted[key] for key in ('generator', 'settings', 'scenes'))
        if same:
            return bool(found.get('complete'))
        if not overwrite:
            raise DataError(f'{path}: made with {found.get("settings")}: choose another folder or pass --overwrite')
        _remove(root)
    elif any((root / name).exists() for name in _PRODUCTS):
        raise DataError(f'{root} holds a dataset that is not synthetic: choose another folder with --out')
    write_atomic(path, json.dumps(_manifest(settings, False), indent=2).encode())
    return False


def _remove(root: Path) -> None:
    """Delete what this module wrote, nothing else; the manifest goes last."""
    for name in _PRODUCTS:
        shutil.rmtree(root / name, ignore_errors=True)
    for split in ('train', 'val'):
        (root / f'nuscenes_infos_{split}.pkl').unlink(missing_ok=True)
    (root / MANIFEST).unlink()


def _make_all(root: Path, settings: Settings, workers: int, progress: bool) -> None:
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
    write_tables(root, settings, records)
    for split in ('train', 'val'):
        (root / f'nuscenes_infos_{split}.pkl').unlink(missing_ok=True)
    write_atomic(root / MANIFEST, json.dumps(_manifest(settings, True), indent=2).encode())
    shutil.rmtree(root / PARTIAL)


def _chunks(root: Path, settings: Settings, workers: int) -> list[tuple[int, list[int]]]:
    """Unfinished frames, cut so that all workers are busy and few of them have to build the same scene."""
    length = max(1, min(settings.keyframes, len(SCENES) * settings.keyframes // (workers * 4)))
    chunks = []
    for scene in range(len(SCENES)):
        frames = [f for f in range(settings.keyframes) if not record_path(root, scene, f).is_file()]
        chunks += [(scene, frames[i : i + length]) for i in range(0, len(frames), length)]
    return chunks


def _make_parallel(root: Path, settings: Settings, todo, workers: int, bar: tqdm) -> None:
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
def _single_threaded_children():
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
    """Let a worker end when the main process was killed; it would wait for work forever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _finished(root: Path) -> int:
    return len(list((root / PARTIAL).glob('[0-9]*.json')))


def _count(bar: tqdm, root: Path) -> None:
    bar.update(_finished(root) - bar.n)

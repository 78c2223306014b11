"""The program behind `tools/make_teacher_features.py`: a teacher's maps of all training images of a config."""

import argparse
import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from peridot.cli import add_config_arguments, load_config
from peridot.datasets.transforms import ResizeViews
from peridot.errors import ConfigError, DataError, PeridotError
from peridot.files import usable_cores
from peridot.labels.command import _values, own_command, start_distributed, without_pipeline
from peridot.labels.runner import in_first_process, progress, raise_together, run_parallel
from peridot.maps.folder import MANIFEST
from peridot.maps.images import ImageSource, images_of
from peridot.maps.teacher_features import (
    FeatureFolder,
    FeatureManifest,
    read_manifest,
    teacher_settings,
    write_manifest,
)
from peridot.registry import DATASETS, MODELS
from peridot.structures import ImageViews

GB = 1e9
RANDOM = ('peridot.RandomFlipViews', 'peridot.RandomResizedCropViews')


def make_features_command() -> None:
    """Parse the command line and make the maps.

    Raises:
        PeridotError: Anything the user can mend.
    """
    args = _parse_args()
    config = load_config(args)
    image_size = image_size_of(config)
    images = training_images(config)
    start_distributed()
    teacher, settings = build_teacher(config)
    manifest = FeatureManifest(
        teacher=teacher_settings(settings),
        weights_hash=weights_hash(teacher),
        image_size=list(image_size),
        shape=map_shape(teacher, image_size),
        command=own_command(),
    )
    folder = args.out or _folder_of(config) or default_folder(settings, image_size)
    folders = {root: FeatureFolder(folder, root, manifest=manifest) for root in images}
    in_first_process(partial(_begin, folders, images, args.overwrite, args.yes))
    for root, sources in images.items():
        make_features(teacher, folders[root], sources, args.batch_size, args.workers)


def make_features(
    teacher: nn.Module, folder: FeatureFolder, images: Sequence[ImageSource], batch_size: int = 8, workers: int = 0
) -> None:
    """Make the maps of all images that have none, each process of a distributed run its share.

    Args:
        teacher: Image network, on its device.
        folder: Where the maps go; its manifest is there already.
        images: All images, the same list in every process.
        batch_size: Images per pass of the network.
        workers: Processes that read images.

    Raises:
        DataError: Maps of some images could not be made; the others are done.
    """
    rank, world_size = dist.get_dist_info()
    wanted = [source for source in images[rank::world_size] if not folder.is_sound(source.path)]
    size, failures = tuple(folder.manifest.image_size), []
    read = run_parallel(partial(_read, size), wanted, workers)
    for batch in _batches(zip(wanted, progress(read, len(wanted), 'teacher features')), batch_size):
        failures += [item for _, item in batch if isinstance(item, str)]
        good = [(source, item) for source, item in batch if not isinstance(item, str)]
        failures += _write(teacher, folder, good) if good else []
    raise_together(failures, len(images))
    in_first_process(partial(_complete, folder, len(images)))
    made = sum(dist.all_gather_object(len(wanted)))
    MMLogger.get_instance('peridot').info(
        f'{len(images)} maps in {folder.folder}: {made} made, {len(images) - made} kept'
    )


def image_size_of(config: Config) -> tuple[int, int]:
    """The size that the training pipelines resize whole images to.

    Raises:
        ConfigError: They augment images, or resize them to no size or to several.
    """
    steps = list(_steps(_training_set(config)))
    random = next((step['type'] for step in steps if step['type'] in RANDOM), None)
    if random:
        raise ConfigError(
            f'{config.filename}: the training pipeline augments images with {random}, so that no map could be used '
            'twice: take it out (peridot.ResizeViews may stay), or train with the teacher itself'
        )
    sizes = {tuple(step['size']) for step in steps if step['type'] == 'peridot.ResizeViews'}
    if len(sizes) != 1:
        found = ', '.join(map(str, sorted(sizes))) or 'none'
        raise ConfigError(
            f'{config.filename}: teacher features need one size of peridot.ResizeViews in the training pipeline, '
            f'found {found}'
        )
    return sizes.pop()


def training_images(config: Config) -> dict[Path, list[ImageSource]]:
    """Camera images of the training set, each once, by the root of their dataset."""
    images = defaultdict(dict)
    for dataset in _parts(DATASETS.build(without_pipeline(_training_set(config)))):
        root = Path(os.path.normpath(dataset.data_root))
        images[root].update({source.path: source for source in images_of(dataset)})
    found = {root: list(sources.values()) for root, sources in images.items() if sources}
    if not found:
        raise ConfigError(f'the training set of {config.filename} has no camera images')
    return found


def build_teacher(config: Config) -> tuple[nn.Module, Mapping]:
    """The config's image network on this process's device, and its settings."""
    settings = config.model.get('teacher')
    if not settings:
        raise ConfigError(f'{config.filename} has no model.teacher: give a config of a pre-training with a teacher')
    if settings['type'] == 'peridot.StoredTeacher':
        settings = settings['teacher']
    device = torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else torch.device('cpu')
    return MODELS.build(settings).to(device).eval(), settings


def map_shape(teacher: nn.Module, image_size: tuple[int, int]) -> list[int]:
    """[C, h, w] of the map of an image."""
    device = next(teacher.parameters()).device
    return list(teacher(torch.zeros(1, 3, *image_size, dtype=torch.uint8, device=device)).shape[1:])


def weights_hash(network: nn.Module) -> str:
    """sha256 over the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted([*network.named_parameters(), *network.named_buffers()]):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f'sha256:{digest.hexdigest()}'


def default_folder(settings: Mapping, image_size: tuple[int, int]) -> str:
    """Folder below the data root, named after network and image size."""
    return f'teacher_features/{settings.get("model", settings["type"])}_{image_size[0]}x{image_size[1]}'


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the feature maps of the teacher for the training images of a config, in half precision. '
        'An interrupted run continues with the same command; under torchrun the processes share the images.'
    )
    add_config_arguments(parser)
    parser.add_argument(
        '--out',
        help='folder of the maps, relative to the data root (default: maps.teacher_features of the training set, '
        'else teacher_features/MODEL_HxW)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace maps made with other settings')
    parser.add_argument('--yes', action='store_true', help='begin even if the disk seems too small')
    parser.add_argument('--batch-size', type=int, default=8, help='images per pass of the network (default: 8)')
    local_processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    parser.add_argument(
        '--workers',
        type=int,
        default=max(1, usable_cores() // local_processes),
        help='processes that read images (default: the cores of this machine)',
    )
    return parser.parse_args()


def _training_set(config: Config):
    if 'train_dataloader' not in config:
        raise ConfigError(f'{config.filename} has no train_dataloader: give a pre-training config')
    return config.train_dataloader.dataset


def _steps(settings) -> Iterator[Mapping]:
    """Transforms of all pipelines in a dataset config."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from value if key == 'pipeline' else _steps(value)
    elif isinstance(settings, (list, tuple)):
        for item in settings:
            yield from _steps(item)


def _folder_of(config: Config) -> str | None:
    """The folder that the training set reads."""
    named = _values(_training_set(config), 'maps')
    folders = [maps['teacher_features'] for maps in named if 'teacher_features' in maps]
    return next((item if isinstance(item, str) else item['folder'] for item in folders), None)


def _parts(dataset) -> list:
    """The datasets that read info files, inside wrappers with `datasets` or `dataset`."""
    if hasattr(dataset, 'datasets'):
        return [part for item in dataset.datasets for part in _parts(item)]
    if hasattr(dataset, 'dataset') and not isinstance(dataset.dataset, (str, type(None))):
        return _parts(dataset.dataset)
    return [dataset]


def _begin(folders: dict, images: dict, overwrite: bool, yes: bool) -> None:
    """Compare need and free space, then put the manifests in place."""
    for root, folder in folders.items():
        if not overwrite:
            _check_same(folder)
        _check_space(folder, images[root], overwrite, yes)
    for root, folder in folders.items():
        if overwrite:
            # the manifest goes first: without it, nothing takes old maps for new ones
            (folder.folder / MANIFEST).unlink(missing_ok=True)
            for source in images[root]:
                folder.path_for(source.path).unlink(missing_ok=True)
        write_manifest(folder.folder, folder.manifest)


def _check_same(folder: FeatureFolder) -> None:
    """Refuse to continue a folder that was begun with other settings."""
    path = folder.folder / MANIFEST
    if not path.is_file():
        if found := next(folder.folder.rglob('*.npy'), None):
            raise ConfigError(
                f'{folder.folder} holds maps ({found.name}, ...) but no {MANIFEST}: write elsewhere with --out DIR or '
                'replace them with --overwrite'
            )
        return
    found, wanted = read_manifest(folder.folder), folder.manifest
    pairs = [(key, found.teacher.get(key), value) for key, value in wanted.teacher.items()]
    pairs += [
        (key, getattr(found, key), getattr(wanted, key)) for key in ('weights_hash', 'image_size', 'resize', 'shape')
    ]
    for name, old, new in pairs:
        if old != new:
            raise ConfigError(
                f'{path}: the maps there were made with {name}={old!r}, now it is {new!r}: write elsewhere with '
                '--out DIR or replace them with --overwrite'
            )


def _check_space(folder: FeatureFolder, images: Sequence[ImageSource], overwrite: bool, yes: bool) -> None:
    """Say how much will be written, and refuse what the disk does not hold."""
    size = folder.manifest.file_size
    done = 0 if overwrite else sum(folder.is_sound(source.path) for source in images)
    need = (len(images) - done) * size
    place = next(path for path in (folder.folder.absolute(), *folder.folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    shape = 'x'.join(map(str, folder.manifest.shape))
    print(
        f'{folder.folder}: {len(images)} maps of {shape} in half precision, {size / 1e6:.2f} MB each; {done} are '
        f'there, the others take {need / GB:.2f} GB of {free / GB:.2f} GB free'
    )
    if need > free and not yes:
        raise ConfigError(
            f'{folder.folder}: the maps take {need / GB:.2f} GB, but {free / GB:.2f} GB are free: free some, choose '
            'another disk with --out DIR, or begin all the same with --yes'
        )


def _complete(folder: FeatureFolder, images: int) -> None:
    folder.manifest.images = images
    write_manifest(folder.folder, folder.manifest)
    for path in folder.folder.rglob('.*.part'):
        path.unlink()


def _read(size: tuple[int, int], source: ImageSource) -> np.ndarray | str:
    """(3, H, W) uint8 as the training pipeline makes it, or what is wrong with the file."""
    try:
        views = ImageViews.from_files([source.path])
        return ResizeViews(size).transform({'views': views})['views'].decode()[0]
    except PeridotError as error:
        return str(error)


def _write(teacher: nn.Module, folder: FeatureFolder, batch: list[tuple[ImageSource, np.ndarray]]) -> list[str]:
    """Run the network on a batch and write its maps; returns what went wrong."""
    device = next(teacher.parameters()).device
    images = torch.from_numpy(np.stack([image for _, image in batch])).to(device)
    maps = teacher(images).permute(0, 2, 3, 1).float().cpu().numpy()
    failures = []
    for (source, _), values in zip(batch, maps):
        try:
            folder.write(source.path, values)
        except DataError as error:
            failures.append(str(error))
    return failures


def _batches(items: Iterator, size: int) -> Iterator[list]:
    while batch := list(islice(items, size)):
        yield batch

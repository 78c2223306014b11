"""Feature maps of all training images of a config, made by its teacher."""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice

import numpy as np
import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from peridot.datasets.transforms import ResizeViews
from peridot.errors import ConfigError, DataError, PeridotError
from peridot.files import disk_folder, normalized
from peridot.labels.distributed import gather, in_first_process, only_run, raise_together, start_distributed
from peridot.labels.memory import memory_errors
from peridot.labels.parallel import progress, run_parallel
from peridot.labels.training_maps import images_only, training_settings
from peridot.maps import FeatureFolder, ImageSource, images_of, write_manifest
from peridot.maps.manifest import MANIFEST, was_begun
from peridot.maps.teacher_features import FeatureManifest, read_feature_manifest, teacher_settings
from peridot.registry import DATASETS, MODELS
from peridot.structures import ImageViews
from peridot.walk import dicts_of, innermost

GB = 1e9
RANDOM = ('peridot.RandomFlipViews', 'peridot.RandomResizedCropViews')


def make_teacher_features(
    config: Config,
    out: str | None = None,
    batch_size: int = 8,
    workers: int = 0,
    overwrite: bool = False,
    ignore_space: bool = False,
    command: str = '',
) -> None:
    """Make the maps of all training images of a config; torchrun's processes share the images.

    Args:
        config: Pre-training config with a teacher.
        out: Folder of the maps, relative to the data root; by default `maps.teacher_features` of the training set,
            else one named after network and image size.
        batch_size: Images per pass of the network.
        workers: Processes that read images.
        overwrite: Replace a folder that was begun with other settings.
        ignore_space: Begin even if the disk seems too small.
        command: Command kept in the manifest, for error messages.

    Raises:
        PeridotError: Anything the user can fix.
    """
    image_size = image_size_of(config)
    images = training_images(config)
    start_distributed()
    teacher, settings = build_teacher(config)
    manifest = FeatureManifest(
        teacher=teacher_settings(settings),
        weights_hash=weights_hash(teacher),
        image_size=list(image_size),
        shape=map_shape(teacher, image_size),
        command=command,
    )
    folder = out or _folder_of(config) or default_folder(settings, image_size)
    # absolute, because a relative one lies below the root
    places = {root: disk_folder(root, folder).absolute() for root in images}
    folders = {root: FeatureFolder(place, root, manifest=manifest) for root, place in places.items()}
    in_first_process(partial(_check, folders, images, overwrite, ignore_space))
    with ExitStack() as held:
        for item in folders.values():
            held.enter_context(only_run(item.folder))
        in_first_process(partial(_begin, folders, images, overwrite))
        for root, sources in images.items():
            make_features(teacher, folders[root], sources, batch_size, workers)


def make_features(
    teacher: nn.Module, folder: FeatureFolder, images: Sequence[ImageSource], batch_size: int = 8, workers: int = 0
) -> None:
    """Make the maps of all images that have none, each process of a distributed run its part.

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
    missing = [source for source in images[rank::world_size] if not folder.is_valid(source.path)]
    size, failures = tuple(folder.manifest.image_size), []
    read = run_parallel(partial(_read, size), missing, workers)
    # results first: they are asked for once more and end their workers, which otherwise wait
    pairs = ((source, item) for item, source in zip(progress(read, len(missing), 'teacher features'), missing))
    for batch in _batches(pairs, batch_size):
        failures += [item for _, item in batch if isinstance(item, str)]
        good = [(source, item) for source, item in batch if not isinstance(item, str)]
        failures += _write(teacher, folder, good) if good else []
    raise_together(failures, len(images))
    in_first_process(partial(_complete, folder, len(images)))
    made = sum(gather(len(missing)))
    MMLogger.get_instance('peridot').info(
        f'{len(images)} maps in {folder.folder}: {made} made, {len(images) - made} kept'
    )


def image_size_of(config: Config) -> tuple[int, int]:
    """Size that the training pipelines resize full images to.

    Raises:
        ConfigError: They augment images, or do not resize them to exactly one size.
    """
    steps = list(_steps(config))
    random = next((step['type'] for step in steps if step['type'] in RANDOM), None)
    if random:
        raise ConfigError(
            f'{config.filename}: the training pipeline augments images with {random}, so that no map could be used '
            'twice: remove it (peridot.ResizeViews may stay), or train with the teacher itself'
        )
    sizes = {tuple(step['size']) for step in steps if step['type'] == 'peridot.ResizeViews'}
    if len(sizes) != 1:
        found = ', '.join(map(str, sorted(sizes))) or 'none'
        raise ConfigError(
            f'{config.filename}: teacher features need one size of peridot.ResizeViews in the training pipeline, '
            f'found {found}'
        )
    return sizes.pop()


def training_images(config: Config) -> dict[str, list[ImageSource]]:
    """Camera images of the training set, each once, by the root of their dataset."""
    images = defaultdict(dict)
    for dataset in innermost(DATASETS.build(images_only(training_settings(config)))):
        root = normalized(dataset.data_root)
        images[root].update({source.path: source for source in images_of(dataset)})
    found = {root: list(sources.values()) for root, sources in images.items() if sources}
    if not found:
        raise ConfigError(f'the training set of {config.filename} has no camera images')
    return found


def build_teacher(config: Config) -> tuple[nn.Module, Mapping]:
    """The config's image network on this process's device, and its settings."""
    settings = config.model.get('teacher')
    if not settings:
        raise ConfigError(f'{config.filename} has no model.teacher: give a pre-training config with a teacher')
    if settings['type'] == 'peridot.StoredTeacher':
        settings = settings['teacher']
    if settings.get('out_indices') or settings.get('class_token'):
        raise ConfigError(
            f'{config.filename}: several layers and class tokens are not stored: train with the teacher itself, or '
            'take model.teacher.out_indices and class_token out, and the heads that read them'
        )
    device = torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else torch.device('cpu')
    # stored once for all trainings, whatever the precision of theirs
    exact = {name: value for name, value in settings.items() if name != 'dtype'}
    return MODELS.build(exact).to(device).eval(), settings


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


def _steps(config: Config) -> Iterator[Mapping]:
    """Transforms of all pipelines of the training set."""
    for part in dicts_of(training_settings(config)):
        yield from part.get('pipeline', [])


def _folder_of(config: Config) -> str | None:
    """The folder that the training set reads."""
    named = [part.get('maps', {}).get('teacher_features') for part in dicts_of(training_settings(config))]
    return next((item if isinstance(item, str) else item['folder'] for item in named if item), None)


def _check(folders: dict, images: dict, overwrite: bool, ignore_space: bool) -> None:
    """Refuse folders of other settings, and disks that are too small, before anything is written."""
    for root, folder in folders.items():
        if not overwrite:
            was_begun(folder.folder, folder.manifest, read_feature_manifest)
        _check_space(folder, images[root], overwrite, ignore_space)


def _begin(folders: dict, images: dict, overwrite: bool) -> None:
    """Put the manifests in place."""
    for root, folder in folders.items():
        if overwrite:
            # the manifest is removed first: without it, old maps cannot be taken for new ones
            (folder.folder / MANIFEST).unlink(missing_ok=True)
            for source in images[root]:
                folder.path_for(source.path).unlink(missing_ok=True)
        else:
            # another run may have begun since the check
            was_begun(folder.folder, folder.manifest, read_feature_manifest)
        write_manifest(folder.folder, folder.manifest)


def _check_space(folder: FeatureFolder, images: Sequence[ImageSource], overwrite: bool, ignore_space: bool) -> None:
    """Print how much will be written, and refuse more than the disk holds."""
    size = folder.manifest.file_size
    done = 0 if overwrite else sum(folder.is_valid(source.path) for source in images)
    need = (len(images) - done) * size
    existing = next(path for path in (folder.folder.absolute(), *folder.folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    shape = 'x'.join(map(str, folder.manifest.shape))
    print(
        f'{folder.folder}: {len(images)} maps of {shape} in half precision, {size / 1e6:.2f} MB each; {done} exist, '
        f'the others take {need / GB:.2f} GB of {free / GB:.2f} GB free'
    )
    if need > free and not ignore_space:
        raise ConfigError(
            f'{folder.folder}: the maps take {need / GB:.2f} GB, but {free / GB:.2f} GB are free: free some, choose '
            'another disk with --out DIR, or start anyway with --yes'
        )


def _complete(folder: FeatureFolder, images: int) -> None:
    folder.manifest.images = images
    write_manifest(folder.folder, folder.manifest)
    for path in folder.folder.rglob('.*.part'):
        path.unlink()


def _read(size: tuple[int, int], source: ImageSource) -> np.ndarray | str:
    """Image uint8 (3, H, W) as the training pipeline makes it, or what is wrong with the file."""
    try:
        with memory_errors(f'image {source.path}'):
            views = ImageViews.from_files([source.path])
            return ResizeViews(size).transform({'views': views})['views'].decode()[0]
    except PeridotError as error:
        return str(error)


def _write(teacher: nn.Module, folder: FeatureFolder, batch: list[tuple[ImageSource, np.ndarray]]) -> list[str]:
    """Run the network on a batch and write its maps; returns what went wrong."""
    try:
        with memory_errors(f'image {batch[0][0].path}', 'give a smaller --batch-size, or free memory'):
            maps = _maps(teacher, [image for _, image in batch])
            for (source, _), values in zip(batch, maps):
                folder.write(source.path, values)
            return []
    except DataError as error:
        failure = str(error)
    # which image it was is known when each is alone
    return [failure] if len(batch) == 1 else [text for item in batch for text in _write(teacher, folder, [item])]


def _maps(teacher: nn.Module, images: list[np.ndarray]) -> np.ndarray:
    """Features float32 (M, h, w, C) of images uint8 (3, H, W)."""
    batch = torch.from_numpy(np.stack(images)).to(next(teacher.parameters()).device)
    return teacher(batch).permute(0, 2, 3, 1).float().cpu().numpy()


def _batches(items: Iterator, size: int) -> Iterator[list]:
    while batch := list(islice(items, size)):
        yield batch

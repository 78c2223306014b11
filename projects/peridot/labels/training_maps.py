"""Makes maps for the training images of a config."""

from argparse import Namespace
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch.utils.data import Dataset

from peridot.cli import own_command
from peridot.errors import ConfigError
from peridot.files import disk_folder, normalized
from peridot.labels.distributed import start_distributed
from peridot.labels.generator import LabelGenerator, build_generator
from peridot.labels.job import MapJob
from peridot.labels.previews import write_previews
from peridot.labels.runner import make_maps
from peridot.maps import images_of
from peridot.registry import DATASETS
from peridot.walk import dicts_of


def make_maps_of_config(kind: str, args: Namespace, config: Config) -> None:
    """Make maps for the training images of a config and print the overlays; torchrun's processes share the images.

    Args:
        kind: 'superpixels' or 'labels'.
        args: Those of `peridot.cli.parse_map_arguments`.
        config: The config that they name.

    Raises:
        PeridotError: Anything the user can fix.
    """
    generator = build_generator(kind, args.generator, args.options, config)
    dataset, data_root = training_set(config)
    job = MapJob(images_of(dataset), Path(data_root), disk_folder(data_root, args.out), args.workers)
    for path in make_and_preview(generator, job, args.overwrite, args.preview, own_command()):
        print(path)


def make_and_preview(
    generator: LabelGenerator,
    job: MapJob,
    overwrite: bool = False,
    previews: int = 0,
    command: str | None = None,
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> list[Path]:
    """Make the maps of a job, together with the processes that torchrun started, and the overlays asked for.

    Args:
        generator: Makes the maps.
        job: Images and folders.
        overwrite: Replace a folder that was begun with other settings.
        previews: Number of overlays to write.
        command: Command kept in the manifest, for error messages.
        draw: Overlay of an image and its map, see `write_previews`.

    Returns:
        The overlays.

    Raises:
        PeridotError: There are no images, or maps cannot be made.
    """
    start_distributed()
    if not job.images:
        raise ConfigError('the training set of the config has no camera images')
    name = type(generator).registered_name()
    MMLogger.get_instance('peridot').info(f'{len(job.images)} images, {name} -> {job.out}')
    maps = make_maps(generator, job, overwrite=overwrite, command=command)
    return write_previews(maps, job, previews, draw)


def training_set(config: Config) -> tuple[Dataset, str]:
    """Training dataset without its pipeline, and the data root.

    Raises:
        ConfigError: The config has no training set, or one with several data roots.
    """
    settings = training_settings(config)
    dataset = DATASETS.build(images_only(settings))
    roots = {normalized(part['data_root']) for part in dicts_of(settings) if part.get('data_root')}
    if len(roots) != 1:
        raise ConfigError(
            f'the training set has {len(roots)} data roots, maps belong to one: give the config of one dataset'
        )
    return dataset, roots.pop()


def training_settings(config: Config) -> dict:
    """Config of the training dataset.

    Raises:
        ConfigError: There is none.
    """
    if 'train_dataloader' not in config:
        raise ConfigError(f'{config.filename} has no train_dataloader to take images from: give a training config')
    return config.train_dataloader.dataset


def images_only(settings: dict) -> dict:
    """A copy of a dataset config without transforms, and without maps, which may not exist yet."""
    settings = deepcopy(settings)
    for part in dicts_of(settings):
        if 'pipeline' in part:
            part['pipeline'] = []
            part.pop('maps', None)
    return settings

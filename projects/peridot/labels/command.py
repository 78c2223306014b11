"""What the programs in `tools/` share that make maps of a config's training images."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine import dist
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger

from peridot.cli import add_config_arguments, load_config
from peridot.errors import ConfigError
from peridot.files import usable_cores
from peridot.labels.generator import LabelGenerator
from peridot.labels.job import MapJob
from peridot.labels.runner import make_maps, write_previews
from peridot.maps.images import images_of
from peridot.registry import DATASETS, LABEL_GENERATORS

FOLDERS = {'superpixels': 'superpixels', 'labels': 'weak_labels'}


def make_maps_command(kind: str, default_generator: str) -> None:
    """Parse the command line and make maps for the training images of a config.

    Args:
        kind: 'superpixels' or 'labels'.
        default_generator: Name of the generator when none is given.

    Raises:
        PeridotError: Anything the user can fix.
    """
    args = _parse_args(kind, default_generator)
    config = load_config(args)
    dataset, data_root = training_set(config)
    generator = build_generator(kind, args.generator, args.options or {}, config)
    out = data_root / (args.out or f'{FOLDERS[kind]}/{args.generator}')
    make_and_preview(generator, MapJob(images_of(dataset), data_root, out, args.workers), args)


def make_and_preview(
    generator: LabelGenerator,
    job: MapJob,
    args: argparse.Namespace,
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> None:
    """Make the maps of a job, together with the processes that torchrun started, and the overlays asked for.

    Args:
        generator: Makes the maps.
        job: Images and folders.
        args: Those of `add_map_arguments`.
        draw: Overlay of an image and its map, see `write_previews`.

    Raises:
        PeridotError: There are no images, or maps cannot be made.
    """
    start_distributed()
    if not job.images:
        raise ConfigError(f'the training set of {args.config} has no camera images')
    logger = MMLogger.get_instance('peridot')
    logger.info(f'{len(job.images)} images, {generator.registered_name()} -> {job.out}')
    maps = make_maps(generator, job, overwrite=args.overwrite, command=own_command())
    for path in write_previews(maps, job, args.preview, draw):
        print(path)


def build_generator(kind: str, name: str, options: dict, config: Config) -> LabelGenerator:
    """Generator by its registered name, with what the config says and `options` over it.

    Raises:
        ConfigError: No generator of that kind has the name, or it does not take an option.
    """
    LABEL_GENERATORS.import_from_location()
    # a name that both kinds have is registered as kind/name
    known = {
        key.removeprefix(f'{kind}/'): item for key, item in LABEL_GENERATORS.module_dict.items() if item.kind == kind
    }
    if name not in known:
        raise ConfigError(f'no generator of {kind} is called {name!r}: choose from {", ".join(sorted(known))}')
    try:
        return known[name](**{**known[name].settings_from_config(config), **options})
    except (TypeError, ValueError) as error:
        raise ConfigError(f'--options of {name}: {str(error).split("() ")[-1]}') from None


def _parse_args(kind: str, default_generator: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f'Make {FOLDERS[kind].replace("_", " ")} for the training images of a config. '
        'An interrupted run continues with the same command; under torchrun the processes share the images.'
    )
    add_map_arguments(parser, f'{FOLDERS[kind]}/GENERATOR')
    parser.add_argument('--generator', default=default_generator, help=f'default: {default_generator}')
    parser.add_argument('--options', nargs='+', action=DictAction, help='settings of the generator, as key=value')
    return parser.parse_args()


def add_map_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """Arguments of every program that makes maps.

    Args:
        parser: Gets them.
        folder: Where the maps go without `--out`, for the help.
    """
    add_config_arguments(parser)
    parser.add_argument('--out', help=f'folder of the maps, relative to the data root (default: {folder})')
    parser.add_argument('--overwrite', action='store_true', help='replace maps made with other settings')
    parser.add_argument('--preview', type=int, default=0, metavar='N', help='write N overlays to look at')
    local_processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    parser.add_argument(
        '--workers',
        type=int,
        default=max(1, usable_cores() // local_processes),
        help='worker processes (default: the cores of this machine)',
    )


def training_set(config: Config) -> tuple:
    """Training dataset without its pipeline and its maps, which need not exist, and the data root."""
    if 'train_dataloader' not in config:
        raise ConfigError('the config has no train_dataloader, whose images are wanted: give a pre-training config')
    settings = config.train_dataloader.dataset
    dataset = DATASETS.build(without_pipeline(settings))
    roots = {os.path.normpath(root) for root in _values(settings, 'data_root') if root}
    if len(roots) != 1:
        raise ConfigError(
            f'the training set has {len(roots)} data roots, maps belong to one: give the config of one dataset'
        )
    return dataset, Path(roots.pop())


def without_pipeline(settings):
    """The same dataset config, but no dataset in it transforms anything or has maps."""
    if isinstance(settings, dict):
        empty = {'pipeline': [], 'maps': {}}
        return {key: empty[key] if key in empty else without_pipeline(value) for key, value in settings.items()}
    return [without_pipeline(item) for item in settings] if isinstance(settings, list) else settings


def _values(settings, key: str) -> list:
    """All values of a key in nested settings."""
    if isinstance(settings, dict):
        own = [settings[key]] if key in settings else []
        return own + [found for value in settings.values() for found in _values(value, key)]
    return [found for item in settings for found in _values(item, key)] if isinstance(settings, list) else []


def start_distributed() -> None:
    """Join the other processes if torchrun started this one."""
    if int(os.environ.get('WORLD_SIZE', 1)) > 1 and not dist.is_distributed():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
        # only small python objects are exchanged
        torch.distributed.init_process_group('gloo')


def own_command() -> str:
    """This command line, without options that do not belong to making a missing map again."""
    words = [word for word in sys.argv if word not in ('--overwrite', '--yes')]
    return shlex.join(['python', *words])

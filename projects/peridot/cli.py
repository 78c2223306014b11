"""Command lines, configs and error messages of the programs in `tools/`."""

import argparse
import errno
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmengine import dist
from mmengine.config import Config, ConfigDict, DictAction

from peridot.errors import ConfigError, DataError, PeridotError
from peridot.files import usable_cores
from peridot.optional import install_command
from peridot.registry import DATASETS
from peridot.walk import dicts_of


def run(main: Callable[[], None]) -> None:
    """Call `main`; an error the user can fix ends as one line on stderr and exit status 1."""
    try:
        main()
        _leave_process_group()
    except PeridotError as error:
        sys.exit(f'error: {last_line(error)}')
    except OSError as error:
        # other system errors are bugs of ours and keep their traceback
        if error.errno not in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f'error: {error.filename or "a file"}: {os.strerror(error.errno)}: fix that, or choose another folder')
    except KeyboardInterrupt:
        sys.exit('interrupted; the same command (for tools/train.py with --resume) continues where it stopped')


def _leave_process_group() -> None:
    """Let processes that torchrun started end together: one whose peers are gone may abort while it ends."""
    if dist.is_distributed():
        dist.barrier()
        torch.distributed.destroy_process_group()


def last_line(error: BaseException) -> str:
    """Message of an error; a data loader's worker wraps it in a traceback whose last line is the message."""
    line = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return line.split('Error: ', 1)[1] if line.startswith('peridot.errors.') else line


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every program that starts from a config."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--data-root', help='folder of the data, for every dataset of the config; OLD=NEW,... for several'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings to override, as key=value')


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the programs that build a Runner."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torch.distributed.launch passes it; mmengine reads the environment variable
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_worker_arguments(parser: argparse.ArgumentParser, what: str = 'worker processes') -> None:
    """Add `--workers`, by default the cores of this machine, divided among torchrun's processes."""
    local_processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    parser.add_argument(
        '--workers',
        type=int,
        default=max(1, usable_cores() // local_processes),
        help=f'{what} (default: the cores of this machine)',
    )


def parse_map_arguments(kind: str, generator: str) -> argparse.Namespace:
    """Parse the arguments of the programs that make maps for the training images of a config.

    Args:
        kind: 'superpixels' or 'labels'.
        generator: Name of the generator when none is given.
    """
    folder = {'superpixels': 'superpixels', 'labels': 'weak_labels'}[kind]
    parser = argparse.ArgumentParser(
        description=f'Make {folder.replace("_", " ")} for the training images of a config. '
        'An interrupted run continues with the same command; under torchrun the processes share the images.'
    )
    add_map_arguments(parser, f'{folder}/GENERATOR')
    parser.add_argument('--generator', default=generator, help=f'default: {generator}')
    parser.add_argument('--options', nargs='+', action=DictAction, help='settings of the generator, as key=value')
    args = parser.parse_args()
    args.out = args.out or f'{folder}/{args.generator}'
    return args


def add_map_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add the arguments of every program that makes maps for the training images of a config.

    Args:
        parser: Parser to add them to.
        folder: Default folder of the maps, for the help.
    """
    add_config_arguments(parser)
    parser.add_argument('--out', help=f'folder of the maps, relative to the data root (default: {folder})')
    parser.add_argument('--overwrite', action='store_true', help='replace maps made with other settings')
    parser.add_argument('--preview', type=int, default=0, metavar='N', help='write N overlays for inspection')
    add_worker_arguments(parser)


def own_command() -> str:
    """This command line, without options that are not needed to make a missing map again."""
    words = [word for word in sys.argv if word not in ('--overwrite', '--yes')]
    return shlex.join(['python', *words])


def load_config(args: argparse.Namespace) -> Config:
    """Config of the parsed arguments, with `--data-root` and `--cfg-options` applied.

    Raises:
        ConfigError: The file is absent, or inherits from mmsegmentation, which is not installed.
    """
    if not Path(args.config).is_file():
        raise ConfigError(f'config {args.config} not found: see configs/ for those of the project')
    try:
        config = Config.fromfile(args.config)
    except ModuleNotFoundError as error:
        # mmengine's error where a config inherits from a package that is not installed
        if 'mmsegmentation' not in str(error):
            raise
        raise ConfigError(
            f'{args.config} needs mmsegmentation, which is optional: {install_command("mmseg")}'
        ) from None
    if args.data_root:
        set_data_root(config, args.data_root)
    if args.cfg_options:
        config.merge_from_dict(args.cfg_options)
    return config


def config_name(path: str | Path) -> str:
    """Name of a config for work directories and tables: its path below configs/KIND/, with `_` for `/`.

    configs/pretrain/olivine_nus.py -> olivine_nus, configs/finetune/minkunet34_nus/1pct.py -> minkunet34_nus_1pct;
    a file outside a folder `configs` keeps its own name.
    """
    path = Path(path).resolve().with_suffix('')
    folders = path.parts[:-1]
    if 'configs' not in folders:
        return path.name
    kind = len(folders) - folders[::-1].index('configs')
    return '_'.join([*folders[kind + 1 :], path.name])


def load_runner_config(args: argparse.Namespace) -> Config:
    """Like `load_config`, with launcher and work directory (default: work_dirs/<`config_name`>)."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args)
    config.launcher = args.launcher
    if args.launcher != 'none' and not torch.cuda.is_available():
        # by default mmengine passes the number of a GPU to the wrapper
        config.setdefault('model_wrapper_cfg', dict(device_ids=None, broadcast_buffers=False))
    config.work_dir = args.work_dir or config.get('work_dir') or f'work_dirs/{config_name(args.config)}'
    return config


def check_datasets(config: Config) -> None:
    """Fail before networks are built when a folder or info file of a dataset is missing."""
    for part in _used_parts(config):
        if part.get('type') == 'peridot.PairedDataset':
            DATASETS.build({**part, 'pipeline': [], 'lazy_init': True}).check_files()
        elif part.get('data_root') and isinstance(part.get('ann_file'), str):
            path = Path(part['ann_file'])
            if not path.is_file() and not (Path(part['data_root']) / path).is_file():
                raise DataError(
                    f'the info file {path} does not exist below {part["data_root"]}: give --data-root, or make it with '
                    'tools/create_data.py (docs/datasets.md)'
                )


def check_training_maps(config: Config) -> None:
    """Fail before networks are built when maps of the training set are missing, or labels have other classes.

    Raises:
        ConfigError: An objective's `num_classes` is not the number of classes of the label maps.
        DataError: A folder of maps or its manifest is missing or wrong.
    """
    objectives = config.model.get('objectives', {})
    for part in dicts_of(config.train_dataloader):
        if part.get('type') != 'peridot.PairedDataset' or not part.get('maps'):
            continue
        labels = DATASETS.build({**part, 'pipeline': [], 'lazy_init': True}).open_maps().get('labels')
        for name, settings in objectives.items():
            if labels and settings.get('num_classes', labels.num_classes) != labels.num_classes:
                raise ConfigError(
                    f'model.objectives.{name}.num_classes={settings["num_classes"]}, but the maps in {labels.folder} '
                    f'have {labels.num_classes} classes: set model.objectives.{name}.num_classes={labels.num_classes}'
                )


def set_data_root(config: Config, data_root: str) -> None:
    """Replace `data_root` wherever the config has one, and in paths that begin with it.

    Args:
        config: Changed in place.
        data_root: A folder; for a config that reads several, `OLD=NEW` for each that changes, separated by commas.

    Raises:
        ConfigError: It is one folder instead of several, or names a folder that the config does not have.
    """
    roots = {part['data_root'].rstrip('/') for part in dicts_of(config._cfg_dict) if part.get('data_root')}
    used = sorted({part['data_root'].rstrip('/') for part in _used_parts(config) if part.get('data_root')})
    change = dict.fromkeys(roots, data_root)
    if '=' in data_root:
        change = dict(item.rstrip('/').split('=', 1) for item in data_root.split(',') if '=' in item)
        change = {old.rstrip('/'): new for old, new in change.items()}
    if not roots.issuperset(change) or ('=' not in data_root and len(used) > 1):
        example = ','.join(f'{root}=FOLDER' for root in used)
        raise ConfigError(f'{config.filename} reads {" and ".join(used)}: give --data-root {example}')
    for part in dicts_of(config._cfg_dict):
        for key, value in part.items():
            if isinstance(value, str):
                root = next((root for root in change if value == root or value.startswith(f'{root}/')), None)
                if root is not None:
                    part[key] = change[root].rstrip('/') + value[len(root) :]


def _used_parts(config: Config) -> Iterator[ConfigDict]:
    """Dicts of the config that a training or test run reads: unused variables may name other folders."""
    keys = [f'{loop}_{name}' for loop in ('train', 'val', 'test') for name in ('dataloader', 'cfg', 'evaluator')]
    return dicts_of([config.get(key) for key in [*keys, 'picture_dataset']])

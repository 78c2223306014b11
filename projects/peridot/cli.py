"""Command lines, configs and error messages of the programs in `tools/`.

Importing this module imports neither torch nor mmdet3d, which take seconds: `--help` and errors of missing files come
without them. `tests/test_tools/test_startup.py` holds all programs to it.
"""

import argparse
import errno
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from mmengine.config import Config, ConfigDict

from peridot.devices import device_line
from peridot.errors import CheckpointError, ConfigError, PeridotError, Preempted
from peridot.files import exists, is_remote, usable_cores
from peridot.optional import install_command
from peridot.options import KeyValues, override, parse_value
from peridot.shipped import config_file, with_paths
from peridot.walk import dicts_of

# of the system, which only the user can fix
_USERS_ERRORS = (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR)
# functions of mmengine that build what a config describes
_BUILDERS = frozenset(
    ('build_from_cfg', 'build_dataloader', 'build_train_loop', 'build_val_loop', 'build_test_loop', 'from_cfg')
)
_CHECK = 'check the settings of the config and --cfg-options'
_BUILD_ERROR = re.compile(r'unexpected keyword argument|required positional argument|is not in the \S+ registry')


def run(main: Callable[[], None]) -> None:
    """Call `main`; an error the user can fix ends as one line on stderr and exit status 1."""
    try:
        main()
        _leave_process_group()
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        sys.exit(f'error: {with_paths(line)}')
    except Preempted as end:
        print(end, file=sys.stderr)
        _leave_process_group()
        # as a process that the signal ended
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        sys.exit('interrupted; the same command (for tools/train.py with --resume) continues where it stopped')


def line_of(error: Exception) -> str | None:
    """The line that tells a user what to fix; None for errors that are defects of the program."""
    if isinstance(error, PeridotError):
        return last_line(error)
    if (line := device_line(error)) is not None:
        return line
    if isinstance(error, FileNotFoundError):
        path = error.filename or last_line(error)
        return f'{path}: no such file: restore it, or check --data-root and the paths of the config'
    if isinstance(error, OSError) and error.errno in _USERS_ERRORS:
        return f'{error.filename or "a file"}: {os.strerror(error.errno)}: fix that, or choose another folder'
    if isinstance(error, (KeyError, TypeError)) and _was_built(error):
        return f'{last_line(error)}: {_CHECK}'
    if isinstance(error, (AssertionError, TypeError, ValueError)):
        return _refusal(error)
    return None


def _was_built(error: KeyError | TypeError) -> bool:
    """Whether a registry does not know a type, or a class of the config not an argument."""
    text = str(error.args[0]) if error.args else ''
    frames = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    return bool(_BUILD_ERROR.search(text)) and not frames.isdisjoint(_BUILDERS)


def _refusal(error: AssertionError | TypeError | ValueError) -> str | None:
    """The line for values of a config that the `__init__` of a built class refuses; None for errors further inside."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    builders = [index for index, frame in enumerate(frames) if frame.f_code.co_name in _BUILDERS]
    if not builders or frames[-1].f_code.co_name != '__init__':
        return None
    inits = [frame for frame in frames[builders[-1] :] if frame.f_code.co_name == '__init__']
    built, refusing = (frame.f_locals.get('self') for frame in (inits[0], inits[-1]))
    # its own __init__ or an inherited one; torch's DataLoader leaves the batch size to its sampler
    if built is not refusing and 'DataLoader' not in (kind.__name__ for kind in type(built).__mro__):
        return None
    reason = last_line(error).rstrip('.') if str(error) else traceback.extract_tb(error.__traceback__)[-1].line
    return f'{type(built).__name__}: {reason}: {_CHECK}'


def _leave_process_group() -> None:
    """Let processes that torchrun started end together: one whose peers are gone may abort while it ends."""
    # a program that has not imported torch has no process group
    torch = sys.modules.get('torch')
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def last_line(error: BaseException) -> str:
    """Message of an error; a data loader's worker wraps it in a traceback whose last line is the message."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    line = text.splitlines()[-1] if text else type(error).__name__
    return re.sub(r'^[\w.]+Error: (\[Errno \d+\] )?', '', line) if text.startswith('Caught ') else line


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every program that starts from a config."""
    parser.add_argument('config', type=config_file, help='config file; peridot::PATH for one of the package')
    parser.add_argument(
        '--data-root', help='folder of the data, for every dataset of the config; OLD=NEW,... for several'
    )
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help='settings to override, as key=value')


def add_check_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--check`."""
    parser.add_argument(
        '--check', choices=['some', 'all'], default='some', help='samples whose files are looked for at the start'
    )


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the programs that build a Runner."""
    add_check_argument(parser)
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
    parser.add_argument('--options', nargs='+', action=KeyValues, help='settings of the generator, as key=value')
    args = parser.parse_args()
    args.out = args.out or f'{folder}/{args.generator}'
    args.options = {key: parse_value(text, f'--options {key}') for key, text in (args.options or {}).items()}
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


def load_config(args: argparse.Namespace, check: Callable[[Config], None] | None = None) -> Config:
    """Config of the parsed arguments, with `--data-root` and `--cfg-options` applied.

    Args:
        args: Those of `add_config_arguments`.
        check: Called with the config before its `custom_imports` are imported, which takes seconds.

    Raises:
        ConfigError: The file is absent, or inherits from mmsegmentation, which is not installed.
    """
    check_config_file(args.config)
    config = _read_config(args.config)
    if args.data_root:
        set_data_root(config, args.data_root)
    if args.cfg_options:
        override(config, args.cfg_options)
    if check is not None:
        check(config)
    _import_modules(config)
    return config


def check_config_file(path: str | Path) -> None:
    """Raise a ConfigError where a config is absent."""
    if not Path(path).is_file():
        raise ConfigError(f'config {path} not found: those of the package are in {config_file("peridot::")}')


def check_checkpoint(path: str | Path | None, hint: str = 'correct the path') -> None:
    """Raise a CheckpointError where a checkpoint is absent.

    Args:
        path: The file, or an address (http://, torchvision://), which is left to mmengine; None for none.
        hint: What to do, for the error.
    """
    if path and not is_remote(path) and not exists(Path(path).expanduser()):
        raise CheckpointError(f'checkpoint {path} not found: {hint}')


def _read_config(path: str) -> Config:
    """A config as its file has it, whatever is wrong in one line: it is a program, which may fail in any way."""
    try:
        return Config.fromfile(path, import_custom_modules=False)
    except ModuleNotFoundError as error:
        # mmengine's error where a config inherits from a package that is not installed
        if 'mmsegmentation' in str(error):
            raise ConfigError(f'{path} needs mmsegmentation, which is optional: {install_command("mmseg")}') from None
        raise ConfigError(f'config {path}: {error}: install it') from None
    except PeridotError:
        raise
    except Exception as error:
        raise ConfigError(f'config {path} cannot be read: {type(error).__name__}: {last_line(error)}') from None


def _import_modules(config: Config) -> None:
    """Import the config's `custom_imports`.

    Raises:
        ConfigError: One of them does not exist.
    """
    settings = config.get('custom_imports') or {}
    names = settings.get('imports', [])
    for name in [names] if isinstance(names, str) else names:
        try:
            import_registering(name, f'custom_imports of {config.filename}')
        except (ConfigError, ModuleNotFoundError):
            if not settings.get('allow_failed_imports'):
                raise


def import_registering(name: str, source: str) -> None:
    """Import a module that registers classes.

    Args:
        name: Its name.
        source: What names it, for the error.

    Raises:
        ConfigError: There is no such module.
    """
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f'{name}.'.startswith(f'{error.name}.'):
            raise
        raise ConfigError(
            f'{source}: there is no module {name}: correct the name, or put the folder that holds it into PYTHONPATH'
        ) from None


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


def load_runner_config(args: argparse.Namespace, check: Callable[[Config], None] | None = None) -> Config:
    """Like `load_config`, with launcher and work directory (default: work_dirs/<`config_name`>).

    Args:
        args: Those of `add_config_arguments` and `add_runner_arguments`.
        check: See `load_config`.

    Raises:
        ConfigError: See `load_config`; or a launcher started more processes on this machine than it has GPUs.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    several, gpus = args.launcher != 'none', 0
    if several:
        # imports torch, which one process alone does without until its files are found
        from peridot.gpus import check_own_gpu

        gpus = check_own_gpu(args.launcher)
    config = load_config(args, check)
    config.launcher = args.launcher
    if several and not gpus:
        # by default mmengine passes the number of a GPU to the wrapper
        config.setdefault('model_wrapper_cfg', dict(device_ids=None, broadcast_buffers=False))
    for part in dicts_of(config._cfg_dict):
        if part.get('num_workers') == 0:
            # they are of the worker processes, and torch refuses them without
            part.pop('persistent_workers', None)
            part.pop('prefetch_factor', None)
    wrapper = config.get('optim_wrapper') or {}
    if wrapper.get('type') == 'OptimWrapper' and not getattr(args, 'amp', False):
        # optim_wrapper.type=OptimWrapper on the command line leaves what a config has for mixed precision
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            wrapper.pop(key, None)
    config.work_dir = args.work_dir or config.get('work_dir') or f'work_dirs/{config_name(args.config)}'
    return config


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
    pieces = re.split(rf'(?:^|,)({"|".join(map(re.escape, roots))})/?=', data_root) if roots else [data_root]
    change = dict(zip(pieces[1::2], pieces[2::2])) or dict.fromkeys(roots, data_root)
    if pieces[0] if len(pieces) > 1 else len(used) > 1:
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

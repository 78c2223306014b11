"""Files of splits, which name the samples that a training may use. Nothing here needs torch."""

from __future__ import annotations

import copy
import hashlib
import os
import os.path as osp
import re
from dataclasses import dataclass
from pathlib import Path

from peridot.catalog import CATALOG, create_command
from peridot.errors import DataError
from peridot.files import atomic_path

# rules by which a dataset can be divided; the first is the default
RULES = {name: entry.split_rules for name, entry in CATALOG.items() if entry.split_rules}


def training_infos(dataset: str, root: Path) -> Path:
    """Path of the info file whose samples are divided.

    Args:
        dataset: One of `RULES`.
        root: Its folder.

    Raises:
        DataError: There is none.
    """
    info_file = root / CATALOG[dataset].info_file('train')
    if not info_file.is_file():
        raise DataError(f'{info_file} is missing: make it with `{create_command(root, dataset)}`')
    return info_file


@dataclass(frozen=True)
class Split:
    """A chosen part of the samples of an info file.

    Attributes:
        name: Stem of the file.
        dataset: 'nuscenes', 'semantickitti' or 'kitti'.
        rule: How the samples were chosen, in words.
        command: The command that makes the split, without `--root`.
        samples: The samples' ids: `token` where the info has one (nuScenes), else the lidar file's path below
            its folder without suffix (`sequences/00/velodyne/000123`, `000123`).
        available: Number of samples of the info file.
    """

    name: str
    dataset: str
    rule: str
    command: str
    samples: tuple[str, ...]
    available: int

    @property
    def hash(self) -> str:
        """SHA-256 of the list of samples."""
        return hashlib.sha256(self._body().encode()).hexdigest()

    def write(self, folder: str | os.PathLike) -> Path:
        """Write `<name>.txt` into a folder, atomically."""
        header = dict(
            dataset=self.dataset,
            rule=self.rule,
            command=self.command,
            selected=f'{len(self.samples)} of {self.available}',
            sha256=self.hash,
        )
        lines = [f'# {key}: {value}\n' for key, value in header.items()]
        path = Path(folder) / f'{self.name}.txt'
        with atomic_path(path) as temporary:
            temporary.write_text(''.join(lines) + self._body())
        return path

    def _body(self) -> str:
        return ''.join(f'{sample}\n' for sample in self.samples)


def read_split(path: str | os.PathLike) -> Split:
    """Read a split file.

    Raises:
        DataError: The file is missing, was not written by tools/make_splits.py, or was changed afterwards.
    """
    path = Path(path)
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise DataError(f'the split {path} does not exist: make it with `{command_of_name(path)}`') from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'the split {path} cannot be read ({error}): make it again with tools/make_splits.py') from None
    header = dict(line[2:].split(': ', 1) for line in lines if line.startswith('# ') and ': ' in line)
    samples = tuple(line for line in lines if not line.startswith('#'))
    try:
        available = int(header['selected'].split(' of ')[1])
        split = Split(path.stem, header['dataset'], header['rule'], header['command'], samples, available)
        stated = header['sha256']
    except (KeyError, IndexError, ValueError):
        raise DataError(f'{path} is no split file: make one with `{command_of_name(path)}`') from None
    if stated != split.hash:
        raise DataError(
            f'the list of samples in {path} is not the one its sha256 stands for (it was changed or cut off): '
            f'make it again with `{rooted(split.command, path.parent.parent)}`'
        )
    return split


def with_own_objects(dataset: dict, split: str) -> dict:
    """The config with the split's part of the ground-truth database, where its pipeline has one."""
    dataset = copy.deepcopy(dataset)
    for step in dataset.get('pipeline', ()):
        if 'db_sampler' in step:
            own = Path(dataset['data_root']) / split
            own = own.with_name(f'{own.stem}_dbinfos.pkl')
            if not own.is_file():
                whole = osp.basename(step['db_sampler']['info_path'])
                raise DataError(
                    f'the objects of the split, {own}, do not exist: make them with '
                    f'`{command_of_name(Path(dataset["data_root"]) / split)} --dbinfos {whole}`'
                )
            step['db_sampler']['info_path'] = str(own)
    return dataset


def make_command(dataset: str, rule: str, scenes: str, percentage: str, seed: int) -> str:
    """The command that makes a split, without `--root`."""
    options = f' --scenes {scenes}' if scenes != 'all' else ''
    options += f' --seed {seed}' if rule == 'random' else ''
    return f'python tools/make_splits.py {dataset} --rule {rule} --percent {percentage}{options}'


def rooted(command: str, root: str | os.PathLike) -> str:
    """The command of `make_command` with `--root`."""
    return command.replace(' --rule', f' --root {root} --rule', 1)


def command_of_name(path: Path) -> str:
    """The command that makes a split of this name."""
    found = re.fullmatch(r'([a-z]+)_([a-z]+)(?:_([a-z]+))?_([\d.]+)pct(?:_seed(\d+))?', path.stem)
    if not found:
        return f'python tools/make_splits.py DATASET --root {path.parent.parent}'
    dataset, rule, scenes, percentage, seed = found.groups()
    return rooted(make_command(dataset, rule, scenes or 'all', percentage, int(seed or 0)), path.parent.parent)

"""Label fractions: small text files that name the samples a training may use, and datasets cut down to them."""

from __future__ import annotations

import json
import os
import os.path as osp
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from peridot.catalog import CATALOG, create_command
from peridot.datasets.paired_dataset import read_info_file
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS
from peridot.split_files import RULES, Split, make_command, read_split, rooted, training_infos, with_own_objects

# scene numbers that SLidR and ALSO hold out of nuScenes' 700 training scenes to choose hyperparameters
VERIFYING_SCENES = frozenset(
    f'scene-{number:04d}'
    for number in (
        *(8, 9, 19, 29, 32, 42, 45, 49, 52, 54, 56, 66, 67, 73, 131, 152, 166, 168, 183, 190, 194, 208, 210, 211, 241),
        *(243, 248, 259, 260, 261, 287, 292, 297, 305, 306, 350, 352, 358, 361, 365, 368, 377, 388, 391, 395, 413, 427),
        *(428, 438, 444, 452, 453, 459, 463, 464, 475, 513, 533, 544, 575, 587, 589, 642, 652, 658, 669, 678, 687, 701),
        *(703, 706, 710, 715, 726, 735, 740, 758, 786, 790, 804, 806, 847, 856, 868, 882, 897, 899, 976, 996, 1012),
        *(1015, 1016, 1018, 1020, 1024, 1044, 1058, 1094, 1098, 1107),
    )
)
# the one scene ALSO trains on where its rule selects none
ALSO_FALLBACK = 'scene-0392'


@DATASETS.register_module(name='LabelFraction')
def label_fraction(dataset: dict, split: str | None) -> BaseDataset:
    """The samples of a dataset that a split names: `dict(type='peridot.LabelFraction', dataset=..., split=...)`.

    Wrappers (`CBGSDataset`, `RepeatDataset`) go around it. `metainfo['split']` of the result holds the split's
    name, hash and sizes; mmengine stores it in every checkpoint. An `ObjectSample` in the pipeline pastes objects
    of the split's own frames (`make_splits.py --dbinfos`), never of others.

    Args:
        dataset: Config of a dataset over an mmdet3d info file, e.g. mmdet3d's `KittiDataset` or
            `peridot.PairedDataset`.
        split: Split file, relative to the dataset's `data_root` unless absolute. None takes all samples.

    Returns:
        The dataset itself.

    Raises:
        ConfigError: The dataset cannot be cut.
        DataError: The split or its objects are missing, changed, or were made for other data.
    """
    if split is None:
        return DATASETS.build(dataset)
    built = DATASETS.build(with_own_objects(dataset, split))
    if not isinstance(built, BaseDataset):
        raise ConfigError(
            f'peridot.LabelFraction cannot cut a {type(built).__name__}: put the wrapper around LabelFraction, '
            'and into it the dataset that reads the info file'
        )
    built.full_init()
    path = osp.join(built.data_root or '', split)
    chosen = read_split(path)
    rows = _rows(chosen, path, built)
    built.get_subset_(rows)
    built._metainfo['split'] = dict(name=chosen.name, hash=chosen.hash, selected=len(rows), available=chosen.available)
    print_log(f'split {chosen.name} (sha256 {chosen.hash[:12]}): {len(rows)} of {chosen.available} samples', 'current')
    return built


def _rows(split: Split, path: str, dataset: BaseDataset) -> list[int]:
    """Rows of the split's samples in the dataset, ascending."""
    remake = f'make it again with `{rooted(split.command, dataset.data_root)}`'
    own = list(sample_ids(parsed_infos(dataset), dataset.data_prefix.get('pts', '')))
    # of the info file, but without what the dataset asks for
    left_out = getattr(dataset, 'left_out', ())
    wanted = set(split.samples)
    missing = sorted(wanted.difference(own, left_out))
    if missing:
        raise DataError(
            f'the split {path} was made for other data: {len(missing)} of its {len(wanted)} samples are not in '
            f'{dataset.ann_file} (first: {missing[0]}); {remake}'
        )
    available = len(own) + len(left_out)
    if split.available != available:
        raise DataError(
            f'the split {path} was made for other data: it was chosen from {split.available} samples, but '
            f'{dataset.ann_file} has {available}; {remake}'
        )
    rows = [row for row, sample in enumerate(own) if sample in wanted]
    if not rows:
        raise DataError(
            f'all {len(wanted)} samples of the split {path} lack what the config asks for: unpack it, make the info '
            f'file again with `{create_command(dataset.data_root, split.dataset)}`, then the split'
        )
    return rows


def parsed_infos(dataset: BaseDataset) -> Iterator[dict]:
    """The parsed info of every sample of a dataset."""
    if not dataset.serialize_data:
        return iter(dataset.data_list)
    # subclasses add to it what only a pipeline needs
    return (BaseDataset.get_data_info(dataset, row) for row in range(len(dataset)))


def sample_ids(infos: Iterable[dict], lidar_folder: str = '') -> Iterator[str]:
    """Id of every sample, see `Split.samples`.

    Args:
        infos: Of an info file, or of a dataset.
        lidar_folder: Of a dataset: its `data_prefix['pts']`, which stands before the lidar files' paths.
    """
    for info in infos:
        path = info['lidar_points']['lidar_path']
        stem = osp.splitext(osp.relpath(path, lidar_folder) if lidar_folder else path)[0]
        yield info.get('token') or stem


def make_splits(
    dataset: str,
    root: str | os.PathLike,
    percents: Sequence[float],
    rule: str | None = None,
    scenes: str = 'all',
    seed: int = 0,
) -> list[Split]:
    """Choose fractions of the training samples of a dataset's info file.

    Rules (docs/splits.md): `slidr` takes every k-th scene of nuScenes' scene table, or every k-th scan of
    SemanticKITTI, k = 100 / percent; `also` every k-th of the 600 scenes that are not held out; `random` draws
    scenes (nuScenes), scans or frames; `stride` takes every k-th frame.

    Args:
        dataset: 'nuscenes', 'semantickitti' or 'kitti'.
        root: Its folder, with `<dataset>_infos_train.pkl`.
        percents: Percentages to choose, each in (0, 100].
        rule: One of `RULES[dataset]`, by default the first.
        scenes: nuScenes: 'all' training scenes, SLidR's 600 for 'parametrizing' or its 100 for 'verifying'.
        seed: Of rule `random`; with one seed a smaller fraction is part of a larger one.

    Raises:
        ConfigError: The dataset has no such rule, or a percentage does not fit it.
        DataError: Files are missing, or a percentage selects nothing.
    """
    rule = rule or RULES[dataset][0]
    if rule not in RULES[dataset]:
        raise ConfigError(f'{dataset} has no rule {rule!r}: choose --rule from {", ".join(RULES[dataset])}')
    if scenes != 'all' and (dataset != 'nuscenes' or rule == 'also'):
        raise ConfigError(f'--scenes {scenes} is for nuscenes with rule slidr or random: leave it out')
    part = 'parametrizing' if rule == 'also' else scenes
    units, available = _units(dataset, Path(root), part)
    entry = CATALOG[dataset]
    unit = f'training {entry.split_unit}' if part == 'all' else f'{part} training {entry.split_unit}'
    splits = []
    for percent in percents:
        percentage = f'{percent:g}'
        chosen, how = _choose(list(units), rule, percent, seed, by_scene=entry.split_unit == 'scenes')
        if not chosen:
            raise DataError(
                f'rule {rule} selects none of the {len(units)} {unit} below {root} with --percent {percentage}: give a '
                'larger percentage, or other scenes'
            )
        variant = (
            [scenes] * (scenes != 'all') + [f'{percentage}pct'] + [f'seed{seed}'] * (rule == 'random' and seed != 0)
        )
        split = Split(
            name='_'.join([dataset, rule, *variant]),
            dataset=dataset,
            rule=f'{len(chosen)} of {len(units)} {unit}, {how}',
            command=make_command(dataset, rule, scenes, percentage, seed),
            samples=tuple(sample for key in chosen for sample in units[key]),
            available=available,
        )
        splits.append(split)
    return splits


def _units(dataset: str, root: Path, part: str) -> tuple[dict[str, list[str]], int]:
    """Sample ids of every scene (nuScenes), scan or frame in the rules' order, and the samples of the info file."""
    entry = CATALOG[dataset]
    info_file = training_infos(dataset, root)
    content = read_info_file(str(info_file), str(root))
    ids = list(sample_ids(content['data_list']))
    if entry.split_unit == 'scenes':
        return _scenes(info_file, content, ids, part), len(ids)
    return {sample: [sample] for sample in sorted(ids)}, len(ids)


def _choose(units: list[str], rule: str, percent: float, seed: int, by_scene: bool) -> tuple[list[str], str]:
    if not 0 < percent <= 100:
        raise ConfigError(f'--percent {percent:g}: percentages lie above 0 and up to 100')
    if rule == 'random':
        # RandomState: its numbers are the same in every version of numpy
        order = np.random.RandomState(seed).permutation(len(units))
        rows = sorted(order[: round(len(units) * percent / 100)])
        return [units[row] for row in rows], f'drawn with seed {seed}'
    step = 100 / percent
    if abs(step - round(step)) > 1e-6:
        raise ConfigError(
            f'--percent {percent:g}: rule {rule} keeps every k-th, and 100 / {percent:g} is no whole number: '
            'use e.g. 1, 2, 5, 10, 20, 25, 50, 100 or --rule random'
        )
    step = round(step)
    if not by_scene:
        return units[::step], f'number 1, {step + 1}, {2 * step + 1}, ... in the order of their paths'
    # the released code counts before it compares
    chosen = units[step - 1 :: step]
    if not chosen and rule == 'also' and ALSO_FALLBACK in units:
        return [ALSO_FALLBACK], 'the scene that ALSO takes where its rule selects none'
    return chosen, f'number {step}, {2 * step}, {3 * step}, ... in the order of the scene table'


def _scenes(info_file: Path, content: dict, ids: Sequence[str], part: str) -> dict[str, list[str]]:
    """Sample ids of every scene of the info file, in the order of nuScenes' scene table."""
    root, version = info_file.parent, content['metainfo'].get('version', 'v1.0-trainval')
    scenes, samples = (_table(root / version / f'{name}.json') for name in ('scene', 'sample'))
    scene_of = {sample['token']: sample['scene_token'] for sample in samples}
    members: dict[str, list[str]] = {scene['token']: [] for scene in scenes}
    for sample in ids:
        if sample not in scene_of:
            raise DataError(
                f'sample {sample} of {info_file} is not in {root / version}: make the info file again with '
                f'`{create_command(root, "nuscenes")} --version {version}`'
            )
        members[scene_of[sample]].append(sample)
    named = {scene['name']: members[scene['token']] for scene in scenes if members[scene['token']]}
    if part == 'all':
        return named
    return {name: own for name, own in named.items() if (name in VERIFYING_SCENES) == (part == 'verifying')}


def _table(path: Path) -> list[dict]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) else 'no JSON'
        raise DataError(f'{path} cannot be read ({reason}): unpack the metadata of nuScenes there') from None

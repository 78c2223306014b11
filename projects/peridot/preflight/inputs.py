"""Files and folders that a config names, looked for before anything is imported that takes seconds.

Importing this module imports neither torch nor mmdet3d.
"""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from peridot.catalog import create_command, dataset_of
from peridot.cli import check_checkpoint
from peridot.errors import DataError
from peridot.files import exists, is_remote, join
from peridot.maps.named import open_maps
from peridot.split_files import read_split, with_own_objects
from peridot.teacher_files import find_weights
from peridot.walk import dicts_of, steps_of


def check_inputs(config: Config, training: bool = True, resumed: bool = False) -> None:
    """Look for the files and folders that a run cannot do without.

    Args:
        config: Config of the run.
        training: Those of a training run, which may do without validation; otherwise those of a test.
        resumed: The run continues from a checkpoint, so that `load_from` is not read.

    Raises:
        CheckpointError: The teacher's weights or the checkpoint to start from are missing.
        DataError: Something else is missing.
    """
    tested = config.get('test_dataloader') or [config.get('val_dataloader'), config.get('val_cfg')]
    check_paths(config.get('train_dataloader') if training else tested)
    check_files(config, training, resumed)
    if training:
        check_map_folders(config)


def check_paths(settings: Any) -> None:
    """Look for the folders and info files of datasets.

    Args:
        settings: A part of a config.

    Raises:
        DataError: One is missing.
    """
    for part in dicts_of(settings):
        root, ann_file = part.get('data_root'), part.get('ann_file')
        if not root or is_remote(root, part.get('backend_args')):
            continue
        path = join(root, ann_file) if isinstance(ann_file, str) else root
        if not exists(root, folder=True):
            make = create_command(root, dataset_of(part))
            raise DataError(
                f'the data root {root} does not exist: make a demo with `python tools/make_demo_data.py --out '
                f'data/demo` and add `--data-root data/demo`, or put the dataset there and run `{make}`'
            )
        if path.endswith('.pkl') and not exists(path):
            raise DataError(
                f'the info file {path} does not exist: make it with `{create_command(root, dataset_of(part))}`'
            )


def check_training_paths(config: Config) -> None:
    """`check_paths` of the training set, for programs that make something for its samples."""
    check_paths(config.get('train_dataloader'))


def check_figure_paths(config: Config) -> None:
    """`check_paths` of the samples that figures show."""
    check_paths(config.get('picture_dataset') or config.get('test_dataloader'))


def check_map_folders(config: Config, folders: Sequence[str] = ()) -> None:
    """Look for the maps of the training set; single maps are not checked.

    Args:
        config: Config of the run.
        folders: Folders of maps that are read in place of the config's.

    Raises:
        ConfigError: See `open_maps`.
        DataError: A manifest is missing or wrong.
    """
    for part in dicts_of(config.get('train_dataloader')):
        maps = {folder: folder for folder in folders} or part.get('maps')
        if part.get('type') == 'peridot.PairedDataset' and maps:
            open_maps(maps, part.get('data_root', '.'), part.get('backend_args'))


def check_files(config: Config, training: bool, resumed: bool = False) -> None:
    """Look for single files: weights, text vectors, splits, objects that detectors paste.

    Args:
        config: Config of the run.
        training: See `check_inputs`.
        resumed: See `check_inputs`.

    Raises:
        CheckpointError: The teacher's weights or the checkpoint to start from are missing.
        DataError: Something else is missing, or a split was changed.
    """
    if training:
        check_objects(config)
    check_teacher(config)
    vectors = (config.get('val_cfg') or {}).get('embeddings')
    if vectors and not exists(vectors):
        raise DataError(
            f'the text vectors {vectors} (val_cfg.embeddings) do not exist: make them with '
            'tools/embed_text.py (docs/open_vocabulary.md)'
        )
    if not resumed:
        check_checkpoint(config.get('load_from'), 'correct the path, or load_from in the config')


def check_teacher(config: Config) -> None:
    """Raise a CheckpointError where the weights of the teacher are absent."""
    teacher = (config.get('model') or {}).get('teacher')
    if isinstance(teacher, dict) and teacher.get('type') != 'peridot.StoredTeacher':
        weights = teacher.get('weights')
        if weights not in (None, 'timm'):
            find_weights(weights)


def check_objects(config: Config) -> None:
    """Look for splits, and for databases of objects that detectors paste into scenes.

    Raises:
        DataError: One is missing, or a split was changed.
    """
    for wrapper in dicts_of(config.get('train_dataloader') or {}):
        if wrapper.get('type') == 'peridot.LabelFraction' and wrapper.get('split'):
            read_split(join(wrapper['dataset'].get('data_root', ''), wrapper['split']))
            with_own_objects(wrapper['dataset'], wrapper['split'])
    for step in (step for part in dicts_of(config.get('train_dataloader') or {}) for step in steps_of(part)):
        sampler = step.get('db_sampler') or {}
        path = sampler.get('info_path')
        if path and not exists(path, sampler.get('backend_args')):
            raise DataError(
                f'the database of objects {path} does not exist: make it with tools/create_data.py (docs/datasets.md), '
                'or take ObjectSample out of the pipeline'
            )

"""Ground-truth databases of mmdet3d for trainings on a fraction of the labels."""

import os
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import dump, load

from peridot.catalog import create_command, lookup
from peridot.datasets.splits import parsed_infos, sample_ids
from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path
from peridot.registry import DATASETS
from peridot.split_files import Split


def cut_database(split: Split, database: str | os.PathLike, root: str | os.PathLike) -> Path:
    """Write the part of a ground-truth database that shows objects of the split's frames.

    mmdet3d's `ObjectSample` pastes objects of the whole training set into a frame: without this a training on a
    fraction of the labels sees all of them.

    Args:
        split: A split of nuScenes or KITTI.
        database: `<dataset>_dbinfos_train.pkl` of mmdet3d, relative to `root` unless absolute.
        root: Folder of the dataset.

    Returns:
        `splits/<name of the split>_dbinfos.pkl` below `root`.

    Raises:
        DataError: The database is missing, or its boxes are not those of the info file.
    """
    path = Path(root) / database
    if not path.is_file():
        raise DataError(
            f'the ground-truth database {path} is missing: make it with `{create_command(root, split.dataset)}`'
        )
    objects = load(str(path))
    dataset = _detection_dataset(split.dataset, root)
    ids = list(sample_ids(parsed_infos(dataset), dataset.data_prefix['pts']))
    frames = _frames_of(objects, dataset, ids, path)
    wanted = set(split.samples)
    kept = {name: [item for item in items if frames[item['image_idx']] in wanted] for name, items in objects.items()}
    out = Path(root) / 'splits' / f'{split.name}_dbinfos.pkl'
    with atomic_path(out) as temporary:
        dump(kept, temporary, file_format='pkl')
    return out


def _detection_dataset(name: str, root: str | os.PathLike) -> BaseDataset:
    entry = lookup(name)
    if entry.detection is None:
        raise ConfigError(f'{name} has no ground-truth database: leave --dbinfos out')
    return DATASETS.build(dict(entry.detection, data_root=str(root), ann_file=entry.info_file('train')))


def _frames_of(objects: dict, dataset: BaseDataset, ids: list[str], path: Path) -> dict[int, str]:
    """Sample id of every `image_idx` of a database: a row of the info file, before mmdet3d 1.1 the frame's number."""
    items = [item for own in objects.values() for item in own]
    by_number = {int(sample): sample for sample in ids if sample.isdigit()}
    row_of = {sample: row for row, sample in enumerate(ids)}
    for frames in (dict(enumerate(ids)), by_number):
        boxes: dict[int, np.ndarray] = {}
        for item in items:
            index = item['image_idx']
            if index in frames and index not in boxes:
                info = BaseDataset.get_data_info(dataset, row_of[frames[index]])
                boxes[index] = info['ann_info']['gt_bboxes_3d'].numpy()
        if all(_is_box_of(item, boxes) for item in items):
            return frames
    raise DataError(
        f'the boxes of {path} are not those of {dataset.ann_file}: make both again with '
        f'`{create_command(path.parent, path.name.split("_")[0])}`'
    )


def _is_box_of(item: dict, boxes: dict[int, np.ndarray]) -> bool:
    own = boxes.get(item['image_idx'], ())
    return item['gt_idx'] < len(own) and np.allclose(own[item['gt_idx']][:7], item['box3d_lidar'][:7], atol=1e-3)

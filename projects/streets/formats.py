"""The layouts in which the synthetic world can be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from streets.folder import finish_folder, make_folder_frame, validation
from streets.frame import PARTIAL, VERSION, Settings, write_atomic
from streets.kitti import finish_kitti, finish_semantickitti, make_kitti_frame, make_semantickitti_frame
from streets.nuscenes import make_frame
from streets.pandaset import finish_pandaset, make_pandaset_frame, sequence_name
from streets.rig import KITTI_IMAGE
from streets.tables import write_tables
from streets.taxonomy import SCENES


@dataclass(frozen=True)
class Format:
    """The layout of a dataset.

    Attributes:
        make_frame: Stores the files of (root, settings, scene, frame) and returns a record that JSON can hold.
        finish: Writes what needs all records: (root, settings, records of each scene's frames).
        products: Names below the root that belong to the dataset.
        infos: Names of the info files.
        image_size: Default (height, width).
        sweeps: Default number of unannotated sweeps before each keyframe.
        options: Options of the converter, for the root.
    """

    make_frame: Callable[[Path, Settings, int, int], dict]
    finish: Callable[[Path, Settings, list[list[dict]]], None]
    products: tuple[str, ...]
    infos: tuple[str, ...]
    image_size: tuple[int, int]
    sweeps: int
    options: Callable[[Path], dict] = lambda root: {}


def _infos(dataset: str, *splits: str) -> tuple[str, ...]:
    """Names of the info files of a dataset."""
    return tuple(f'{dataset}_infos_{split}.pkl' for split in splits)


FORMATS = {
    'nuscenes': Format(
        make_frame,
        write_tables,
        ('samples', 'sweeps', 'lidarseg', 'maps', VERSION),
        _infos('nuscenes', 'train', 'val'),
        (396, 704),
        4,
        lambda root: {'version': VERSION},
    ),
    'semantickitti': Format(
        make_semantickitti_frame,
        finish_semantickitti,
        ('sequences',),
        _infos('semantickitti', 'train', 'val'),
        KITTI_IMAGE,
        0,
    ),
    'kitti': Format(
        make_kitti_frame,
        finish_kitti,
        ('training', 'ImageSets'),
        _infos('kitti', 'train', 'val', 'trainval'),
        KITTI_IMAGE,
        0,
    ),
    'pandaset': Format(
        make_pandaset_frame,
        finish_pandaset,
        (*(sequence_name(scene) for scene in range(len(SCENES))), 'pandar64', 'pandargt'),
        _infos('pandar64', 'train', 'val') + _infos('pandargt', 'train', 'val'),
        (396, 704),
        0,
    ),
    'folder': Format(
        make_folder_frame,
        finish_folder,
        (*SCENES, 'classes.json', 'overlays'),
        _infos('folder', 'train', 'val'),
        (396, 704),
        0,
        validation,
    ),
}


def record_path(root: Path, scene: int, frame: int) -> Path:
    """Where the record of a finished keyframe lies."""
    return root / PARTIAL / f'{scene:02d}_{frame:04d}.json'


def make_frames(root: Path, settings: Settings, scene: int, frames: list[int]) -> None:
    """Make those of a scene's keyframes `frames` that have no record yet."""
    cv2.setNumThreads(1)
    for frame in frames:
        path = record_path(root, scene, frame)
        if not path.is_file():
            record = FORMATS[settings.format].make_frame(root, settings, scene, frame)
            write_atomic(path, json.dumps(record).encode())

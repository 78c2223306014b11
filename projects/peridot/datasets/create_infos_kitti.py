"""mmdet3d's info files (v2) for KITTI's object benchmark, and for files like its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
from PIL import Image

from peridot.catalog.kitti import KITTI
from peridot.datasets.create_infos import (
    check_layout,
    check_writable,
    converter_output,
    load_converter,
    move_infos,
    move_into,
    unfinished_folder,
    write_infos,
)
from peridot.datasets.kitti_texts import read_calibration, read_objects
from peridot.datasets.missing import IMAGE_SUFFIXES, check_missing, files_in, first, report
from peridot.errors import DataError
from peridot.files import read_lines

# shapes of the matrices of a calibration file, in the order of the lines that mmdet3d's converter expects
_CALIBRATION = {f'P{i}': (3, 4) for i in range(4)}
_CALIBRATION |= {'R0_rect': (3, 3), 'Tr_velo_to_cam': (3, 4), 'Tr_imu_to_velo': (3, 4)}
# what nobody reads: the converter only hands it on
_UNREAD = ('P0', 'P1', 'P3', 'Tr_imu_to_velo')
_SPLITS = ('train', 'val', 'test')
_FOLDERS = {
    'velodyne': (('.bin',), 'data_object_velodyne.zip'),
    'image_2': (IMAGE_SUFFIXES, 'data_object_image_2.zip'),
    'calib': (('.txt',), 'data_object_calib.zip'),
    'label_2': (('.txt',), 'data_object_label_2.zip'),
}


@dataclass(frozen=True)
class Part:
    """One of the benchmark's two parts.

    Attributes:
        name: 'training' | 'testing'.
        folder: Its folder.
        files: Files of each folder by the frames' names.
    """

    name: str
    folder: Path
    files: dict[str, dict[str, str]]

    @classmethod
    def of(cls, root: Path, name: str) -> Part:
        """List the files of a part; test frames have no labels."""
        folders = [folder for folder in _FOLDERS if name == 'training' or folder != 'label_2']
        return cls(
            name, root / name, {folder: files_in(root / name / folder, *_FOLDERS[folder][0]) for folder in folders}
        )

    def lacking(self, frame: str) -> list[str]:
        """Folders that have no file of a frame."""
        return [folder for folder, names in self.files.items() if frame not in names]


def create_kitti_infos(root: str | os.PathLike, missing: str = 'skip', verbose: bool = False) -> list[Path]:
    """Write `kitti_infos_{train,val,trainval,test}.pkl` and the clouds that mmdet3d's configs read.

    The clouds, `{training,testing}/velodyne_reduced/*.bin`, hold the points that the image sees. Splits whose list is
    absent from `ImageSets/` or that have no frames are left out, as are frames of which a file is absent. Images may be
    JPEG files. Calibrations may have the names of the tracking benchmark; where a matrix that nobody reads is absent,
    the infos have the identity.

    Args:
        root: Folder with `ImageSets/`, `training/` and perhaps `testing/`.
        missing: 'skip' counts frames of which a file is absent in a line, 'error' stops.
        verbose: Show the output of the converter.

    Returns:
        The info files.

    Raises:
        ConfigError: mmdet3d came without its tools.
        DataError: Lists of frames are missing, files are damaged, or no frame is complete.
    """
    root = Path(root).resolve()
    check_missing(missing)
    parts = {name: Part.of(root, name) for name in ('training', 'testing')}
    frames = _complete_frames(parts, _image_sets(root), missing)
    for folder in (root, *(parts[_part(split)].folder for split, numbers in frames.items() if numbers)):
        check_writable(folder)
    converter, updater = load_converter('kitti_converter'), load_converter('update_infos_to_v2')
    with TemporaryDirectory() as staged, unfinished_folder(root) as work:
        for split, numbers in frames.items():
            _stage(parts[_part(split)], numbers, Path(staged), missing)
        with converter_output(verbose):
            infos = {}
            for split, numbers in frames.items():
                if numbers:
                    infos[split] = _gather_infos(converter, staged, parts[_part(split)], numbers)
                    source = write_infos(infos[split], work / f'kitti_infos_{split}.pkl')
                    _reduce_clouds(converter, staged, root / _part(split), source)
            (work / 'v2').mkdir()
            both = infos.get('train', []) + infos.get('val', [])
            for split, content in {**infos, 'trainval': both}.items():
                source = write_infos(content, work / f'kitti_infos_{split}.pkl')
                updater.update_kitti_infos(str(source), str(work / 'v2'))
        return move_infos(sorted((work / 'v2').iterdir()), root, KITTI, _SPLITS)


def _part(split: str) -> str:
    return 'testing' if split == 'test' else 'training'


def _name(number: int) -> str:
    return f'{number:06d}'


def _image_sets(root: Path) -> dict[str, list[int]]:
    """Frame numbers of the splits that exist."""
    frames = {}
    for split in _SPLITS:
        path = root / 'ImageSets' / f'{split}.txt'
        if path.is_file():
            try:
                frames[split] = [int(word) for line in read_lines(path) for word in line.split()]
            except ValueError as error:
                raise DataError(f'{path} is no list of frame numbers ({error}): write one number per line') from None
    if not frames.keys() & {'train', 'val'}:
        raise DataError(
            f"{root}/ImageSets/train.txt and val.txt are missing: put KITTI's lists of frames (one number a line, as "
            'OpenPCDet and mmdet3d hand them out) there, or name the folder that has them with --root'
        )
    return frames


def _complete_frames(parts: Mapping[str, Part], frames: Mapping[str, list[int]], missing: str) -> dict[str, list[int]]:
    """Of the listed frames of each split those that have all files.

    Raises:
        DataError: None of the training and validation frames has, some have not and `missing` is 'error', or a file is
            damaged.
    """
    lacking = {split: {own: parts[_part(split)].lacking(_name(own)) for own in frames[split]} for split in frames}
    complete = {split: [number for number, folders in own.items() if not folders] for split, own in lacking.items()}
    nothing = not (complete.get('train') or complete.get('val'))
    for split, own in lacking.items():
        _report_lacking(parts[_part(split)], split, own, 'error' if nothing and split != 'test' else missing)
        _check_clouds(parts[_part(split)], complete[split])
    if nothing:
        folder = parts['training'].folder.parent / 'ImageSets'
        raise DataError(f'{folder}/train.txt and val.txt list no frames: write one frame number per line')
    return complete


def _report_lacking(part: Part, split: str, lacking: Mapping[int, list[str]], missing: str) -> None:
    """A line about the frames that lack files in some folders."""
    absent = [
        f'{part.name}/{folder}/{_name(number)}{_FOLDERS[folder][0][0]}'
        for number, folders in lacking.items()
        for folder in folders
    ]
    if absent:
        archives = ', '.join(_FOLDERS[name][1] for name in _FOLDERS if any(name in own for own in lacking.values()))
        count = sum(map(bool, lacking.values()))
        line = f'{count} of the {len(lacking)} frames in ImageSets/{split}.txt lack files ({first(absent)})'
        report(line, f'unpack {archives} over {part.folder.parent} and run the command again to use them', missing)


def _check_clouds(part: Part, numbers: Sequence[int]) -> None:
    """Raise a DataError about clouds that hold other values than KITTI's, or a part of a row."""
    again = f'unpack {_FOLDERS["velodyne"][1]} again'
    clouds = [part.folder / 'velodyne' / part.files['velodyne'][_name(number)] for number in numbers]
    for cloud in clouds[:1]:
        check_layout(cloud, KITTI, again)
    for cloud in clouds:
        if cloud.stat().st_size % 16 or not cloud.stat().st_size:
            raise DataError(f'{cloud} is damaged (rows have 16 bytes): {again}')


def _stage(part: Part, numbers: Sequence[int], folder: Path, missing: str) -> None:
    """Files of frames under the names, and in the form, that mmdet3d's converter reads.

    Images and clouds are links, except for clouds with points that are not finite, which it would count as those of
    every object.

    Raises:
        DataError: A text is damaged, or `missing` is 'error' and points are not finite.
    """
    lost = []
    for name, files in part.files.items():
        target = folder / part.name / name
        target.mkdir(parents=True, exist_ok=True)
        suffix, archive = _FOLDERS[name][0][0], _FOLDERS[name][1]
        for frame in map(_name, numbers):
            source, copy = part.folder / name / files[frame], target / f'{frame}{suffix}'
            if name == 'calib':
                copy.write_text(_calibration_text(read_calibration(source, _CALIBRATION, archive, _UNREAD)))
            elif name == 'label_2':
                copy.write_text(''.join(f'{" ".join(fields)}\n' for fields in read_objects(source, archive)))
            elif name == 'velodyne' and _write_finite(source, copy):
                lost.append(f'{part.name}/velodyne/{source.name}')
            elif not copy.exists():
                copy.symlink_to(source)
    if lost:
        line = f'{len(lost)} of {len(numbers)} clouds hold points that are not finite ({first(lost)})'
        report(line, "in pre-training, nonfinite='drop' of LoadPoints does the same", missing)


def _calibration_text(matrices: dict[str, np.ndarray]) -> str:
    rows = [(key, matrices[key][:height, :width]) for key, (height, width) in _CALIBRATION.items()]
    return ''.join(f'{key}: {" ".join(map(str, matrix.ravel()))}\n' for key, matrix in rows)


def _write_finite(source: Path, copy: Path) -> bool:
    """Write the finite points of a cloud if there are others; returns whether there are."""
    points = np.fromfile(source, np.float32).reshape(-1, 4)
    finite = np.isfinite(points).all(1)
    if finite.all():
        return False
    points[finite].tofile(copy)
    return True


def _gather_infos(converter: ModuleType, staged: str, part: Part, numbers: list[int]) -> list[dict]:
    """Infos of version 1."""
    labeled = part.name == 'training'
    infos = converter.get_kitti_image_info(
        staged,
        training=labeled,
        label_info=labeled,
        velodyne=True,
        calib=True,
        image_ids=numbers,
        with_imageshape=False,
    )
    for info, number in zip(infos, numbers):
        path = Path(part.name) / 'image_2' / part.files['image_2'][_name(number)]
        info['image'].update(image_path=str(path), image_shape=_image_shape(part.folder.parent / path))
    if labeled:
        converter._calculate_num_points_in_gt(staged, infos, relative_path=True)
    return infos


def _image_shape(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.array(image.size[::-1], dtype=np.int32)
    except (OSError, ValueError):
        raise DataError(f'{path} is no image: unpack {_FOLDERS["image_2"][1]} again') from None


def _reduce_clouds(converter: ModuleType, staged: str, folder: Path, infos: Path) -> None:
    target = folder / 'velodyne_reduced'
    if target.is_symlink():
        # another's clouds, perhaps, which stay as they are
        target.unlink()
    target.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(target) as work:
        converter._create_reduced_point_cloud(staged, str(infos), str(work))
        for path in work.iterdir():
            move_into(path, target)

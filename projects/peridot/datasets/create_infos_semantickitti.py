"""mmdet3d's info files (v2) for SemanticKITTI, with what its converter leaves out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peridot.catalog.semantickitti import SEMANTICKITTI
from peridot.datasets.create_infos import check_writable, load_converter, remove_stale, write_infos
from peridot.datasets.kitti_texts import read_calibration, read_rows
from peridot.datasets.missing import IMAGE_SUFFIXES, check_missing, files_in, first, report
from peridot.errors import DataError

_CALIBRATION = 'data_odometry_calib.zip'


@dataclass(frozen=True)
class Sequence:
    """What is there of a sequence.

    Attributes:
        scans: Files of `velodyne` by the scans' names, ascending.
        images: Files of `image_2` by the scans' names.
        labels: Files of `labels` by the scans' names.
        camera: `cam2img` and `lidar2cam` (4, 4) of CAM2; empty without images.
        motion: `timestamp` and `ego2global` of the scans from number 0 on; empty without poses.
    """

    scans: dict[str, str]
    images: dict[str, str]
    labels: dict[str, str]
    camera: dict
    motion: list[dict]

    @property
    def end(self) -> int:
        """Number after that of the last scan."""
        return int(max(self.scans)) + 1


def create_semantickitti_infos(root: str | os.PathLike, missing: str = 'skip', verbose: bool = False) -> list[Path]:
    """Write `semantickitti_infos_{train,val,test}.pkl` into the dataset's folder, in mmdet3d's v2 format.

    mmdet3d's converter lists the scans of the whole dataset without looking at the files; here the scans that exist
    are listed (a split without any gets no file). Those that have an image in `image_2` (of KITTI's odometry benchmark)
    get `images: {CAM2: {img_path, cam2img, lidar2cam}}` from the P2 and Tr of their `calib.txt`, those that have labels
    `pts_semantic_mask_path`. Sequences that have `poses.txt` (of SemanticKITTI) and `times.txt` (next to `calib.txt`)
    get `ego2global`, the lidar's pose, and `timestamp` in seconds, which samples of several frames need.

    Args:
        root: Folder with `sequences/00`, `sequences/01`, ...
        missing: 'skip' counts scans, images and labels that are absent in a line each, 'error' stops.
        verbose: Print how many scans and images were found.

    Returns:
        The files.

    Raises:
        ConfigError: mmdet3d came without its tools.
        DataError: There are no scans, or calibrations are missing or damaged.
    """
    root = Path(root).resolve()
    check_missing(missing)
    sequences = _sequences(root)
    check_writable(root)
    converter = load_converter('semantickitti_converter')
    official, converter.total_num = converter.total_num, dict.fromkeys(converter.total_num, 0)
    converter.total_num |= {i: sequence.end for i, sequence in sequences.items() if i in official}
    try:
        contents = {split: converter.get_semantickitti_info(split) for split in ('train', 'val', 'test')}
        folds = converter.fold_split
    finally:
        converter.total_num = official
    _report(sequences, {number for split in ('train', 'val') for number in folds[split]}, root, missing)
    paths = []
    for split, content in contents.items():
        infos = [_finished(info, sequences) for info in content['data_list']]
        infos = [info for info in infos if info is not None]
        if infos:
            content['metainfo'].update(dataset=SEMANTICKITTI.name, info_version='1.1')
            paths.append(write_infos({**content, 'data_list': infos}, root / SEMANTICKITTI.info_file(split)))
        if verbose and infos:
            images, labels = (sum(key in info for info in infos) for key in ('images', 'pts_semantic_mask_path'))
            print(f'{split}: {len(infos)} scans, {images} with an image, {labels} with labels')
    if not paths:
        raise DataError(f'{root}/sequences has none of the sequences 00 to 21: unpack data_odometry_velodyne.zip there')
    remove_stale(root, SEMANTICKITTI, contents, paths)
    return paths


def _finished(info: dict, sequences: dict[int, Sequence]) -> dict | None:
    """An info of the converter with all that is there; None without scan."""
    _, number, _, file = info['lidar_points']['lidar_path'].split('/')
    name, sequence = file.removesuffix('.bin'), sequences[int(number)]
    if name not in sequence.scans:
        return None
    if name not in sequence.labels:
        del info['pts_semantic_mask_path']
    if sequence.motion:
        info.update(sequence.motion[int(name)])
    if name in sequence.images:
        image = f'sequences/{number}/image_2/{sequence.images[name]}'
        info['images'] = {'CAM2': {'img_path': image, **sequence.camera}}
    return info


def _sequences(root: Path) -> dict[int, Sequence]:
    """The sequences that have scans, by their numbers."""
    found = {}
    for folder in sorted((root / 'sequences').glob('[0-9][0-9]')):
        scans = files_in(folder / 'velodyne', '.bin')
        strange = [name for name in scans if not (name.isdigit() and len(name) == 6)]
        if strange:
            raise DataError(
                f'{folder}/velodyne/{strange[0]}.bin is no scan of SemanticKITTI (000000.bin, ...): unpack '
                'data_odometry_velodyne.zip again, or remove the file'
            )
        if scans:
            found[int(folder.name)] = _sequence(folder, scans)
    if not found:
        raise DataError(
            f'{root}/sequences/*/velodyne has no scans: unpack data_odometry_velodyne.zip so that {root} holds '
            '`sequences`, or name that folder with --root'
        )
    return found


def _sequence(folder: Path, scans: dict[str, str]) -> Sequence:
    images, labels = files_in(folder / 'image_2', *IMAGE_SUFFIXES), files_in(folder / 'labels', '.label')
    camera = {}
    if images:
        matrices = read_calibration(folder / 'calib.txt', {'P2': (3, 4), 'Tr': (3, 4)}, _CALIBRATION)
        camera = {'cam2img': matrices['P2'].tolist(), 'lidar2cam': matrices['Tr'].tolist()}
    return Sequence(scans, images, labels, camera, _motion(folder, int(max(scans)) + 1))


def _motion(folder: Path, count: int) -> list[dict]:
    """`timestamp` and `ego2global` of the scans below a number; empty if `poses.txt` or `times.txt` is absent."""
    if not all((folder / name).is_file() for name in ('poses.txt', 'times.txt', 'calib.txt')):
        return []
    poses = read_rows(folder / 'poses.txt', 12, count).reshape(-1, 3, 4)
    times = read_rows(folder / 'times.txt', 1, count)[:, 0]
    # the poses are those of camera 0
    camera = np.tile(np.eye(4), (count, 1, 1))
    camera[:, :3] = poses
    lidar = camera @ read_calibration(folder / 'calib.txt', {'Tr': (3, 4)}, _CALIBRATION)['Tr']
    return [{'timestamp': float(time), 'ego2global': pose.tolist()} for time, pose in zip(times, lidar)]


def _report(sequences: dict[int, Sequence], labeled: set[int], root: Path, missing: str) -> None:
    """A line each about scans between others, images and labels that are absent."""
    gaps = {number: (own.end - len(own.scans), own.end) for number, own in sequences.items()}
    images, labels = (
        {number: (len(own.scans.keys() - getattr(own, name)), len(own.scans)) for number, own in sequences.items()}
        for name in ('images', 'labels')
    )
    labels = {number: count for number, count in labels.items() if number in labeled}
    for counts, what, archive in (
        (gaps, 'are absent, though later ones of their sequence are there', 'data_odometry_velodyne.zip'),
        (images, 'have no image in image_2', 'data_odometry_color.zip'),
        (labels, 'of the training and validation sequences have no labels', 'data_odometry_labels.zip'),
    ):
        lacking, total = (sum(column) for column in zip(*counts.values())) if counts else (0, 0)
        # for segmentation alone nobody needs images
        if not lacking or (lacking == total and counts is images):
            continue
        names = first([f'{number:02d}: {count}' for number, (count, _) in counts.items() if count])
        line = f'{lacking} of {total} scans {what} (sequences {names})'
        remedy = f'unpack {archive} over {root} and run the command again to use them'
        report(line, remedy, missing if lacking < total else 'skip')

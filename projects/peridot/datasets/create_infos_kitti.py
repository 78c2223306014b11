"""mmdet3d's info files (v2) for SemanticKITTI and KITTI's object benchmark, with what its converters leave out."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from peridot.catalog.semantickitti import SEMANTICKITTI
from peridot.datasets.create_infos import converter_output, load_converter, move_into, unfinished_folder
from peridot.errors import DataError
from peridot.files import atomic_path

# shapes of the matrices of a calibration file of the object benchmark, in the order that mmdet3d's converter expects
_CALIBRATION = {f'P{i}': (3, 4) for i in range(4)}
_CALIBRATION |= {'R0_rect': (3, 3), 'Tr_velo_to_cam': (3, 4), 'Tr_imu_to_velo': (3, 4)}
_LABEL_FIELDS = 15
_FOLDERS = {
    'velodyne': ('bin', 'data_object_velodyne.zip'),
    'image_2': ('png', 'data_object_image_2.zip'),
    'calib': ('txt', 'data_object_calib.zip'),
    'label_2': ('txt', 'data_object_label_2.zip'),
}


def create_semantickitti_infos(root: str | os.PathLike, verbose: bool = False) -> list[Path]:
    """Write `semantickitti_infos_{train,val,test}.pkl` into the dataset's folder, in mmdet3d's v2 format.

    mmdet3d's converter lists the scans of the whole dataset without looking at the files; here the scans that exist
    are listed (a split without any gets no file), and sequences that have `image_2` (of KITTI's odometry benchmark) get
    `images: {CAM2: {img_path, cam2img, lidar2cam}}` from the P2 and Tr of their `calib.txt`. Those that have
    `poses.txt` (of SemanticKITTI) and `times.txt` (next to `calib.txt`) get `ego2global`, the lidar's pose, and
    `timestamp` in seconds, which samples of several frames need.

    Args:
        root: Folder with `sequences/00`, `sequences/01`, ...
        verbose: Print how many scans and images were found.

    Returns:
        The files.

    Raises:
        ConfigError: mmdet3d came without its tools.
        DataError: Scans, images or calibrations are missing or damaged.
    """
    root = Path(root).resolve()
    sequences = _sequences(root)
    converter = load_converter('semantickitti_converter')
    official, converter.total_num = converter.total_num, {i: len(sequences.get(i, ())) for i in converter.total_num}
    try:
        contents = {split: converter.get_semantickitti_info(split) for split in ('train', 'val', 'test')}
    finally:
        converter.total_num = official
    contents = {split: content for split, content in contents.items() if content['data_list']}
    if not contents:
        raise DataError(f'{root}/sequences has none of the sequences 00 to 21: unpack data_odometry_velodyne.zip there')
    cameras = {f'{number:02d}': _sequence_camera(root, number, len(scans)) for number, scans in sequences.items()}
    motion = {f'{number:02d}': _sequence_motion(root, number, len(scans)) for number, scans in sequences.items()}
    paths = []
    for split, content in contents.items():
        content['metainfo'].update(dataset=SEMANTICKITTI.name, info_version='1.1')
        for info in content['data_list']:
            _, sequence, _, name = info['lidar_points']['lidar_path'].split('/')
            info.update(motion[sequence][int(name.removesuffix('.bin'))])
            if cameras[sequence]:
                image = f'sequences/{sequence}/image_2/{name.removesuffix(".bin")}.png'
                info['images'] = {'CAM2': {'img_path': image, **cameras[sequence]}}
        paths.append(_dump(content, root / SEMANTICKITTI.info_file(split)))
        if verbose:
            images = sum('images' in info for info in content['data_list'])
            print(f'{split}: {len(content["data_list"])} scans, {images} with an image')
    return paths


def create_kitti_infos(root: str | os.PathLike, verbose: bool = False) -> list[Path]:
    """Write `kitti_infos_{train,val,trainval,test}.pkl` and the clouds that mmdet3d's configs read.

    The clouds, `{training,testing}/velodyne_reduced/*.bin`, hold the points that the image sees. Splits whose list is
    absent from `ImageSets/` are left out.

    Args:
        root: Folder with `ImageSets/`, `training/` and perhaps `testing/`.
        verbose: Show the output of the converter.

    Returns:
        The info files.

    Raises:
        ConfigError: mmdet3d came without its tools.
        DataError: Lists of frames, or files of listed frames, are missing or damaged.
    """
    root = Path(root).resolve()
    frames = _image_sets(root)
    for split, numbers in frames.items():
        _check_frames(root, _part(split), numbers, f'{root}/ImageSets/{split}.txt')
    converter, updater = load_converter('kitti_converter'), load_converter('update_infos_to_v2')
    with unfinished_folder(root) as work, converter_output(verbose):
        (work / 'v2').mkdir()
        infos = {split: _gather_infos(converter, root, split, numbers) for split, numbers in frames.items()}
        for split in frames:
            source = _dump(infos[split], work / f'kitti_infos_{split}.pkl')
            _reduce_clouds(converter, root, _part(split), source)
        for split, content in {**infos, 'trainval': infos['train'] + infos['val']}.items():
            source = _dump(content, work / f'kitti_infos_{split}.pkl')
            updater.update_kitti_infos(str(source), str(work / 'v2'))
        return [move_into(path, root) for path in sorted((work / 'v2').iterdir())]


def _sequences(root: Path) -> dict[int, Sequence[str]]:
    """Names of the scans of each sequence; they must be numbered without gap, as the converter counts them."""
    sequences = {}
    for folder in sorted((root / 'sequences').glob('[0-9][0-9]')):
        names = sorted(path.stem for path in (folder / 'velodyne').glob('*.bin'))
        for number, name in enumerate(names):
            if name != f'{number:06d}':
                raise DataError(
                    f'{folder}/velodyne/{number:06d}.bin is missing (the next scan is {name}.bin): unpack '
                    'data_odometry_velodyne.zip again'
                )
        if names:
            sequences[int(folder.name)] = names
    if not sequences:
        raise DataError(
            f'{root}/sequences/*/velodyne has no scans: unpack data_odometry_velodyne.zip so that {root} holds '
            '`sequences`, or name that folder with --root'
        )
    return sequences


def _sequence_camera(root: Path, number: int, scans: int) -> dict | None:
    """`cam2img` and `lidar2cam` (4, 4) of a sequence's CAM2; None without images."""
    folder = root / 'sequences' / f'{number:02d}'
    images = len(list((folder / 'image_2').glob('*.png')))
    if not images:
        return None
    if images != scans:
        raise DataError(
            f'{folder}/image_2 has {images} images for {scans} scans: unpack data_odometry_color.zip again, or remove '
            'the folder to do without images'
        )
    matrices = _read_calibration(folder / 'calib.txt', {'P2': (3, 4), 'Tr': (3, 4)}, 'data_odometry_calib.zip')
    return {'cam2img': matrices['P2'].tolist(), 'lidar2cam': matrices['Tr'].tolist()}


def _sequence_motion(root: Path, number: int, scans: int) -> list[dict]:
    """`timestamp` and `ego2global` of every scan of a sequence; empty if `poses.txt` or `times.txt` is absent."""
    folder = root / 'sequences' / f'{number:02d}'
    if not all((folder / name).is_file() for name in ('poses.txt', 'times.txt', 'calib.txt')):
        return [{}] * scans
    poses = _read_rows(folder / 'poses.txt', 12, scans).reshape(-1, 3, 4)
    times = _read_rows(folder / 'times.txt', 1, scans)[:, 0]
    # the poses are those of camera 0
    camera = np.tile(np.eye(4), (scans, 1, 1))
    camera[:, :3] = poses
    lidar = camera @ _read_calibration(folder / 'calib.txt', {'Tr': (3, 4)}, 'data_odometry_calib.zip')['Tr']
    return [{'timestamp': float(time), 'ego2global': pose.tolist()} for time, pose in zip(times, lidar)]


def _read_rows(path: Path, columns: int, count: int) -> np.ndarray:
    """(count, columns) finite numbers of a text file."""
    try:
        rows = np.array([line.split() for line in path.read_text().splitlines() if line.strip()], float)
    except (OSError, ValueError):
        rows = np.empty((0, 0))
    if rows.shape != (count, columns) or not np.isfinite(rows).all():
        raise DataError(
            f'{path} is no table of {count} rows of {columns} numbers, one a scan: unpack the archive that it came in '
            'again, or remove it to do without poses'
        )
    return rows


def _image_sets(root: Path) -> dict[str, list[int]]:
    """Frame numbers of the splits that exist."""
    frames = {}
    for split in ('train', 'val', 'test'):
        path = root / 'ImageSets' / f'{split}.txt'
        if not path.is_file():
            if split == 'test':
                continue
            raise DataError(
                f"{path} is missing: put KITTI's lists of frames (train.txt, val.txt, perhaps test.txt; one number a "
                'line, as OpenPCDet and mmdet3d hand them out) there, or name the folder that has them with --root'
            )
        try:
            frames[split] = [int(line) for line in path.read_text().split()]
        except ValueError as error:
            raise DataError(f'{path} is no list of frame numbers ({error}): write one number per line') from None
    if not frames['train'] and not frames['val']:
        raise DataError(f'{root}/ImageSets/train.txt and val.txt are empty: write one frame number per line')
    return frames


def _part(split: str) -> str:
    return 'testing' if split == 'test' else 'training'


def _check_frames(root: Path, part: str, numbers: Sequence[int], listed_in: str) -> None:
    """Raise a DataError that names the first missing or damaged file of the listed frames."""
    names = [f'{number:06d}' for number in numbers]
    folders = [name for name in _FOLDERS if part == 'training' or name != 'label_2']
    for folder in folders:
        suffix, archive = _FOLDERS[folder]
        missing = [name for name in names if not (root / part / folder / f'{name}.{suffix}').is_file()]
        if missing:
            count = f'{len(missing)} of the {len(names)} frames in {listed_in} have none'
            path = root / part / folder / f'{missing[0]}.{suffix}'
            raise DataError(f'{path} is missing ({count}): unpack {archive} into {root}')
    for name in names:
        cloud = root / part / 'velodyne' / f'{name}.bin'
        if cloud.stat().st_size % 16 or not cloud.stat().st_size:
            raise DataError(f'{cloud} is damaged (rows have 16 bytes): unpack {_FOLDERS["velodyne"][1]} again')
        _read_calibration(root / part / 'calib' / f'{name}.txt', _CALIBRATION, _FOLDERS['calib'][1])
        if 'label_2' in folders:
            _check_labels(root / part / 'label_2' / f'{name}.txt')


def _check_labels(path: Path) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split(' ')
        try:
            complete = len([float(field) for field in fields[1:]]) >= _LABEL_FIELDS - 1
        except ValueError:
            complete = False
        if not complete:
            raise DataError(
                f'{path}, line {number}: an object has a class and {_LABEL_FIELDS - 1} numbers: unpack '
                f'{_FOLDERS["label_2"][1]} again'
            )


def _read_calibration(path: Path, shapes: dict[str, tuple[int, int]], archive: str) -> dict[str, np.ndarray]:
    """Matrices of a file with lines `name: numbers`, as (4, 4).

    Raises:
        DataError: The file or a matrix is missing, or has another shape.
    """
    try:
        lines = [line.partition(':') for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise DataError(f'{path} cannot be read: unpack {archive}') from None
    texts = {name: numbers for name, _, numbers in lines}
    matrices = {}
    for name, shape in shapes.items():
        matrix = matrices[name] = np.eye(4)
        try:
            matrix[: shape[0], : shape[1]] = np.array(texts[name].split(), float).reshape(shape)
        except (KeyError, ValueError):
            raise DataError(f'{path} has no {name} of {shape[0] * shape[1]} numbers: unpack {archive} again') from None
    return matrices


def _gather_infos(converter: ModuleType, root: Path, split: str, numbers: list[int]) -> list[dict]:
    """Infos of version 1."""
    labeled = split != 'test'
    infos = converter.get_kitti_image_info(
        str(root), training=labeled, label_info=labeled, velodyne=True, calib=True, image_ids=numbers
    )
    if labeled:
        converter._calculate_num_points_in_gt(str(root), infos, relative_path=True)
    return infos


def _reduce_clouds(converter: ModuleType, root: Path, part: str, infos: Path) -> None:
    target = root / part / 'velodyne_reduced'
    target.mkdir(exist_ok=True)
    with unfinished_folder(target) as work:
        converter._create_reduced_point_cloud(str(root), str(infos), str(work))
        for path in work.iterdir():
            move_into(path, target)


def _dump(content, path: Path) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(pickle.dumps(content))
    return path

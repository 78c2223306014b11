"""PandaSet as two datasets, one for each of its lidars: clouds in the vehicle's frame, labels, mmdet3d's info files."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from peridot.datasets.catalog.pandaset import LIDARS, PANDAR64
from peridot.datasets.create_infos import write_infos
from peridot.errors import DataError
from peridot.files import atomic_path

if TYPE_CHECKING:
    from pandas import DataFrame

# sequences that start north of it (San Francisco) are for training, the others (El Camino Real) for validation
BORDER_LATITUDE = 37.6
# from the vehicle's origin, about on the road, to where clouds have theirs: the road lies at -1.7 m as in nuScenes
ORIGIN_HEIGHT = 1.6
_LIDAR_COLUMNS = ['x', 'y', 'z', 'i', 'd']
_MAX_LABEL = max(PANDAR64.segmentation_meta()['seg_label_mapping'])

_RESTORE = 'unpack the sequence again'
# classes that a table of numbers with names needs, as pandas 0.25 to 3 store it without pyarrow
_TABLE_PARTS = {
    'builtins': {'slice'},
    '__builtin__': {'slice'},
    '_codecs': {'encode'},
    'numpy': {'dtype', 'ndarray'},
    'numpy.core.multiarray': {'_reconstruct', 'scalar'},
    'numpy._core.multiarray': {'_reconstruct', 'scalar'},
    'numpy.core.numeric': {'_frombuffer'},
    'numpy._core.numeric': {'_frombuffer'},
    'pandas': {'DataFrame', 'Index', 'RangeIndex', 'StringDtype'},
    'pandas._libs.arrays': {'__pyx_unpickle_NDArrayBacked'},
    'pandas._libs.internals': {'_unpickle_block'},
    'pandas.arrays': {'StringArray'},
    'pandas.core.arrays.string_': {'StringArray', 'StringDtype'},
    'pandas.core.frame': {'DataFrame'},
    'pandas.core.indexes.base': {'Index', '_new_Index'},
    'pandas.core.indexes.numeric': {'Float64Index', 'Int64Index', 'UInt64Index'},
    'pandas.core.indexes.range': {'RangeIndex'},
    'pandas.core.internals.blocks': {'new_block'},
    'pandas.core.internals.managers': {'BlockManager'},
}


def create_pandaset_infos(root: str | os.PathLike, verbose: bool = False) -> list[Path]:
    """Write clouds, labels and `{pandar64,pandargt}_infos_{train,val}.pkl` into the dataset's folder.

    For each sequence with semantic labels, lidar and frame: `{lidar}/{sequence}/{frame}.bin`, float32 x, y, z,
    intensity (0..255) in the vehicle's frame at the sweep's pose, 1.6 m above its origin, and
    `{lidar}/{sequence}/{frame}.label`, uint8 PandaSet ids. Files that exist are kept: an interrupted run goes on.
    Sequences that begin north of 37.6 degrees are for training. A split without sequences gets no info file.

    Args:
        root: Folder with the sequences `001`, `002`, ...
        verbose: Show progress and the numbers of sequences.

    Returns:
        The info files.

    Raises:
        DataError: Files of a sequence are missing, damaged or do not fit together.
    """
    root = Path(root).resolve()
    sequences = _sequences(root)
    infos = {entry.name: {'train': [], 'val': []} for entry in LIDARS}
    for folder in tqdm(sequences, desc='PandaSet', unit='sequence', disable=not verbose):
        split = 'train' if _latitude(folder) > BORDER_LATITUDE else 'val'
        for frame, lidar, info in _convert(root, folder):
            infos[lidar][split].append({'sample_idx': f'{folder.name}/{frame}', **info})
    paths = []
    for entry in LIDARS:
        for split, samples in infos[entry.name].items():
            if not samples:
                continue
            paths.append(write_infos(root, entry, split, samples))
            if verbose:
                print(f'{entry.name}, {split}: {len(samples)} sweeps')
    return paths


def read_table(path: Path) -> DataFrame:
    """A pickled pandas table of numbers, and nothing else: no code of the file is run.

    Raises:
        DataError: The file is missing, damaged, or holds anything but a table of numbers.
    """
    from pandas import DataFrame
    from pandas.compat.pickle_compat import Unpickler

    class TableUnpickler(Unpickler):
        """Pandas' own, which knows the names of earlier versions, cut down to what a table needs."""

        def find_class(self, module: str, name: str):
            if name not in _TABLE_PARTS.get(module, ()):
                raise pickle.UnpicklingError(f'it asks for {module}.{name}')
            return super().find_class(module, name)

    try:
        with gzip.open(path, 'rb') as file:
            table = TableUnpickler(file).load()
    except FileNotFoundError:
        raise DataError(f'{path} is missing: {_RESTORE}') from None
    except pickle.UnpicklingError as error:
        raise DataError(f'{path} is no table of numbers ({error}): {_RESTORE} from the original archive') from None
    except Exception as error:  # a damaged stream may fail anywhere in gzip, pickle, numpy or pandas
        raise DataError(f'{path} is damaged ({type(error).__name__}): {_RESTORE}') from None
    if not isinstance(table, DataFrame):
        raise DataError(f'{path} holds no table, but {type(table).__name__}: {_RESTORE}')
    return table


def _sequences(root: Path) -> list[Path]:
    """Folders of the sequences that have semantic labels."""
    folders = [path for path in sorted(root.glob('[0-9][0-9][0-9]')) if (path / 'lidar').is_dir()]
    if not folders:
        raise DataError(
            f'{root} has no sequence (001/lidar, 002/lidar, ...): unpack PandaSet there, or name its folder with --root'
        )
    labeled = [path for path in folders if (path / 'annotations' / 'semseg').is_dir()]
    if not labeled:
        raise DataError(f'{root}/*/annotations/semseg is missing in all sequences: unpack PandaSet with its labels')
    return labeled


def _latitude(folder: Path) -> float:
    path = folder / 'meta' / 'gps.json'
    try:
        return float(_read_json(path)[0]['lat'])
    except (LookupError, TypeError, ValueError):
        raise DataError(f'{path} has no latitude `lat` in its first entry: {_RESTORE}') from None


def _convert(root: Path, folder: Path) -> Iterator[tuple[str, str, dict]]:
    """Frame, lidar and info of every sweep of a sequence; their clouds and labels are written."""
    frames = _frames(folder)
    ego = _poses(folder / 'lidar' / 'poses.json', len(frames))
    ego[:, :3, 3] += ORIGIN_HEIGHT * ego[:, :3, 2]
    cameras = {name: _camera(folder, name, frames, ego) for name in PANDAR64.cameras}
    times = _timestamps(folder / 'lidar' / 'timestamps.json', len(frames))
    for number, frame in enumerate(frames):
        stems = {entry.name: f'{entry.name}/{folder.name}/{frame}' for entry in LIDARS}
        if not all((root / f'{stem}{end}').is_file() for stem in stems.values() for end in ('.bin', '.label')):
            _write_clouds(root, folder, frame, ego[number], stems)
        images = {name: infos[number] for name, infos in cameras.items()}
        for lidar, stem in stems.items():
            yield (
                frame,
                lidar,
                {
                    **times[number],
                    'ego2global': ego[number].tolist(),
                    'lidar_points': {'lidar_path': f'{stem}.bin', 'num_pts_feats': len(PANDAR64.columns)},
                    'pts_semantic_mask_path': f'{stem}.label',
                    'images': images,
                },
            )


def _write_clouds(root: Path, folder: Path, frame: str, ego: np.ndarray, stems: dict[str, str]) -> None:
    path = folder / 'lidar' / f'{frame}.pkl.gz'
    label_path = folder / 'annotations' / 'semseg' / path.name
    table, labels = read_table(path), read_table(label_path)
    points, classes = _columns(path, table, _LIDAR_COLUMNS), _columns(label_path, labels, ['class'])
    # rows belong together by their numbers, in whatever order
    if not (table.index.is_unique and labels.index.is_unique and len(table) == len(labels)):
        raise DataError(f'{path} has {len(table)} points, but {label_path} labels {len(labels)}: {_RESTORE}')
    order = labels.index.get_indexer(table.index)
    if (order < 0).any():
        raise DataError(f'{label_path} labels other points than those of {path}: {_RESTORE}')
    classes = classes[order, 0]
    if not np.isin(classes, np.arange(_MAX_LABEL + 1)).all():
        raise DataError(f'{label_path} has classes outside 0 to {_MAX_LABEL}: {_RESTORE}')
    local = (points[:, :3] - ego[:3, 3]) @ ego[:3, :3]
    cloud = np.c_[local, points[:, 3]].astype(np.float32)
    for number, lidar in enumerate(stems):
        own = points[:, 4] == number
        _write(root / f'{stems[lidar]}.label', classes[own].astype(np.uint8).tobytes())
        _write(root / f'{stems[lidar]}.bin', cloud[own].tobytes())


def _columns(path: Path, table: DataFrame, names: list[str]) -> np.ndarray:
    """(N, len(names)) float64."""
    try:
        values = table[names].to_numpy(np.float64)
    except (KeyError, ValueError, TypeError):
        raise DataError(f'{path} has no columns of numbers {", ".join(names)}: {_RESTORE}') from None
    if not len(values) or not np.isfinite(values).all():
        raise DataError(f'{path} is empty or holds values that are not finite: {_RESTORE}')
    return values


def _camera(folder: Path, name: str, frames: list[str], ego: np.ndarray) -> list[dict]:
    """`images` entry of a camera for every frame; `ego` (T, 4, 4) takes clouds to the world."""
    where = folder / 'camera' / name
    intrinsics = _read_json(where / 'intrinsics.json')
    try:
        fx, fy, cx, cy = (float(intrinsics[key]) for key in ('fx', 'fy', 'cx', 'cy'))
    except (LookupError, TypeError, ValueError):
        raise DataError(f'{where}/intrinsics.json has no fx, fy, cx and cy: {_RESTORE}') from None
    lidar2cam = np.linalg.inv(_poses(where / 'poses.json', len(frames))) @ ego
    for frame in frames:
        if not (where / f'{frame}.jpg').is_file():
            raise DataError(f'{where}/{frame}.jpg is missing: {_RESTORE}')
    return [
        {
            'img_path': f'{folder.name}/camera/{name}/{frame}.jpg',
            'cam2img': [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
            'lidar2cam': matrix.tolist(),
        }
        for frame, matrix in zip(frames, lidar2cam)
    ]


def _frames(folder: Path) -> list[str]:
    """Names of the sweeps."""
    frames = [path.name.removesuffix('.pkl.gz') for path in sorted((folder / 'lidar').glob('[0-9]*.pkl.gz'))]
    if not frames:
        raise DataError(f'{folder}/lidar has no sweep (00.pkl.gz, ...): {_RESTORE}')
    return frames


def _timestamps(path: Path, count: int) -> list[dict]:
    """`timestamp` in seconds of every frame; empty if the file is absent."""
    if not path.is_file():
        return [{}] * count
    try:
        times = [{'timestamp': float(time)} for time in _read_json(path)]
    except (TypeError, ValueError):
        raise DataError(f'{path} is no list of times in seconds: {_RESTORE}') from None
    if len(times) != count:
        raise DataError(f'{path} has {len(times)} times for {count} frames: {_RESTORE}')
    return times


def _poses(path: Path, count: int) -> np.ndarray:
    """(T, 4, 4) float64 sensor or vehicle to world."""
    try:
        poses = _read_json(path)
        turns = Rotation.from_quat([[pose['heading'][key] for key in 'xyzw'] for pose in poses])
        places = np.array([[pose['position'][key] for key in 'xyz'] for pose in poses], np.float64)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise DataError(f'{path} is no list of poses (`heading` w, x, y, z; `position` x, y, z): {_RESTORE}') from None
    if len(places) != count:
        raise DataError(f'{path} has {len(places)} poses for {count} frames: {_RESTORE}')
    matrices = np.tile(np.eye(4), (count, 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = turns.as_matrix(), places
    return matrices


def _read_json(path: Path):
    try:
        return json.loads(path.read_text())
    except OSError:
        raise DataError(f'{path} is missing: {_RESTORE}') from None
    except ValueError:
        raise DataError(f'{path} is no JSON file: {_RESTORE}') from None


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)

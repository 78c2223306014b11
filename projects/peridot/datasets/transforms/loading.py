"""Loading of points, images, point labels and per-pixel maps, with one-line errors about bad files."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.datasets.transforms import LoadPointsFromFile
from mmengine.logging import print_log
from torch import Tensor

from peridot.datasets.frames import PER_CAMERA
from peridot.datasets.point_layout import likely_layout
from peridot.datasets.projection import project_to_cameras
from peridot.datasets.transforms.views import ViewTransform
from peridot.errors import ConfigError, DataError
from peridot.files import read_file
from peridot.maps.folder import MapFolder
from peridot.maps.named import maps_called
from peridot.maps.runs import RunMap
from peridot.registry import TRANSFORMS
from peridot.structures import ImageViews


@TRANSFORMS.register_module()
class LoadPoints(LoadPointsFromFile):
    """mmdet3d's `LoadPointsFromFile` that refuses damaged files.

    Args:
        load_dim: Numbers per point in the file (5 for nuScenes, 4 for KITTI).
        use_dim: Columns to keep, or how many of the first ones.
        intensity_scale: Divides the fourth number, the intensity: 255 if it is 0 to 255 in the files and the
            downstream network reads 0 to 1. Defaults to 1.
        dtype: Type of the numbers in the file, 'float32' (default) or 'float64'.
        nonfinite: What to do about points with values that are not finite in the kept columns, as drivers write them
            for lost returns: 'error' (default), or 'drop', which leaves them out and counts them.
            `LoadPointLabels` leaves out their labels.
        backend_args: Arguments of mmengine's file back end (`dict(backend=...)`). Defaults to those of the dataset.
        **kwargs: Other arguments of `LoadPointsFromFile`.

    Raises:
        DataError: The file is missing, empty, of a length that is no multiple of a row, or not finite, or the first one
            holds other numbers than `load_dim` and `dtype` say.
        ConfigError: `load_dim` differs from the `num_pts_feats` of the info file; `dtype` or `nonfinite` is another
            word.
    """

    def __init__(
        self,
        load_dim: int = 5,
        use_dim: int | Sequence[int] = 4,
        intensity_scale: float = 1.0,
        dtype: str = 'float32',
        nonfinite: str = 'error',
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__('LIDAR', load_dim, use_dim, backend_args=backend_args, **kwargs)
        if dtype not in ('float32', 'float64') or nonfinite not in ('error', 'drop'):
            raise ConfigError(
                f"LoadPoints: dtype={dtype!r}, nonfinite={nonfinite!r}: choose 'float32' or 'float64', and 'error' or "
                "'drop'"
            )
        self.intensity_scale = intensity_scale
        self.dtype = np.dtype(dtype)
        self.nonfinite = nonfinite
        self._looked_at = self._dropped = False

    def transform(self, results: dict) -> dict:
        """Add `points` (LiDARPoints, float32), for a dense cloud also those of the sweeps, in the keyframe's frame.

        With `nonfinite='drop'` also `dropped_points`, their number, and if there are some, `finite_points`, Bool (all
        points of the file,).
        """
        results = self._load(results)
        for sweep in results.get('dense_sweeps', ()):
            loaded = self._load({'lidar_points': {'lidar_path': sweep['lidar_path']}})
            loaded['points'].tensor = moved(loaded['points'].tensor, sweep['sensor2lidar'])
            results['points'] = results['points'].cat([results['points'], loaded['points']])
            if 'dropped_points' in loaded:
                results['dropped_points'] += loaded['dropped_points']
        return results

    def _load(self, results: dict) -> dict:
        stated = results['lidar_points'].get('num_pts_feats')
        if stated not in (None, self.load_dim):
            raise ConfigError(
                f'LoadPoints reads {self.load_dim} numbers per point, but the info file says {stated} '
                f'({results["lidar_points"]["lidar_path"]}): set load_dim={stated}'
            )
        results = super().transform(results)
        if self.nonfinite == 'drop':
            results['dropped_points'] = 0
        points = results['points'].tensor
        # a sum is finite only where all terms are, and takes a tenth of the time
        if points.sum().isfinite():
            return results
        finite = points.isfinite()
        return results if finite.all() else self._drop(results, finite.all(1))

    def _drop(self, results: dict, finite: Tensor) -> dict:
        path, lost = results['lidar_points']['lidar_path'], int((~finite).sum())
        if self.nonfinite == 'error' or not finite.any():
            raise DataError(
                f'point file {path} holds values that are not finite in {lost} of {len(finite)} points: restore it, '
                "or set nonfinite='drop' of LoadPoints to leave such points out"
            )
        if not self._dropped:
            line = f'{path}: {lost} of {len(finite)} points are not finite and left out, as in the files that follow'
            print_log(line, 'current', logging.WARNING)
        self._dropped = True
        results['points'] = results['points'][finite]
        return {**results, 'finite_points': finite.numpy(), 'dropped_points': lost}

    def _load_points(self, pts_filename: str) -> np.ndarray:
        row = self.dtype.itemsize * self.load_dim
        data = read_file(pts_filename, 'point file', self.backend_args)
        if not data or len(data) % row:
            raise DataError(
                f'point file {pts_filename} has {len(data)} bytes, expected a positive multiple of {row} '
                f'({self.load_dim} {self.dtype} per point): restore it or {self._likely(data) or "set load_dim"} of '
                'LoadPoints'
            )
        if not self._looked_at and (settings := self._likely(data)):
            raise DataError(
                f'point file {pts_filename} does not look like {self.load_dim} {self.dtype} per point: {settings} of '
                'LoadPoints'
            )
        self._looked_at = True
        points = np.frombuffer(data, dtype=self.dtype).astype(np.float32, copy=False)
        if self.intensity_scale != 1:
            points = points.reshape(-1, self.load_dim).copy()
            points[:, 3] /= self.intensity_scale
        return points

    def _likely(self, data: bytes) -> str | None:
        """Settings that the values of a file speak for, against the own ones."""
        layout = likely_layout(data, self.load_dim, self.dtype.name)
        return layout and f"set load_dim={layout[0]} and dtype='{layout[1]}'"


def moved(points: Tensor, matrix: np.ndarray) -> Tensor:
    """Points Float32 (N, >=3), x, y, z first, moved by a transform Float64 (4, 4) in its precision."""
    matrix = torch.from_numpy(matrix)
    xyz = points[:, :3].double() @ matrix[:3, :3].T + matrix[:3, 3]
    return torch.cat([xyz.float(), points[:, 3:]], 1)


@TRANSFORMS.register_module()
class LoadPointLabels(BaseTransform):
    """Semantic labels of the points, mapped to the dataset's classes.

    Does the work of mmdet3d's `LoadAnnotations3D(with_seg_3d=True)` and `PointSegClassMapping`, and checks
    length and values.

    Args:
        dtype: Type of a label in the file: 'uint8' (nuScenes lidarseg, the default) or 'uint32'
            (SemanticKITTI: the lower 16 bits are the class, the upper ones number the objects).
        backend_args: See `LoadPoints`.

    Raises:
        ConfigError: `dtype` is another type.
        DataError: The sample has no label file, or the file does not fit its points or its classes.
    """

    def __init__(self, dtype: str = 'uint8', backend_args: dict | None = None) -> None:
        if dtype not in ('uint8', 'uint32'):
            raise ConfigError(
                f"LoadPointLabels: dtype={dtype!r}, choose 'uint8' (nuScenes) or 'uint32' (SemanticKITTI)"
            )
        self.dtype = np.dtype(dtype)
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add `pts_semantic_mask` (N,) int64, also to `eval_ann_info` if the dataset made one."""
        path = results.get('pts_semantic_mask_path')
        if path is None:
            raise DataError(
                f'sample {results["token"]} of {results["ann_file"]} has no point labels: use an info file '
                'of labeled samples (nuScenes needs its lidarseg archive when the info file is made)'
            )
        data = read_file(path, 'point label file', self.backend_args)
        # of the file: some points may have been left out
        finite = results.get('finite_points')
        count = len(results['points'] if finite is None else finite)
        if len(data) != count * self.dtype.itemsize:
            raise DataError(
                f'point label file {path} has {len(data)} bytes, but {results["lidar_path"]} has {count} points, whose '
                f'labels take {self.dtype.itemsize} each: restore the file or set dtype of LoadPointLabels'
            )
        raw, table = np.frombuffer(data, self.dtype).astype(np.int64) & 0xFFFF, results['seg_label_mapping']
        mask = table[np.minimum(raw, len(table) - 1)]
        unknown = raw[(mask < 0) | (raw >= len(table))]
        if len(unknown):
            raise DataError(
                f'point label file {path} holds label {unknown[0]}, which metainfo.seg_label_mapping does not have: '
                'restore the file, or map the label to a class or to ignore_index'
            )
        results['pts_semantic_mask'] = mask if finite is None else mask[finite]
        if 'eval_ann_info' in results:
            results['eval_ann_info']['pts_semantic_mask'] = results['pts_semantic_mask']
        return results


@TRANSFORMS.register_module()
class LoadImageViews(ViewTransform):
    """Read the image files of all cameras; nothing is decoded before `PackPaired`.

    Args:
        backend_args: See `LoadPoints`.

    Raises:
        DataError: A file is absent, truncated or no image.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add `views` (ImageViews)."""
        results['views'] = ImageViews.from_files(results['img_paths'], self.backend_args)
        if results.get('frame') == 0:
            results['of_keyframe'].update({name: results[name] for name in ('views', *PER_CAMERA)})
        return results


@TRANSFORMS.register_module()
class ProjectPoints(BaseTransform):
    """Pairs of points and pixels; must come before any transform of points or images.

    Args:
        min_depth: Nearest depth in meters. Defaults to 1.
    """

    def __init__(self, min_depth: float = 1.0) -> None:
        self.min_depth = min_depth

    def transform(self, results: dict) -> dict:
        """Add `pairs` (Pairs)."""
        results['pairs'] = project_to_cameras(
            results['points'].tensor.numpy(),
            results['lidar2cam'],
            results['cam2img'],
            results['views'].file_size,
            self.min_depth,
        )
        return results


@TRANSFORMS.register_module()
class LoadPairLabels(BaseTransform):
    """Weak label of every pair, read from label maps at full resolution.

    Must come right after `ProjectPoints`, while positions refer to the image files. The map is read at the
    rounded position, as in OLIVINE.

    Args:
        name: Name of the maps in the dataset's `maps`.

    Raises:
        ConfigError: The dataset has no label maps of that name.
        DataError: A map is missing or wrong.
    """

    def __init__(self, name: str = 'labels') -> None:
        self.name = name

    def transform(self, results: dict) -> dict:
        """Add the label of every pair, -1 where there is none, and `label_classes` (int)."""
        folder = maps_called(self.name, results)
        if folder.num_classes is None:
            raise ConfigError(f'maps.{self.name} of the dataset names superpixels ({folder.folder}): name label maps')
        values = results['pairs'].values_in(_open_maps(folder, results))
        results['pairs'] = results['pairs'].replace(label=torch.from_numpy(folder.ids(values)).long())
        results['label_classes'] = folder.num_classes
        return results


@TRANSFORMS.register_module()
class LoadViewMaps(ViewTransform):
    """Per-pixel maps (superpixels, labels) that follow crops, resizes and flips of their images.

    Args:
        names: Names of the maps in the dataset's `maps`; the packed maps are called the same.

    Raises:
        ConfigError: The dataset has no maps of one of the names.
        DataError: A map is missing or wrong.
    """

    def __init__(self, names: Sequence[str] = ('superpixels',)) -> None:
        self.names = tuple(names)

    def transform(self, results: dict) -> dict:
        """Add the maps to `views.maps` (-1 at pixels without id), and `map_ids` (number of ids by name)."""
        results.setdefault('map_ids', {})
        for name in self.names:
            folder = maps_called(name, results)
            results['views'].maps[name] = [folder.ids(values) for values in _open_maps(folder, results)]
            results['map_ids'][name] = folder.num_ids or folder.num_classes
        return results


def _open_maps(folder: MapFolder, results: dict) -> list[np.ndarray | RunMap]:
    """Maps of a sample's cameras, with the values of the files."""
    sizes = results['views'].file_size.tolist()
    images = zip(results['img_paths'], sizes, results['img_tokens'])
    return [folder.open(path, tuple(size), token) for path, size, token in images]

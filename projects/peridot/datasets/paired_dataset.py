"""Samples of lidar points and camera images from MMDetection3D's info files."""

from __future__ import annotations

import gc
import json
import logging
import os.path as osp
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from peridot.catalog import create_command, lookup
from peridot.datasets.complete_infos import (
    Wanted,
    cameras_with_image,
    divide_complete,
    keep_existing_sweeps,
    token_of,
)
from peridot.datasets.frames import (
    FrameRule,
    boxes_of,
    join_frames,
    lidar2global_of,
    lidar2sensor_of,
    link_frames,
    next_scan,
    seconds,
    timestamp_of,
)
from peridot.datasets.missing import check_missing
from peridot.datasets.sampler import SampleKey, seeded_sample
from peridot.datasets.transforms.loading import LoadImageViews, LoadPointLabels
from peridot.datasets.transforms.occlusion import DropMovingPairs
from peridot.errors import ConfigError, DataError
from peridot.files import exists, join, read_file
from peridot.maps import FeatureFolder, MapFolder, SegmentFolder
from peridot.maps.named import open_maps
from peridot.registry import DATASETS


@DATASETS.register_module()
class PairedDataset(BaseDataset):
    """Lidar scans with their camera images, from an MMDetection3D info file (version 2).

    Infos of nuScenes, SemanticKITTI, KITTI, PandaSet, Argoverse 2 (tools/create_data.py) and Waymo (mmdet3d's) work. A
    sample needs `lidar_points.lidar_path` and, for every camera with an `img_path`, `cam2img` and `lidar2cam`. Only
    what the pipeline needs is kept in memory.

    Without cameras (`cameras=[]`) it can also train mmdet3d's segmentation networks, with `Pack3DDetInputs`,
    `SegMetric` and transforms that mix samples: classes and ignored label are those of the catalog.

    Keys handed to the pipeline:

    - `token`: the sample's token, or if it has none the lidar file's path in the info file, without suffix;
    - `lidar_points`, `lidar_path`;
    - `cameras` (names), `img_paths`, `img_tokens` (camera sample_data tokens or None), `lidar2cam` (V, 4, 4) and
      `cam2img` (V, 4, 4) float64;
    - `maps`: the opened folders of `maps` by name;
    - `data_root`, `ann_file`, `dataset_name`, `backend_args`;
    - if the info has it, `pts_semantic_mask_path` with `seg_label_mapping`, Int64 (M,), the class of every raw label or
      -1;
    - in test mode an empty `eval_ann_info`, else `dataset`, this dataset, and `skipped`, how many samples the pipeline
      rejected before this one;
    - with `num_sweeps`, `lidar_sweeps`, a list of dicts: `lidar_path` of an earlier sweep, `time` in seconds from the
      keyframe, and `sensor2lidar` (4, 4) float64, from its frame into the keyframe's;
    - with `frames`, in every frame: `frame`, `time` and `to_sample` (see `link_frames`), `frames_seed`, one for all
      frames of a sample, and `of_keyframe`, a dict in which the keyframe leaves its images for the dense cloud; the
      latter has `dense_sweeps`. With `keyframes` also `paired_scans`, the lidar files of the keyframe and of the first
      of the others, None where the drive has none there;
    - with `images_of` of `frames`, the entries of the cameras are those of the images of other keyframes, too, and
      `image_offsets` and `image_scans` tell them apart (see `link_frames`); `boxes` if `DropMovingPairs` reads them.

    With `frames` a sample is several frames of a drive. The pipeline runs on each of them, and what it packs is joined
    (`join_frames`): extra scans and images of the batch. Frames for which the pipeline returns None are left out.

    Args:
        data_root: Folder of the dataset.
        ann_file: Info file, relative to `data_root` unless absolute.
        data_prefix: Folders below `data_root`: `pts`, `sweeps`, `pts_semantic_mask`, and one per camera name or
            `img` for all cameras, as in MMDetection3D's datasets; those left out are `data_root` itself. `{version}`
            stands for the info file's `metainfo['version']` ('v1.0-mini', ... of nuScenes).
        cameras: Names of the cameras, in this order. None takes all that have
            an image, in the order of the catalog, unknown ones by name; an empty list takes none.
        dataset: Name that the info file's `metainfo['dataset']` must have; None accepts any.
        num_sweeps: Sweeps before each keyframe to keep, the latest first, where the info lists them and the file is
            there.
        missing: What to do about samples that lack a camera of `cameras`, or what the pipeline loads, any image or
            point labels:
            'skip' leaves them out and counts them in one line, 'error' stops. The same holds for sweeps.
        maps: Folders of per-pixel maps (labels, superpixels, teacher features) by name, see
            `open_maps`. Transforms read them by name; all of them must exist for all images.
        frames: Other frames of a sample, the settings of `FrameRule`, e.g.
            `dict(keyframes=(-1, 1))`.
        backend_args: Arguments of mmengine's file back end (`dict(backend=...)`), for info file, maps, and the
            transforms that have none of their own. URIs in `data_root` (`s3://...`) may do without.
        **kwargs: Those of mmengine's `BaseDataset` (`pipeline`, `indices`, `metainfo`, `test_mode`, ...).

    Attributes:
        left_out: Names of the samples that lack something.

    Raises:
        ConfigError: `missing` is another word.
        DataError: The data root or the info file is missing, the info file has another format or belongs to
            another dataset, a camera has no calibration, a sweep or frame no pose, maps do not exist for all images, or
            all samples lack something.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        data_prefix: dict | None = None,
        cameras: Sequence[str] | None = None,
        dataset: str | None = None,
        num_sweeps: int = 0,
        maps: Mapping[str, str | Mapping] | None = None,
        frames: Mapping | None = None,
        missing: str = 'skip',
        backend_args: Mapping | None = None,
        **kwargs,
    ) -> None:
        check_missing(missing)
        self.missing = missing
        self.left_out: list[str] = []
        self.backend_args = backend_args
        self.cameras = None if cameras is None else list(cameras)
        self.dataset = dataset
        self.frame_rule = _frame_rule(frames)
        rule = self.frame_rule
        self.num_sweeps = max([num_sweeps, *((*rule.sweeps, rule.dense) if rule else ())])
        self.maps = dict(maps or {})
        self.map_folders: dict[str, MapFolder | FeatureFolder | SegmentFolder] = {}
        prefixes = {'pts': '', 'sweeps': '', 'pts_semantic_mask': '', 'img': '', **(data_prefix or {})}
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=prefixes, **kwargs)
        for step in self.pipeline.transforms:
            if getattr(step, 'backend_args', False) is None:
                step.backend_args = backend_args

    def _join_prefix(self) -> None:
        """Like mmengine's, for stores that cannot join paths (HTTP) too."""
        self.ann_file = join(self.data_root, self.ann_file)
        self.data_prefix = {name: join(self.data_root, prefix) for name, prefix in self.data_prefix.items()}

    def full_init(self) -> None:
        """Read the info file, then check that every map exists."""
        if not self._fully_initialized:
            wanted = self._indices
            if wanted is not None and not (wanted if isinstance(wanted, int) else len(wanted)):
                raise DataError(f'`indices` leaves no sample of {self.ann_file}: name at least one')
            super().full_init()
            self.check_maps()

    def check_maps(self) -> None:
        """Open the folders of `maps`; a DataError names those that lack maps of some images. No map is read."""
        if not self.open_maps():
            return
        infos = map(super().get_data_info, range(len(self)))
        frames = (frame for info in infos for frame in (info, *info.get('frames', ())))
        images = list(dict.fromkeys(image for info in frames for image in zip(info['img_paths'], info['img_tokens'])))
        for folder in self.map_folders.values():
            folder.check_exist(self._pairs_of_scans(folder) if isinstance(folder, SegmentFolder) else images)
            print_log(folder.describe(), 'current', logging.INFO if folder.is_finished else logging.WARNING)

    def _pairs_of_scans(self, folder: SegmentFolder) -> list[tuple[str, None]]:
        """Lidar file of the first scan of every pair of keyframes that needs segments.

        Raises:
            ConfigError: The segments are of other pairs than those of `frames`.
        """
        rule, found = self.frame_rule, folder.manifest.frames
        if rule is None or found != {'offset': next(iter(rule.keyframes), None), 'max_gap': rule.max_gap}:
            raise ConfigError(
                f'the lidar segments in {folder.location} are of keyframes {found}: set frames=dict(keyframes='
                f'({found["offset"]},), max_gap={found["max_gap"]}) of the dataset, or make others with '
                f'`{folder.command}`'
            )
        infos = map(super().get_data_info, range(len(self)))
        return [(info['lidar_path'], None) for info in infos if next_scan(info) is not None]

    def open_maps(self) -> dict[str, MapFolder | FeatureFolder | SegmentFolder]:
        """The folders of `maps` by name, see `peridot.maps.named.open_maps`; single maps are not checked."""
        self.map_folders = open_maps(self.maps, self.data_root, self.backend_args)
        return self.map_folders

    def __getitem__(self, key: int | SampleKey) -> dict:
        """Run the pipeline on one sample, under the key's seed when it has one.

        If the pipeline returns None, another random sample is used; `skipped` counts how often.

        Raises:
            DataError: The pipeline returned None for `max_refetch` + 1 samples, in test mode for one.
        """
        index, seed = key if isinstance(key, SampleKey) else (key, None)
        self.full_init()
        tries = 1 if self.test_mode else self.max_refetch + 1
        with seeded_sample(seed):
            for skipped in range(tries):
                data = self.prepare_data(index, skipped)
                if data is not None:
                    return data
                index = self._rand_another()
        raise DataError(
            f'the pipeline keeps none of {tries} samples of {self.ann_file}: check the calibrations in it, `cameras`, '
            'and min_points and min_depth of peridot.ChooseCamera'
        )

    def prepare_data(self, idx: int, skipped: int = 0) -> dict | None:
        """Run the pipeline on all frames; in training each gets the dataset itself too, to mix samples."""
        shared = {} if self.test_mode else {'dataset': self, 'skipped': skipped}
        packed = []
        for info in self._frames(self.get_data_info(idx)):
            packed.append(self.pipeline({**info, **shared}))
            if packed[0] is None:
                return None
        packed = [frame for frame in packed if frame is not None]
        return packed[0] if self.frame_rule is None else join_frames(packed)

    def get_data_info(self, idx: int) -> dict:
        """The parsed info of one sample, with the entries that all samples have in common."""
        return self._with_shared(super().get_data_info(idx))

    def _frames(self, info: dict) -> Iterator[dict]:
        """The sample's keyframe, then its other frames."""
        other, others = next_scan(info), info.pop('frames', ())
        if self.frame_rule is None:
            yield info
            return
        shared = {'frames_seed': np.random.randint(2**32), 'of_keyframe': {}}
        if self.frame_rule.keyframes:
            shared['paired_scans'] = None if other is None else (info['lidar_path'], other['lidar_path'])
        yield {**info, **shared, 'frame': 0, 'time': 0.0, 'to_sample': np.eye(4)}
        for other in others:
            # the keyframe has gone through the pipeline by now
            images = shared['of_keyframe'] if 'dense_sweeps' in other else {}
            yield {**self._with_shared(other), **shared, **images}

    def _with_shared(self, info: dict) -> dict:
        """An info with the entries that all samples have in common."""
        info.update(data_root=self.data_root, ann_file=self.ann_file, dataset_name=self._metainfo['dataset'])
        info['maps'] = self.map_folders
        info['backend_args'] = self.backend_args
        if 'pts_semantic_mask_path' in info and 'seg_label_mapping' in self._metainfo:
            info['seg_label_mapping'] = self._label_table()
        if self.test_mode:
            info['eval_ann_info'] = {}
        return info

    def read_infos(self) -> dict:
        """Content of the info file, see `read_info_file`."""
        self.check_files()
        return read_info_file(self.ann_file, self.data_root, self.backend_args)

    def load_data_list(self) -> list[dict]:
        """Read and check the info file."""
        content = self.read_infos()
        metainfo = content['metainfo']
        found = metainfo['dataset']
        if self.dataset is not None and found != self.dataset:
            raise DataError(
                f'{self.ann_file} describes the dataset {found!r}, but the config expects {self.dataset!r}: '
                'set ann_file (and data_root) to the info file of that dataset'
            )
        defaults = {**lookup(found).segmentation_meta(), **metainfo, 'dataset': found or 'unknown'}
        for name, value in defaults.items():
            self._metainfo.setdefault(name, value)
        if not content['data_list']:
            raise DataError(f'{self.ann_file} holds no sample: make it again ({self._create_command()})')
        version = str(metainfo.get('version', 'v1.0-trainval'))
        self.data_prefix = {name: path.replace('{version}', version) for name, path in self.data_prefix.items()}
        with paused_collector():
            infos = [self._parsed(info) for info in self._complete(content['data_list'])]
        # other stores than folders are not listed
        if self.num_sweeps and self.backend_args is None:
            keep_existing_sweeps(infos, self.missing)
        if self.frame_rule is not None:
            link_frames(infos, self.frame_rule)
        return infos

    def _complete(self, infos: list[dict]) -> list[dict]:
        """The raw infos that have all that the config asks for; the others become `left_out`."""
        labels, images = (
            any(isinstance(step, kind) for step in self.pipeline.transforms)
            for kind in (LoadPointLabels, LoadImageViews)
        )
        remedy = (
            f'unpack what is missing and run `{self._create_command()}`, or change `cameras` or the pipeline of the '
            'dataset config'
        )
        wanted = Wanted(self.cameras, images, labels)
        whole, self.left_out = divide_complete(infos, wanted, self.ann_file, remedy, self.missing)
        return whole

    def _parsed(self, info: dict) -> dict:
        try:
            return self.parse_data_info(info)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            name = info.get('token', info.get('sample_idx')) if isinstance(info, dict) else info
            raise DataError(
                f'entry {name} of {self.ann_file} is not as mmdet3d writes it ({type(error).__name__}: {error}): make '
                f'the info file again ({self._create_command()})'
            ) from error

    def parse_data_info(self, info: dict) -> dict:
        """Keep what pre-training needs of one raw info, with full paths and stacked calibrations."""
        lidar = info.get('lidar_points', {})
        if not lidar.get('lidar_path'):
            raise DataError(
                f'sample {info.get("token", info.get("sample_idx"))} of {self.ann_file} has no lidar file: '
                f'make the info file again ({self._create_command()})'
            )
        lidar_path = osp.join(self.data_prefix['pts'], lidar['lidar_path'])
        token = token_of(info)
        images = info.get('images', {})
        names = self._camera_names(info)
        parsed = {
            'token': token,
            'sample_idx': info.get('sample_idx'),
            'lidar_path': lidar_path,
            'lidar_points': {'lidar_path': lidar_path, 'num_pts_feats': lidar.get('num_pts_feats')},
            'cameras': names,
            'img_paths': [self._image_path(name, images[name]) for name in names],
            'img_tokens': [images[name].get('sample_data_token') for name in names],
            'lidar2cam': self._calibration(images, names, 'lidar2cam', token),
            'cam2img': self._calibration(images, names, 'cam2img', token),
        }
        if info.get('pts_semantic_mask_path'):
            parsed['pts_semantic_mask_path'] = osp.join(
                self.data_prefix['pts_semantic_mask'], info['pts_semantic_mask_path']
            )
        if self.frame_rule is not None:
            parsed['timestamp'] = timestamp_of(info, self.ann_file)
            parsed['lidar2global'] = lidar2global_of(info, self.ann_file)
            if any(isinstance(step, DropMovingPairs) for step in self.pipeline.transforms):
                parsed['boxes'] = boxes_of(info)
        if self.num_sweeps or self.frame_rule is not None:
            sweeps = info.get('lidar_sweeps', [])[: self.num_sweeps]
            parsed['lidar_sweeps'] = [self._sweep(sweep, info, token) for sweep in sweeps]
        return parsed

    def _sweep(self, sweep: dict, info: dict, token: str) -> dict:
        lidar = sweep['lidar_points']
        # infos hold whole paths of sweeps; mmdet3d takes the file name alone, too
        folder = 'pts' if lidar['lidar_path'].split('/')[-3:-2] == ['samples'] else 'sweeps'
        lidar2sensor = lidar2sensor_of(sweep, info)
        if lidar2sensor.shape != (4, 4) or not np.isfinite(lidar2sensor).all():
            raise DataError(
                f'a sweep of sample {token} has no valid lidar2sensor in {self.ann_file}: make the info file again '
                f'({self._create_command()}) or set num_sweeps=0'
            )
        return {
            'lidar_path': osp.join(self.data_prefix[folder], osp.basename(lidar['lidar_path'])),
            'time': seconds(sweep.get('timestamp', np.nan)) - seconds(info.get('timestamp', np.nan)),
            'sensor2lidar': np.linalg.inv(lidar2sensor),
        }

    def check_files(self) -> None:
        """Raise a DataError when the data root or the info file is missing; nothing is read."""
        if not exists(self.data_root, self.backend_args, folder=True):
            raise DataError(
                f'the data root {self.data_root} does not exist: make a demo with '
                '`python tools/make_demo_data.py --out data/demo` and add `--data-root data/demo`, '
                f'or put the dataset there and run `{self._create_command()}`'
            )
        if not exists(self.ann_file, self.backend_args):
            raise DataError(
                f'the info file {self.ann_file} does not exist: make it with `{self._create_command()}`, which writes '
                'none of a split whose files are absent'
            )

    def _create_command(self) -> str:
        return create_command(self.data_root, self.dataset)

    def _camera_names(self, info: dict) -> list[str]:
        if self.cameras is None:
            return lookup(self._metainfo['dataset']).sort_cameras(cameras_with_image(info))
        return self.cameras

    def _image_path(self, name: str, camera: dict) -> str:
        return osp.join(self.data_prefix.get(name, self.data_prefix['img']), camera['img_path'])

    def _calibration(self, images: dict, names: Sequence[str], key: str, token: str) -> np.ndarray:
        matrices = np.tile(np.eye(4), (len(names), 1, 1))
        for matrix, name in zip(matrices, names):
            try:
                value = np.asarray(images[name][key], dtype=np.float64)
                if value.shape not in {(3, 3), (3, 4), (4, 4)} or not np.isfinite(value).all():
                    raise ValueError(value.shape)
            except (KeyError, TypeError, ValueError):
                raise DataError(
                    f'camera {name} of sample {token} has no valid {key} in {self.ann_file}: make the info '
                    f'file again ({self._create_command()}) or leave the camera out of `cameras`'
                ) from None
            matrix[: value.shape[0], : value.shape[1]] = value
        return matrices

    def _label_table(self) -> np.ndarray:
        mapping = self._metainfo['seg_label_mapping']
        table = np.full(max(mapping) + 1, -1, dtype=np.int64)
        table[list(mapping)] = list(mapping.values())
        return table


def _frame_rule(settings: Mapping | None) -> FrameRule | None:
    try:
        return None if settings is None else FrameRule(**settings)
    except TypeError as error:
        raise ConfigError(
            f'frames={dict(settings)}: {error}: set keyframes, sweeps, cameras, max_gap, dense, missing and images_of'
        ) from None


@contextmanager
def paused_collector() -> Iterator[None]:
    """Millions of new objects make the garbage collector run again and again: five times the time of reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_info_file(path: str, data_root: str, backend_args: Mapping | None = None) -> dict:
    """Load an MMDetection3D info file of version 2.

    Args:
        path: The `.pkl` (or `.json`) file.
        data_root: Folder of the dataset, for errors.
        backend_args: Arguments of mmengine's file back end.

    Returns:
        dict: `metainfo`, with the catalog's name of the dataset (or None) as `dataset`, and `data_list`.

    Raises:
        DataError: The file is missing, unreadable or of another version.
    """
    remake = f'make it with `{create_command(data_root)}`'
    data = read_file(path, 'info file', backend_args)
    try:
        with paused_collector():
            content = json.loads(data) if path.endswith('.json') else pickle.loads(data)
    except Exception as error:  # a damaged pickle fails in any way
        raise DataError(f'the info file {path} cannot be read ({type(error).__name__}): {remake}') from None
    if isinstance(content, list) or (isinstance(content, dict) and 'infos' in content):
        raise DataError(f'{path} is an info file of mmdet3d 0.x, but that of mmdet3d 1.1 or later is needed: {remake}')
    if not isinstance(content, dict) or not {'metainfo', 'data_list'} <= set(content):
        raise DataError(f'{path} is not an mmdet3d info file (no `metainfo` and `data_list`): {remake}')
    metainfo = content['metainfo']
    # those of Waymo are called mmdet3d_v1.4
    version = str(metainfo.get('info_version', '1.1'))
    if not version.removeprefix('mmdet3d_v').startswith('1.'):
        raise DataError(f'{path} has info version {version}, but 1.x is needed: {remake}')
    # SemanticKITTI's converter writes DATASET='SemanticKITTI'
    metainfo.setdefault('dataset', str(metainfo['DATASET']).lower() if 'DATASET' in metainfo else None)
    return content

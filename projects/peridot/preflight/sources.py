"""The datasets of a config, and the files that their samples name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmdet3d.datasets import Det3DDataset, Seg3DDataset
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from peridot.datasets.complete_infos import without_labels
from peridot.datasets.paired_dataset import PairedDataset
from peridot.files import join
from peridot.registry import DATASETS
from peridot.walk import dicts_of, steps_of

# kinds of files that transforms read; maps are checked by their datasets
READS = {
    'LoadPoints': 'points',
    'LoadPointsFromFile': 'points',
    'LoadSecondSweep': 'sweeps',
    'LoadPointsFromMultiSweeps': 'sweeps',
    'LoadImageViews': 'images',
    'LoadImageFromFile': 'images',
    'LoadCameraImage': 'images',
    'ChooseCamera': 'images',
    'LoadPointLabels': 'labels',
}
TRAINING, VALIDATION, FIT, PICTURE, TEST = 'training', 'validation', 'fit of the probe', 'picture', 'test'
PICTURE_HOOKS = ('peridot.FeaturePictureHook', 'peridot.OccupancyPictureHook')


@dataclass
class Source:
    """A dataset of a config that reads data itself.

    Attributes:
        use: What the run reads it for.
        settings: Its config.
        index: The only sample that is read; None for all.
        split: Path of the file that lists the samples that are read; None for all.
    """

    use: str
    settings: Mapping
    index: int | None = None
    split: str | None = None

    @property
    def kind(self) -> type | None:
        """Class of the dataset, None if no registry knows it."""
        name = self.settings['type']
        if isinstance(name, type):
            return name
        # a name without scope is of the config's default scope, as where it is built
        with DATASETS.switch_scope_and_registry(None) as registry:
            return registry.get(name)

    @property
    def is_ours(self) -> bool:
        """Whether it is a `PairedDataset`."""
        return isinstance(self.kind, type) and issubclass(self.kind, PairedDataset)

    @property
    def is_known(self) -> bool:
        """Whether it reads what a survey expects: info files of mmdet3d, if any; others are left to the run."""
        if self.is_ours or not isinstance(self.kind, type):
            return self.is_ours
        if issubclass(self.kind, Det3DDataset | Seg3DDataset):
            return not self.settings.get('scene_idxs')
        return issubclass(self.kind, BaseDataset) and self.info_file is None

    @property
    def info_file(self) -> str | None:
        """Path of its info file; None if it has none."""
        ann_file = str(self.settings.get('ann_file'))
        return join(self.settings['data_root'], ann_file) if ann_file.endswith('.pkl') else None

    @property
    def reads(self) -> list[str]:
        """Kinds of the files that its pipeline reads."""
        kinds = [READS.get(step['type'].split('.')[-1]) for step in steps_of(self.settings)]
        return [kind for kind in dict.fromkeys(kinds) if kind]


def sources_of(config: Config, training: bool) -> list[Source]:
    """Datasets that a run reads.

    Args:
        config: Config of the run.
        training: A training run; otherwise a test.
    """
    if not training and config.get('test_dataloader'):
        loaders = {TEST: config.test_dataloader}
    else:
        loaders = {TRAINING: config.get('train_dataloader')} if training else {}
        loaders[VALIDATION] = config.get('val_dataloader')
        loaders[FIT] = (config.get('val_cfg') or {}).get('fit_dataloader')
    sources = [source for use, loader in loaders.items() for source in _readers(use, loader or {})]
    # validations of tests draw them, too
    if config.get('picture_dataset') and TEST not in loaders:
        indices = dict.fromkeys(hook.get('index', 0) for hook in picture_hooks(config))
        sources += [Source(PICTURE, without_labels(config.picture_dataset), index) for index in indices]
    return sources


def picture_hooks(config: Config) -> list[Mapping]:
    """The hooks of a config that draw a sample of `picture_dataset`."""
    return [hook for hook in config.get('custom_hooks') or () if hook.get('type') in PICTURE_HOOKS]


def _readers(use: str, loader: Mapping) -> Iterator[Source]:
    """Datasets that read files; wrappers have no data root."""
    splits = {
        id(part['dataset']): join(part['dataset'].get('data_root', ''), part['split'])
        for part in dicts_of(loader)
        if part.get('type') == 'peridot.LabelFraction' and part.get('split')
    }
    for part in dicts_of(loader):
        if 'pipeline' in part and part.get('data_root'):
            yield Source(use, part, split=splits.get(id(part)))


def files_of(info: Mapping, kind: str) -> list[str] | None:
    """Files of a kind that a parsed info names; None if it should name one and does not."""
    if kind == 'points':
        return [info['lidar_points']['lidar_path']]
    if kind == 'sweeps':
        return [_sweep_file(sweep) for sweep in info.get('lidar_sweeps', ())]
    if kind == 'labels':
        return [info['pts_semantic_mask_path']] if info.get('pts_semantic_mask_path') else None
    return _image_files(info)


def _sweep_file(sweep: Mapping) -> str:
    return sweep['lidar_path'] if 'lidar_path' in sweep else sweep['lidar_points']['lidar_path']


def _image_files(info: Mapping) -> Sequence[str]:
    for key in ('img_paths', 'img_path'):
        if key in info:
            return [info[key]] if isinstance(info[key], str) else info[key]
    cameras = info.get('images', {}).values()
    return [camera['img_path'] for camera in cameras if isinstance(camera, Mapping) and camera.get('img_path')]

"""The datasets of a config, and the files that their samples name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmengine.config import Config

from peridot.datasets.complete_infos import without_labels
from peridot.walk import dicts_of

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
    """

    use: str
    settings: Mapping
    index: int | None = None

    @property
    def reads(self) -> list[str]:
        """Kinds of the files that its pipeline reads."""
        kinds = [READS.get(step['type'].split('.')[-1]) for step in steps_of(self.settings)]
        return [kind for kind in dict.fromkeys(kinds) if kind]


def steps_of(settings: Mapping) -> Iterator[Mapping]:
    """Transforms of a pipeline, also those inside others."""
    return (step for step in dicts_of(list(settings.get('pipeline', ()))) if isinstance(step.get('type'), str))


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
    sources = [Source(use, part) for use, loader in loaders.items() for part in _readers(loader)]
    hooks = [hook for hook in config.get('custom_hooks', ()) if hook.get('type') in PICTURE_HOOKS]
    if training and config.get('picture_dataset'):
        sources += [Source(PICTURE, without_labels(config.picture_dataset), hook.get('index', 0)) for hook in hooks[:1]]
    return sources


def _readers(settings: Mapping | None) -> Iterator[Mapping]:
    """Configs of datasets that read files; wrappers have no data root."""
    return (part for part in dicts_of(settings or {}) if 'pipeline' in part and part.get('data_root'))


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

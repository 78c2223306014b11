"""Configs of the repository, ready for made-up weights and, for a dry run, small."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config, ConfigDict

from peridot.gpu_check.checks import Setup
from peridot.models.students.detector_trunk import detector_model
from peridot.walk import dicts_of

# channels of the features of narrow networks
WIDTH = 8
# settings of narrow networks by type
NARROW = {
    'peridot.WaffleIron': dict(depth=3, channels=WIDTH),
    'peridot.Res16UNet': dict(stem_channels=8, channels=(8, 8, 16, 16, 16, 16, 8, WIDTH), layers=(1,) * 8),
    'MinkUNetBackbone': dict(
        base_channels=8,
        encoder_channels=[8, 8, 16, 16],
        decoder_channels=[16, 16, 8, WIDTH],
        encoder_blocks=[1] * 4,
        decoder_blocks=[1] * 4,
    ),
}
# teachers whose small relatives do as well
SMALL_TEACHERS = {
    'resnet50': dict(model='resnet18', output_stride=32),
    'vit_base_patch14_dinov2.lvd142m': dict(model='vit_small_patch14_dinov2.lvd142m'),
    'vit_large_patch14_dinov2.lvd142m': dict(model='vit_small_patch14_dinov2.lvd142m'),
}
# half the range of the detectors
REACH = 25.6


def pretraining_configs(setup: Setup) -> list[Path]:
    """Configs of pre-training: those that bring a new kind of network or objective, then, unless small, the others."""
    paths = sorted((setup.configs / 'pretrain').glob('*.py'))
    seen, first = set(), []
    for path in paths:
        kinds = kinds_of(Config.fromfile(path))
        if not kinds <= seen:
            seen |= kinds
            first.append(path)
    return first if setup.small else first + [path for path in paths if path not in first]


def kinds_of(config: Config) -> set[str]:
    """Types of student, backbone, teacher, heads and objectives of a config."""
    model = config.model
    kinds = {part['type'] for part in dicts_of([model.heads, model.objectives]) if 'type' in part}
    kinds.add(str((model.get('teacher') or {}).get('type')))
    return kinds | {f'{model.student.type} {model.student.get("backbone", {}).get("type")}'}


def load_config(path: Path | str, setup: Setup) -> Config:
    """A config with a teacher of random weights; small ones have narrow networks and one sample a batch."""
    config = Config.fromfile(path)
    model = config.model
    if model.get('teacher'):
        model.teacher.weights = None
    if 'vmf' in model.get('objectives', {}):
        # the loss begins with the second step
        model.objectives.vmf.update(warmup_steps=1, momentum=0.9)
    if setup.small:
        config.train_dataloader.batch_size = 1
        shrink(model, setup.folder)
    return config


def shrink(model: ConfigDict, folder: Path) -> None:
    """Make the networks of a model small.

    Args:
        model: Settings, changed in place.
        folder: For the config of a small detector.
    """
    for part in dicts_of(model):
        part.update(NARROW.get(part.get('type'), {}))
        if isinstance(part.get('model'), str):
            part.update(SMALL_TEACHERS.get(part['model'], {}))
        if part.get('type') == 'peridot.DetectorTrunk':
            part['detector'] = str(small_detector(part['detector'], folder))
    if 'decode_head' in model:
        model.decode_head.channels = WIDTH
    if 'voxel_layer' in model.get('data_preprocessor', {}):
        shorten(model)


def small_detector(detector: str, folder: Path) -> Path:
    """Write the config of a detector that `shorten` made small."""
    model = detector_model(detector)
    shorten(model)
    path = folder / f'{Path(detector.replace("::", "/")).stem}.py'
    path.write_text(f'model = {model.to_dict()!r}\n')
    return path


def shorten(model: ConfigDict) -> None:
    """Give a detector a short range and one layer in each block of its 2D backbone; changed in place."""
    prefix = 'pts_' if 'pts_backbone' in model else ''
    layer, encoder = model.data_preprocessor.voxel_layer, model[f'{prefix}middle_encoder']
    x, _, low, _, _, high = layer.point_cloud_range
    x = max(x, -REACH)
    layer.point_cloud_range = [x, -REACH, low, x + 2 * REACH, REACH, high]
    cells = round(2 * REACH / layer.voxel_size[0])
    if 'output_shape' in encoder:
        encoder.output_shape = (cells, cells)
        model[f'{prefix}voxel_encoder'].point_cloud_range = layer.point_cloud_range
    else:
        encoder.sparse_shape = [encoder.sparse_shape[0], cells, cells]
    backbone = model[f'{prefix}backbone']
    backbone.layer_nums = [1] * len(backbone.layer_nums)
    if settings := (model.get('train_cfg') or {}).get('pts'):
        settings.grid_size[:2] = [cells, cells]
        settings.point_cloud_range = layer.point_cloud_range

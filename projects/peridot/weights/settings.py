"""Input settings of networks, which must be the same in pre-training and downstream."""

import math
import re
from collections.abc import Iterable, Mapping
from numbers import Number

from torch import Tensor, nn

from peridot.catalog import lookup


def input_features(config: Mapping, student: nn.Module) -> dict | None:
    """Names and value ranges of the numbers that a student reads from each point, as far as its config says.

    Args:
        config: Pre-training config.
        student: Its student.

    Returns:
        `dataset`, `columns` (names; 'zero' for those that the files lack), `intensity_range` (None without limits)
        and `normalization`; of several datasets mixed `datasets`, the same of each. None when a training set is not
        in the catalog.
    """
    dataset = config.get('train_dataloader', {}).get('dataset', {})
    while 'dataset' in dataset and isinstance(dataset['dataset'], Mapping):
        dataset = dataset['dataset']
    if 'datasets' not in dataset:
        return _dataset_features(dataset, student)
    parts = [_dataset_features(part, student) for part in dataset['datasets']]
    return dict(datasets=parts) if all(parts) else None


def _dataset_features(dataset: Mapping, student: nn.Module) -> dict | None:
    entry = lookup(dataset.get('dataset'))
    loading = _transform(dataset, 'LoadPoints')
    if not entry.columns or loading is None:
        return None
    used = loading.get('use_dim', 4)
    used = range(used) if isinstance(used, int) else used
    columns = [entry.columns[column] for column in used]
    scale = loading.get('intensity_scale', 1)
    normalization = 'none, values as in the files' if scale == 1 else f'intensity / {scale:g}'
    if loading.get('norm_intensity'):
        normalization = f'tanh(intensity / {scale:g})'
    appended = _transform(dataset, 'AppendPointFeatures')
    if appended is not None:
        columns = ['x', 'y', 'z', 'intensity', 'x', 'y', 'z', 'range']
        normalization = f'(intensity - {appended.get("mean", 0)}) / {appended.get("std", 1)}'
    read = getattr(student, 'feature_columns', None) or range(getattr(student, 'point_columns', len(columns)))
    return dict(
        dataset=entry.name,
        columns=[columns[column] if column < len(columns) else 'zero' for column in read],
        intensity_range=entry.intensity_range and list(entry.intensity_range),
        normalization=normalization,
    )


def _transform(dataset: Mapping, name: str) -> Mapping | None:
    """The settings of a transform of the pipeline."""
    return next((step for step in dataset.get('pipeline', []) if name in str(step.get('type'))), None)


def other_intensities(features: Mapping | None, points: Iterable[Tensor]) -> str | None:
    """What to say of clouds whose intensities have another scale than those that a network was pre-trained on.

    Args:
        features: `input_features` of the weights.
        points: Clouds (N, C) as the network gets them, intensity in the fourth column; a tensor (B, N, C) will do.

    Returns:
        One line, or None where the scales agree or are not known.
    """
    end = _largest_intensity(features or {})
    found = [float(cloud[:, 3].max()) for cloud in points if len(cloud) and cloud.shape[1] > 3]
    # the brightest points of a scan seldom reach the end of the range, but never stay this far below
    if end is None or not found or end / 20 < max(found) < end * 2:
        return None
    return (
        f'the weights were pre-trained on intensities up to {end:g}, and the largest of the first batch is '
        f'{max(found):.3g}: scale them (LoadPoints intensity_scale), unless the published protocol does not'
    )


def _largest_intensity(features: Mapping) -> float | None:
    """End of the range of intensities that a network got in pre-training; None if it got none, or if unknown."""
    limits = features.get('intensity_range')
    if not limits or 'intensity' not in features.get('columns', ()):
        return None
    linear = re.match(r'none|intensity / (\d+(?:\.\d+)?(?:e[+-]\d+)?)$', str(features.get('normalization')))
    return limits[1] / float(linear[1] or 1) if linear else None


def network_settings(network: nn.Module) -> dict[str, tuple[object, str]]:
    """Input settings of a segmentor or detector, each with the config change that sets it."""
    preprocessor = getattr(network, 'data_preprocessor', None)
    change = 'set model.data_preprocessor.{}={{!r}}'.format
    names = ('voxel_size', 'coordinates', 'feature_columns', 'rounding', 'origin')
    if all(hasattr(preprocessor, name) for name in names):
        result = {name: (getattr(preprocessor, name), change(name)) for name in names}
        return {**result, **_waffleiron_settings(getattr(network, 'backbone', None))}
    layer = getattr(preprocessor, 'voxel_layer', None)
    if layer is None:
        return {}
    result = dict(voxel_size=(layer.voxel_size, change('voxel_layer.voxel_size')))
    if preprocessor.voxel_type == 'minkunet':
        # the full cloud is voxelized, regardless of the range
        result['coordinates'] = ('cartesian', "take data_preprocessor=dict(type='peridot.SegPreprocessor', ...)")
        return result
    result['point_cloud_range'] = (layer.point_cloud_range, change('voxel_layer.point_cloud_range'))
    for name in ('voxel_encoder', 'pts_voxel_encoder'):
        columns = getattr(getattr(network, name, None), 'num_features', None)
        if columns is not None:
            result['point_columns'] = (columns, f'set model.{name}.num_features={{!r}}')
    return result


def _waffleiron_settings(backbone: nn.Module | None) -> dict[str, tuple[object, str]]:
    if not hasattr(backbone, 'cell_size'):
        return {}
    change = 'set model.backbone.{}={{!r}}'.format
    return dict(
        cell_size=(backbone.cell_size, 'set model.backbone.grid_size to the size of point_cloud_range divided by {!r}'),
        num_neighbors=(backbone.num_neighbors, change('num_neighbors')),
        activation=(backbone.activation, change('activation')),
    )


def settings_differences(settings: Mapping, network: nn.Module) -> list[str]:
    """Differences between pre-training settings (`input_settings()` of the student) and those of a network, as text."""
    return [
        f'{name} was {settings[name]} in pre-training and is {_plain(value)} here: {change.format(settings[name])}'
        for name, (value, change) in network_settings(network).items()
        if name in settings and not _same(_plain(settings[name]), _plain(value))
    ]


def _plain(value):
    if isinstance(value, Tensor):
        return value.tolist()
    return list(value) if isinstance(value, (list, tuple)) else value


def _same(first, second) -> bool:
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, Number) and isinstance(second, Number):
        return math.isclose(first, second, rel_tol=1e-5, abs_tol=1e-9)
    return first == second

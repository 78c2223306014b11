"""Registries of scope `peridot`: in a config, `type='peridot.X'` is ours and `type='X'` is mmdet3d's."""

from mmengine import registry as upstream
from mmengine.registry import Registry


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope='peridot', locations=list(locations))


MODELS = _child(upstream.MODELS, 'peridot.models')
DATASETS = _child(upstream.DATASETS, 'peridot.datasets')
DATA_SAMPLERS = _child(upstream.DATA_SAMPLERS, 'peridot.datasets')
TRANSFORMS = _child(upstream.TRANSFORMS, 'peridot.datasets', 'peridot.drive_and_segment.transforms')
PARAM_SCHEDULERS = _child(upstream.PARAM_SCHEDULERS, 'peridot.optim')
HOOKS = _child(upstream.HOOKS, 'peridot.hooks')
LOOPS = _child(upstream.LOOPS, 'peridot.evaluation')
METRICS = _child(upstream.METRICS, 'peridot.evaluation')
OPTIM_WRAPPER_CONSTRUCTORS = _child(upstream.OPTIM_WRAPPER_CONSTRUCTORS, 'peridot.optim')
LABEL_GENERATORS = Registry('label generator', scope='peridot', locations=['peridot.labels'])

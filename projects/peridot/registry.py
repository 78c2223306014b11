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


def registered_types() -> set[str]:
    """Every name that a `type` of a config can have without an import: in a registry, with its scope, its full path."""
    registries, names = [item for item in vars(upstream).values() if isinstance(item, Registry)], set()
    for registry in registries:
        if registry.name == MODELS.name:
            registry.import_from_location()
        registries.extend(registry.children.values())
        for name, item in registry.module_dict.items():
            names |= {name, f'{registry.scope}.{name}', f'{item.__module__}.{item.__name__}'}
    return names

"""ObjectSample asks numpy for a type that no longer exists.

Broken: mmdet3d's `DataBaseSampler`, which pastes objects of the ground-truth database into training scans, labels
them with `dtype=np.long`: `AttributeError: module 'numpy' has no attribute 'long'` in the training of SECOND,
CenterPoint and others.
Versions: mmdet3d 1.1 to 1.4 with numpy 1.24 to 1.26.
Detected: `np.long` in the module's source and no `long` in numpy.
Repair: this one module sees a numpy whose `long` is int64, numpy's default integer on Linux.
Delete when: mmdet3d says `np.int64`, or numpy 2 is required.
"""

import inspect
from types import ModuleType

import numpy as np

from .records import note


def repair(module: ModuleType) -> None:
    """Repair the sampler of mmdet3d.datasets.transforms.dbsampler."""
    # asking numpy 1 for it would warn
    if 'long' in vars(np) or 'np.long' not in inspect.getsource(module):
        return
    stand_in = ModuleType(np.__name__)
    stand_in.__dict__.update(np.__dict__, long=np.int64)
    module.np = stand_in
    note('object_sample', 'ObjectSample labels pasted objects with int64')

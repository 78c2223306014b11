"""Repairs of upstream defects, one file each; a repair acts only where its defect is present.

`import peridot` calls `apply()`. Repairs wait until the module that they repair is imported. `log_report()` logs the
active repairs; call it once the Runner exists.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from . import foreign_warnings, installation
from .on_import import after_import, before_import
from .records import log_report, report

__all__ = ['apply', 'log_report', 'report']

# functions of this package by the module whose import calls them: when it begins
BEFORE = (
    ('torchvision', 'torchvision_ops.apply'),
    ('spconv', 'spconv_triton.apply'),
)
# and when it is done, in this order
AFTER = (
    ('mmcv', 'installation.check_operators'),
    ('mmengine.dist.utils', 'launch_on_cpu.repair'),
    ('mmengine.model', 'allocation.repair'),
    ('mmengine.runner.checkpoint', 'weight_files.repair'),
    ('mmengine.visualization.vis_backend', 'trackers.repair'),
    # both read checkpoints
    ('mmengine.runner.checkpoint', 'checkpoint_loading.repair'),
    ('peridot.checkpoints', 'checkpoint_loading.repair'),
    ('mmdet3d.datasets.dataset_wrappers', 'cbgs.repair'),
    ('mmdet3d.datasets.transforms.dbsampler', 'object_sample.repair'),
    ('mmdet3d.evaluation.functional.kitti_utils.eval', 'kitti_eval.repair'),
    ('mmdet3d.evaluation.metrics.nuscenes_metric', 'nuscenes_devkit.repair'),
    ('mmdet3d.models.backbones.minkunet_backbone', 'minkunet_lists.repair'),
    ('mmdet3d.models.backbones.minkunet_backbone', 'minkunet_shape.repair'),
    ('mmdet3d.models.data_preprocessors.data_preprocessor', 'minkunet_voxelize.repair'),
    ('mmdet3d.models.layers.spconv', 'spconv_wheel.check'),
    ('spconv.pytorch.ops', 'spconv_cpu.repair_operators'),
    ('spconv.pytorch.conv', 'spconv_cpu.repair_layers'),
)


@dataclass(frozen=True)
class Late:
    """A function of this package whose module is imported when it is called: most of them import torch.

    Attributes:
        name: Its module and name, e.g. 'cbgs.repair'.
    """

    name: str

    def __call__(self, *arguments: Any) -> None:
        """Call the function."""
        module, function = self.name.split('.')
        getattr(import_module(f'{__name__}.{module}'), function)(*arguments)


def apply() -> None:
    """Check the installation and let every repair whose defect is present wait for its module (idempotent).

    Raises:
        PeridotError: mmengine, mmcv, mmdet or mmdet3d is missing or does not fit.
    """
    installation.check()
    foreign_warnings.apply()
    for module, function in BEFORE:
        before_import(module, Late(function))
    for module, function in AFTER:
        after_import(module, Late(function))

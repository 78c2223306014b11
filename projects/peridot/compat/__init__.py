"""Repairs of upstream defects, one file each; a repair acts only where its defect is present.

`import peridot` calls `apply()`. Repairs of mmdet3d and spconv wait until the module that they repair is
imported. `log_report()` logs the active repairs; call it once the Runner exists.
"""

from . import (
    allocation,
    cbgs,
    checkpoint_loading,
    installation,
    kitti_eval,
    launch_on_cpu,
    minkunet_lists,
    minkunet_shape,
    minkunet_voxelize,
    nuscenes_devkit,
    object_sample,
    spconv_cpu,
    spconv_triton,
    torchvision_ops,
    weight_files,
)
from .post_import import after_import
from .records import log_report, report

__all__ = ['apply', 'log_report', 'report']


def apply() -> None:
    """Check the installation and apply every repair whose defect is present (idempotent).

    Raises:
        PeridotError: mmengine, mmcv, mmdet or mmdet3d is missing or does not fit.
    """
    # torchvision first: whatever is imported later may import it, and a failed import cannot be repaired.
    torchvision_ops.apply()
    installation.check()
    # A stand-in for spconv has to be in place before anything imports spconv.
    spconv_triton.apply()
    after_import('mmdet3d.models.layers.spconv', installation.check_spconv)
    minkunet = (minkunet_voxelize, minkunet_lists, minkunet_shape)
    mmengine = (checkpoint_loading, weight_files, launch_on_cpu)
    others = (cbgs, spconv_cpu, *minkunet, kitti_eval, nuscenes_devkit, object_sample, allocation)
    for repair in (*mmengine, *others):
        repair.apply()

"""KITTI's detection metric needs CUDA.

Broken: mmdet3d computes the overlap of rotated boxes for `KittiMetric` with numba kernels that are compiled for CUDA
when the module is imported: `CudaSupportError` at the first evaluation on a machine without it.
Versions: mmdet3d 1.1 to 1.4.
Detected: numba finds no CUDA.
Repair: the module is replaced by one function of the same name that uses mmcv's `box_iou_rotated`.
Delete when: mmdet3d evaluates KITTI without CUDA.
"""

import sys
from types import ModuleType

import numpy as np

from .records import note


def rotate_iou(boxes: np.ndarray, query_boxes: np.ndarray, criterion: int = -1, device_id: int = 0) -> np.ndarray:
    """Overlap of every box with every query box, seen from above in KITTI's camera frame.

    Args:
        boxes: Float (N, 5), center, size and clockwise angle in radians.
        query_boxes: Float (K, 5).
        criterion: -1 intersection over union, 0 over the query box's area, 1 over the box's, others the
            intersection itself: as in mmdet3d's kernel, which takes the query box first.
        device_id: Ignored.

    Returns:
        Float32 (N, K).
    """
    import torch
    from mmcv.ops import box_iou_rotated

    ours, theirs = (torch.from_numpy(np.ascontiguousarray(b, np.float32)) for b in (boxes, query_boxes))
    if not len(ours) or not len(theirs):
        return np.zeros((len(ours), len(theirs)), np.float32)
    # mmcv's clockwise is that of images, whose rows run downwards
    iou = box_iou_rotated(ours, theirs, clockwise=False)
    if criterion == -1:
        return iou.numpy()
    box, query = ours[:, 2:4].prod(1)[:, None], theirs[:, 2:4].prod(1)[None]
    intersection = iou * (box + query) / (1 + iou)
    return (intersection / {0: query, 1: box}.get(criterion, 1)).numpy()


def repair(module: ModuleType) -> None:
    """Replace the kernels of mmdet3d's evaluation."""
    from numba import cuda

    if cuda.is_available():
        return
    name = f'{module.__package__}.rotate_iou'
    stand_in = ModuleType(name)
    stand_in.rotate_iou_gpu_eval = rotate_iou
    sys.modules[name] = stand_in
    note('kitti_eval', "KITTI's box overlap is computed on the CPU")

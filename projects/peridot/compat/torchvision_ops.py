"""torchvision without its compiled operators: declare nms, and compute it with mmcv.

Broken: torchvision's PyPI wheel links against CUDA libraries. With a CPU-only torch its `_C` library does
not load, and since 0.17 `import torchvision` then raises "operator torchvision::nms does not exist". timm,
segment_anything and mmengine's `collect_env` (at the start of every training) import torchvision.
Versions: torchvision 0.17 to at least 0.28 with any torch that it was not built for.
Detected: torchvision's `_C` library exists but cannot be loaded, or does not exist.
Repair: `torchvision::nms` and `qnms` are declared when an import of torchvision begins, nms is computed by
`mmcv.ops.nms`, and `torchvision.ops.nms` and `batched_nms` no longer refuse to run. Other operators stay unavailable,
and say so.
Delete when: torchvision imports without its compiled operators and offers nms in Python.
"""

import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from .on_import import after_import
from .records import note

# Holding the library keeps its registrations alive.
_library: torch.library.Library | None = None


def is_defective() -> bool:
    """True if `import torchvision` would fail; loads its operators, but does not import torchvision."""
    if 'torchvision' in sys.modules:
        return False
    package = find_spec('torchvision')
    if package is None or not package.submodule_search_locations:
        return False
    finder = FileFinder(package.submodule_search_locations[0], (ExtensionFileLoader, EXTENSION_SUFFIXES))
    extension = finder.find_spec('_C')
    if extension is None:
        return True
    try:
        torch.ops.load_library(extension.origin)
    except OSError:
        return True
    return False


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression with torchvision's signature.

    Args:
        boxes: Float (N, 4), x1, y1, x2, y2.
        scores: Float (N,).
        iou_threshold: A box that overlaps a better one by more than this is dropped.

    Returns:
        Int64 (K,), kept rows, best score first.
    """
    from mmcv.ops import nms as mmcv_nms

    if len(boxes) == 0:
        return torch.empty(0, dtype=torch.int64, device=boxes.device)
    return mmcv_nms(boxes.float(), scores.float(), float(iou_threshold))[1]


def _let_nms_run(boxes_module: ModuleType) -> None:
    """Drop the check for compiled operators, in the module of nms alone: the other operators do not exist."""
    boxes_module._assert_has_ops = lambda: None


def apply() -> bool:
    """Repair torchvision if it is broken; returns whether this call did."""
    global _library
    if _library is not None or not is_defective():
        return False
    _library = torch.library.Library('torchvision', 'FRAGMENT')
    _library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    for device in ('CPU', 'CUDA'):
        _library.impl('nms', nms, device)
    after_import('torchvision.ops.boxes', _let_nms_run)
    note('torchvision_ops', 'torchvision has no compiled operators here; its nms is computed by mmcv')
    return True

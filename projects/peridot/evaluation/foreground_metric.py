"""Metrics of the segmentation of points into foreground and background."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from terminaltables import AsciiTable

from peridot.catalog import lookup
from peridot.errors import ConfigError, DataError
from peridot.evaluation.confusion import confusion_matrix
from peridot.registry import METRICS
from peridot.structures import NO_LABEL

METRIC_NAMES = ('iou_fg', 'iou_bg', 'iou_mean', 'f1_fg', 'accuracy')


@METRICS.register_module()
class ForegroundMetric(BaseMetric):
    """IoU of foreground and of background, their mean, F1 of the foreground, and accuracy.

    Several predictions are evaluated side by side: a sample has `pred_foreground` ({name: bool (N,)}) and
    `eval_ann_info['pts_semantic_mask']` (N,). Names with an `@`, the steps of a sweep over thresholds, are
    all in the table, but among the metrics only with their mean IoU.

    The dataset's `metainfo` gives `classes`, `ignore_index` and `dataset`.

    Args:
        foreground: Names of the foreground classes; None takes those of the catalog, which has
            them for nuScenes and SemanticKITTI. All other classes are background.
        **kwargs: Those of mmengine's `BaseMetric` (`prefix`, `collect_device`).

    Raises:
        ConfigError: A name is not a class, or the dataset has no known foreground.
        DataError: No point of the evaluated scans has a label.
    """

    def __init__(self, foreground: Sequence[str] | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.foreground = foreground

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the confusion matrices of every scan."""
        for sample in data_samples:
            truth = binary_truth(sample['eval_ann_info']['pts_semantic_mask'], self.dataset_meta, self.foreground)
            self.results.append(
                {
                    name: confusion_matrix(truth, np.asarray(predicted.cpu(), dtype=np.int64), 2, NO_LABEL)
                    for name, predicted in sample['pred_foreground'].items()
                }
            )

    def compute_metrics(self, results: list[dict[str, np.ndarray]]) -> dict[str, float]:
        """Compute `<name>/<metric>` of every prediction."""
        found = {name: binary_metrics(sum(part[name] for part in results)) for name in results[0]}
        rows = [[name, *(f'{100 * values[key]:.1f}' for key in METRIC_NAMES)] for name, values in found.items()]
        print_log('\n' + AsciiTable([['%', *METRIC_NAMES], *rows]).table, MMLogger.get_current_instance())
        return {
            f'{name}/{key}': value
            for name, values in found.items()
            for key, value in values.items()
            if '@' not in name or key == 'iou_mean'
        }


def binary_truth(labels: np.ndarray, meta: Mapping, foreground: Sequence[str] | None = None) -> np.ndarray:
    """Truth of points: 1 for foreground classes, 0 for the others, `NO_LABEL` for points without a class.

    Args:
        labels: Int (N,), classes.
        meta: The dataset's metainfo.
        foreground: See `ForegroundMetric`.

    Returns:
        Int64 (N,).
    """
    classes, labels = list(meta['classes']), np.asarray(labels, dtype=np.int64)
    names = foreground or lookup(meta.get('dataset')).foreground
    if unknown := set(names).difference(classes):
        raise ConfigError(
            f'ForegroundMetric: {sorted(unknown)[0]!r} is not among the classes {", ".join(classes)}: set '
            'val_evaluator.foreground to some of them'
        )
    if not names:
        raise ConfigError(
            f'ForegroundMetric: the foreground of the dataset {meta.get("dataset")!r} is not known: set '
            f'val_evaluator.foreground to some of its classes ({", ".join(classes)})'
        )
    table = np.array([*(name in names for name in classes), NO_LABEL], dtype=np.int64)
    is_labeled = (labels >= 0) & (labels < len(classes)) & (labels != meta['ignore_index'])
    return table[np.where(is_labeled, labels, len(classes))]


def binary_metrics(confusion: np.ndarray) -> dict[str, float]:
    """Metrics of a confusion matrix of true (rows) and predicted background and foreground.

    Args:
        confusion: Int (2, >=2).

    Raises:
        DataError: It is empty.
    """
    (right_bg, false_fg), (false_bg, right_fg) = confusion[:, :2].astype(float)
    wrong, total = false_fg + false_bg, confusion.sum()
    if not total:
        raise DataError('no point of the evaluated scans has a label: check ann_file of the evaluated dataset')
    with np.errstate(invalid='ignore'):
        iou_fg, iou_bg = np.float64(right_fg) / (right_fg + wrong), np.float64(right_bg) / (right_bg + wrong)
        f1 = np.float64(2 * right_fg) / (2 * right_fg + wrong)
    values = (iou_fg, iou_bg, (iou_fg + iou_bg) / 2, f1, (right_fg + right_bg) / total)
    return dict(zip(METRIC_NAMES, map(float, values)))

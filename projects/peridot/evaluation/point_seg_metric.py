"""Metrics of the semantic segmentation of points, from one confusion matrix."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from terminaltables import AsciiTable

from peridot.errors import DataError
from peridot.evaluation.confusion import class_iou, confusion_matrix
from peridot.registry import METRICS


@METRICS.register_module()
class PointSegMetric(BaseMetric):
    """IoU of every class and their mean, with the names of mmdet3d's `SegMetric`.

    Unlike in `SegMetric`, a class without ground truth has no IoU (NaN, left out of the mean) even if some points are
    predicted as it, where `SegMetric` says 0; a prediction outside the classes counts as a miss; and only the
    confusion matrix of a scan is kept, not all its points.

    The dataset's `metainfo` gives `classes` and `ignore_index`; a sample has `pred_pts_seg.pts_semantic_mask` and
    `eval_ann_info['pts_semantic_mask']`, both (N,). Other fields of `pred_pts_seg` are predictions of other
    classifiers, of which `<field>_miou` is reported.

    Args:
        **kwargs: Those of mmengine's `BaseMetric` (`prefix`, `collect_device`).

    Raises:
        DataError: No point of the evaluated scans has a label.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the confusion matrix of every scan."""
        ignore, count = self.dataset_meta['ignore_index'], len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth = np.asarray(sample['eval_ann_info']['pts_semantic_mask'], dtype=np.int64)
            predicted = {name: np.asarray(value.cpu(), np.int64) for name, value in sample['pred_pts_seg'].items()}
            self.results.append({k: confusion_matrix(truth, v, count, ignore) for k, v in predicted.items()})

    def compute_metrics(self, results: list[dict[str, np.ndarray]]) -> dict[str, float]:
        """`miou`, `acc`, `acc_cls`, the IoU of every class by its name, and `<field>_miou` of other predictions."""
        others = {name: sum(result[name] for result in results) for name in results[0]}
        classes, confusion = self.dataset_meta['classes'], others.pop('pts_semantic_mask')
        present, hits = confusion.sum(1), np.diagonal(confusion)
        if not present.any():
            raise DataError('no point of the evaluated scans has a label: check ann_file of the evaluated dataset')
        with np.errstate(invalid='ignore'):
            recall = hits / present
        iou = class_iou(confusion, present)
        metrics = dict(
            zip(classes, iou.tolist()),
            miou=float(np.nanmean(iou)),
            acc=float(hits.sum() / confusion.sum()),
            acc_cls=float(np.nanmean(recall)),
            **{f'{name}_miou': float(np.nanmean(class_iou(other, present))) for name, other in others.items()},
        )
        self._report(metrics, [name for name, points in zip(classes, present) if not points])
        return metrics

    @staticmethod
    def _report(metrics: dict[str, float], absent: list[str]) -> None:
        logger = MMLogger.get_current_instance()
        rows = [[name, 'absent' if np.isnan(value) else f'{value:.4f}'] for name, value in metrics.items()]
        print_log('\n' + AsciiTable([['class', 'IoU'], *rows]).table, logger)
        if absent:
            print_log(
                f'classes without ground truth, which have no IoU and are not in the mean: {", ".join(absent)}', logger
            )

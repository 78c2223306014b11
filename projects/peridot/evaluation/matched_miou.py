"""Segmentation into classes without names: mIoU and pixel accuracy after Hungarian matching over a dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from scipy.optimize import linear_sum_assignment
from terminaltables import AsciiTable

from peridot.errors import ConfigError, DataError
from peridot.evaluation.confusion import class_iou, confusion_matrix
from peridot.files import atomic_path
from peridot.registry import METRICS

# class of clusters without class, cluster of pixels without cluster
UNMATCHED = -1
TREATMENTS = ('false_negative', 'drop', 'majority')


@dataclass
class MatchedScores:
    """Scores of clusters after their matching to classes.

    Attributes:
        matching: Int64 (L,), class of each cluster, `UNMATCHED` for those without.
        iou: Float (C,), IoU of each class, NaN for classes that no pixel has.
        miou: Mean over the classes that pixels have.
        accuracy: Fraction of pixels whose cluster is matched to their class.
        class_accuracy: Mean over classes of the fraction of their pixels that are right.
        present: Number of classes that pixels have.
    """

    matching: np.ndarray
    iou: np.ndarray
    miou: float
    accuracy: float
    class_accuracy: float
    present: int


def match_clusters(confusion: np.ndarray, missed: np.ndarray | None = None) -> np.ndarray:
    """Match clusters one to one to the classes that occur, so that the most elements get their class.

    Of equal matchings it is the one with the largest sum of IoU, so that the mIoU does not depend on how clusters are
    numbered.

    Args:
        confusion: Int (C, L), elements by true class and cluster; C and L may differ.
        missed: Int (C,), elements of each class that have no cluster; they count in the IoU.

    Returns:
        Int64 (L,), class of each cluster, `UNMATCHED` for those that are left over or share no element with
        the class that is left for them.
    """
    matching = np.full(confusion.shape[1], UNMATCHED)
    present = np.flatnonzero(confusion.any(1))
    if not len(present):
        return matching
    shared = confusion[present].astype(float)
    total = shared.sum(1) if missed is None else shared.sum(1) + missed[present]
    iou = shared / np.maximum(total[:, None] + shared.sum(0) - shared, 1)
    # the second terms sum to less than one element
    rows, columns = linear_sum_assignment(shared + 0.5 / len(present) * iou, maximize=True)
    matching[columns] = np.where(shared[rows, columns] > 0, present[rows], UNMATCHED)
    return matching


def majority_matching(confusion: np.ndarray) -> np.ndarray:
    """Match clusters many to one: each takes the class that most of its elements have.

    Args:
        confusion: Int (C, L), elements by true class and cluster.

    Returns:
        Int64 (L,), class of each cluster, the first among equals, `UNMATCHED` for clusters without elements.
    """
    return np.where(confusion.sum(0) > 0, confusion.argmax(0), UNMATCHED)


def merge_clusters(confusion: np.ndarray, matching: np.ndarray) -> np.ndarray:
    """Elements by true class and class of their cluster.

    Args:
        confusion: Int (C, L), elements by true class and cluster.
        matching: Int (L,), class of each cluster or `UNMATCHED`, whose elements are left out.

    Returns:
        Int (C, C).
    """
    merged = np.zeros((len(confusion), len(confusion)), confusion.dtype)
    matched = matching != UNMATCHED
    np.add.at(merged.T, matching[matched], confusion.T[matched])
    return merged


def matched_iou(confusion: np.ndarray, matching: np.ndarray) -> np.ndarray:
    """Intersection over union of each true class with the clusters matched to it.

    Args:
        confusion: Int (C, L), elements by true class and cluster.
        matching: Int (L,), class of each cluster or `UNMATCHED`; elements of unmatched clusters count as missed.

    Returns:
        Float64 (C,), NaN for classes without elements.
    """
    return class_iou(merge_clusters(confusion, matching), confusion.sum(1))


def matched_scores(
    confusion: np.ndarray, unmatched: str = 'false_negative', missed: np.ndarray | None = None
) -> MatchedScores:
    """Score clusters against classes.

    Args:
        confusion: Int (C, L), pixels by true class and cluster.
        unmatched: Treatment of clusters that no class is left for: 'false_negative' counts their pixels as missed
            (the strict choice), 'drop' leaves them out, 'majority' gives each to its most frequent class. The last
            two raise the scores.
        missed: Int (C,), pixels of each class that have no cluster.

    Raises:
        DataError: There is no pixel with a class.
    """
    matching = match_clusters(confusion, missed)
    total = confusion.sum(1)
    if unmatched == 'majority':
        matching = np.where(matching == UNMATCHED, majority_matching(confusion), matching)
    elif unmatched == 'drop':
        total = confusion[:, matching != UNMATCHED].sum(1)
    total = total if missed is None else total + missed
    present = confusion.any(1) | (total > 0)
    if not total.any():
        raise DataError('no evaluated pixel has a class: check the label files and ann_file of the evaluated dataset')
    merged = merge_clusters(confusion, matching)
    hits = np.diagonal(merged)
    iou = class_iou(merged, total, present)
    recall = np.where(present, hits / np.maximum(total, 1), np.nan)
    return MatchedScores(
        matching,
        iou,
        float(np.nanmean(iou)),
        float(hits.sum() / total.sum()),
        float(np.nanmean(recall)),
        int(present.sum()),
    )


@METRICS.register_module()
class MatchedMeanIoU(BaseMetric):
    """Segmentation of images into clusters: mIoU and accuracy after one Hungarian matching over the dataset.

    A sample has `gt_sem_seg` and `pred_sem_seg`, both with `data` (1, H, W) or (H, W). A prediction of -1 means no
    cluster; such pixels count as missed. The dataset's metainfo gives `classes` and, if it is not 255,
    `ignore_index`. Classes that no pixel has are left out of matching and mean. Clusters and classes may differ in
    number.

    Args:
        num_clusters: Clusters L; None takes the channels of the sample's `seg_logits`.
        unmatched: 'false_negative', 'drop' or 'majority', see `matched_scores`. The others are logged.
        group: Key of the samples whose values split the set (`condition` of `ACDCImages`). Each group is also matched
            and scored by itself.
        matching_file: JSON file for the classes, their colors, the class of each cluster, `miou` and `acc`; None writes
            none.
        **kwargs: Those of mmengine's `BaseMetric` (`prefix`, `collect_device`).

    Raises:
        ConfigError: A setting has an unknown value, or a prediction is not a cluster.
        DataError: A label is neither a class nor ignored, or has another size than its prediction.
    """

    default_prefix = 'matched'

    def __init__(
        self,
        num_clusters: int | None = None,
        unmatched: str = 'false_negative',
        group: str | None = None,
        matching_file: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if unmatched not in TREATMENTS:
            raise ConfigError(f'MatchedMeanIoU: unmatched={unmatched!r} must be one of {", ".join(TREATMENTS)}')
        self.num_clusters = num_clusters
        self.unmatched = unmatched
        self.group = group
        self.matching_file = matching_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep group and confusion matrix (C, L + 1) of every image; the last column counts pixels without cluster."""
        classes, ignore = self.dataset_meta['classes'], self.dataset_meta.get('ignore_index', 255)
        for sample in data_samples:
            where = sample.get('seg_map_path') or sample.get('img_path') or 'an evaluated image'
            truth, predicted = (_pixels(sample[key]) for key in ('gt_sem_seg', 'pred_sem_seg'))
            if truth.shape != predicted.shape:
                raise DataError(
                    f'{where}: the labels have {"x".join(map(str, truth.shape))} pixels, the prediction '
                    f'{"x".join(map(str, predicted.shape))}: evaluate at the size of the labels'
                )
            count = self.num_clusters or len(sample['seg_logits']['data'])
            _check_values(truth, predicted, len(classes), count, ignore, where)
            confusion = confusion_matrix(truth.ravel(), predicted.ravel(), len(classes), ignore, count)
            self.results.append((self._group_of(sample, where), confusion))

    def _group_of(self, sample: dict, where: str) -> str | None:
        if self.group is not None and self.group not in sample:
            raise ConfigError(
                f'{where} has no {self.group!r}, the group of MatchedMeanIoU: name it in meta_keys of PackSegInputs, '
                'or set group=None'
            )
        return None if self.group is None else str(sample[self.group])

    def compute_metrics(self, results: list[tuple[str | None, np.ndarray]]) -> dict[str, float]:
        """`miou`, `acc`, `acc_cls`, `num_present` and the IoU of every class by its name, over the full set.

        With groups also `GROUP/miou` and `GROUP/acc` of each, matched by itself, and `mean/miou` and `mean/acc`, the
        means of these over the groups.
        """
        scores = self._scores(sum(confusion for _, confusion in results))
        if self.matching_file is not None:
            self._write_matching(scores)
        metrics = dict(
            zip(self.dataset_meta['classes'], scores.iou.tolist()),
            miou=scores.miou,
            acc=scores.accuracy,
            acc_cls=scores.class_accuracy,
            # mmengine's logs drop integers
            num_present=float(scores.present),
        )
        groups = sorted({group for group, _ in results if group is not None})
        parts = {name: self._scores(sum(table for group, table in results if group == name), name) for name in groups}
        for name, part in parts.items():
            metrics |= {f'{name}/miou': part.miou, f'{name}/acc': part.accuracy}
        if parts:
            metrics['mean/miou'] = float(np.mean([part.miou for part in parts.values()]))
            metrics['mean/acc'] = float(np.mean([part.accuracy for part in parts.values()]))
        return metrics

    def _scores(self, table: np.ndarray, name: str | None = None) -> MatchedScores:
        """Scores of a confusion matrix (C, L + 1), logged under a group's name."""
        confusion, missed = table[:, :-1], table[:, -1]
        found = {kind: matched_scores(confusion, kind, missed) for kind in TREATMENTS}
        self._report(found, found[self.unmatched], name)
        return found[self.unmatched]

    def _write_matching(self, scores: MatchedScores) -> None:
        meta = self.dataset_meta
        content = dict(
            classes=list(meta['classes']),
            palette=[list(map(int, color)) for color in meta.get('palette') or []],
            matching=scores.matching.tolist(),
            miou=scores.miou,
            acc=scores.accuracy,
        )
        with atomic_path(Path(self.matching_file)) as temporary:
            temporary.write_text(json.dumps(content) + '\n')

    def _report(self, found: dict[str, MatchedScores], scores: MatchedScores, group: str | None) -> None:
        logger = MMLogger.get_current_instance()
        names = np.array([*self.dataset_meta['classes']], dtype=object)
        rows = [
            [name, ', '.join(map(str, np.flatnonzero(scores.matching == index))) or '-', f'{value:.4f}']
            for index, (name, value) in enumerate(zip(names, scores.iou))
            if not np.isnan(value)
        ]
        print_log(f'{group or ""}\n' + AsciiTable([['class', 'cluster', 'IoU'], *rows]).table, logger)
        compared = '; '.join(f'{name}: mIoU {part.miou:.4f}, acc {part.accuracy:.4f}' for name, part in found.items())
        print_log(f'{scores.present} of {len(names)} classes occur. Unmatched clusters as {compared}', logger)


def _check_values(
    truth: np.ndarray, predicted: np.ndarray, classes: int, clusters: int, ignore: int, where: str
) -> None:
    """Refuse labels that are neither classes nor ignored, and predictions that are neither clusters nor -1."""
    wrong = truth[(truth != ignore) & ((truth < 0) | (truth >= classes))]
    if len(wrong):
        raise DataError(
            f'{where}: label {wrong[0]} is neither one of {classes} classes nor the ignored {ignore}: map the '
            'labels to the class list (reduce_zero_label, metainfo) or evaluate with the class list they belong to'
        )
    wrong = predicted[(predicted < UNMATCHED) | (predicted >= clusters)]
    if len(wrong):
        raise ConfigError(
            f'{where}: prediction {wrong[0]} is none of {clusters} clusters: set num_clusters of MatchedMeanIoU '
            '(-1 means no cluster)'
        )


def _pixels(element: dict) -> np.ndarray:
    """Pixels int64 (H, W) of a packed map."""
    data = element['data']
    pixels = np.asarray(data.cpu() if hasattr(data, 'cpu') else data).astype(np.int64)
    return pixels[0] if pixels.ndim == 3 else pixels

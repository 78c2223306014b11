"""Agreement of superpixels and weak labels with the true classes of the lidar points that fall on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from mmengine.config import Config

from peridot.datasets.paired_dataset import PairedDataset
from peridot.errors import ConfigError, DataError
from peridot.evaluation.matched_miou import majority_matching, match_clusters, matched_iou
from peridot.files import usable_cores
from peridot.labels.parallel import progress, run_parallel
from peridot.maps import Manifest, MapFolder
from peridot.registry import DATASETS

LOADING_STEPS = ('peridot.LoadPoints', 'peridot.LoadPointLabels', 'peridot.LoadImageViews', 'peridot.ProjectPoints')
# an image shows a class if at least this many of its points fall on it
SHOWN_POINTS = 10


@dataclass
class SuperpixelQuality:
    """Agreement of superpixels with true classes; fractions are in [0, 1] and refer to point-pixel pairs.

    N pairs have an id; n(s, c) of them lie in superpixel s (of one image) and have true class c; n(s) = sum_c n(s, c).

    Attributes:
        folder: Map folder as it was given.
        generator: Generator in its manifest.
        hash: Hash in its manifest.
        pairs: Pairs with a true class.
        covered: Fraction of them that have an id; everything else refers to these N.
        superpixels_per_image: Mean number of superpixels that hold pairs.
        achievable_accuracy: Achievable segmentation accuracy (Liu et al., "Entropy Rate Superpixel Segmentation",
            CVPR 2011), the fraction of pairs that are correct if every superpixel takes its most frequent class:
            sum_s max_c n(s, c) / N.
        undersegmentation_error: Of Neubert and Protzel ("Superpixel Benchmark and Comparison", 2012), with the
            classes of an image as its true segments: sum_s sum_{c: n(s, c) > 0} min(n(s, c), n(s) - n(s, c)) / N.
    """

    folder: str
    generator: str
    hash: str | None
    pairs: int
    covered: float
    superpixels_per_image: float
    achievable_accuracy: float
    undersegmentation_error: float


@dataclass
class LabelQuality:
    """Agreement of weak labels with true classes; fractions are in [0, 1] and refer to point-pixel pairs.

    Attributes:
        folder: Map folder as it was given.
        generator: Generator in its manifest.
        hash: Hash in its manifest.
        pairs: Pairs with a true class.
        covered: Fraction of them that have a label; everything else refers to these.
        labels: Names of the L labels.
        confusion: Int (C, L), number of pairs by true class and label.
        hungarian: Int (L,), class of each label in the best one-to-one matching, -1 for none.
        majority: Int (L,), class of each label where each takes its most frequent class, -1 for labels without pairs.
        iou_hungarian: IoU of each true class, None without pairs of that class.
        iou_majority: The same for the majority matching.
        miou_hungarian: Mean over the classes that have pairs.
        miou_majority: The same for the majority matching.
        purity: Fraction of pairs that are correct if every label takes its most frequent class.
    """

    folder: str
    generator: str
    hash: str | None
    pairs: int
    covered: float
    labels: list[str]
    confusion: list[list[int]]
    hungarian: list[int]
    majority: list[int]
    iou_hungarian: dict[str, float | None]
    iou_majority: dict[str, float | None]
    miou_hungarian: float
    miou_majority: float
    purity: float


@dataclass
class Comparison:
    """Result of `compare_maps`.

    Attributes:
        dataset: Its samples hold points, true classes, pairs and, in `views.maps`, the maps by folder.
        classes: Names of the C true classes.
        palette: Uint8 (C, 3), colors of the true classes.
        class_pairs: Int (C,), number of pairs of each true class.
        samples: Number of samples that were compared.
        images: Number of their images.
        maps: One result per folder.
        shown: (sample index, camera) of the two images that show the most classes, of different samples if possible.
    """

    dataset: PairedDataset
    classes: list[str]
    palette: np.ndarray
    class_pairs: np.ndarray
    samples: int
    images: int
    maps: list[SuperpixelQuality | LabelQuality]
    shown: list[tuple[int, int]]


def compare_maps(config: Config, folders: Sequence[str], samples: int = 200, workers: int | None = None) -> Comparison:
    """Compare map folders with the true classes of the points, through point-pixel pairs at full resolution.

    Points of ignored classes are left out. A point that two cameras see makes two pairs, as in training.

    Args:
        config: Pre-training config, whose training set is used, with its transforms that load and project points.
        folders: Map folders, relative to the data root or absolute.
        samples: Largest number of samples, evenly spaced over the training set.
        workers: Processes, by default one per core.

    Raises:
        ConfigError: The config has no training set of type `PairedDataset`, or `samples` is not positive.
        DataError: Samples have no point labels, or maps are missing or damaged.
    """
    if samples < 1:
        raise ConfigError(f'{samples} samples cannot be compared: give at least one')
    folders = list(dict.fromkeys(folders))
    dataset = _labeled_dataset(config, folders)
    chosen = range(len(dataset))
    if samples < len(dataset):
        chosen = [i * len(dataset) // samples for i in range(samples)]
    results = run_parallel(partial(count_sample, dataset), chosen, usable_cores() if workers is None else workers)
    counts = list(progress(results, len(chosen), 'compared', 'samples'))
    view_pairs = np.concatenate([by_view for by_view, _ in counts])
    if not view_pairs.any():
        raise DataError(f'no labeled point of {dataset.ann_file} falls on an image: check `cameras` in the config')
    totals = [sum(parts) for parts in zip(*(by_folder for _, by_folder in counts))]
    classes = list(dataset.metainfo['classes'])
    return Comparison(
        dataset=dataset,
        classes=classes,
        palette=np.array(dataset.metainfo['palette'], np.uint8),
        class_pairs=view_pairs.sum(0),
        samples=len(chosen),
        images=len(view_pairs),
        maps=[
            _superpixel_quality(name, folder.manifest, total, len(view_pairs))
            if folder.manifest.kind == 'superpixels'
            else _label_quality(name, folder.manifest, total, classes)
            for name, folder, total in zip(folders, _folders(dataset), totals)
        ],
        shown=_most_varied(chosen, [by_view for by_view, _ in counts]),
    )


def count_sample(dataset: PairedDataset, index: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Count the pairs of one sample of the dataset that `compare_maps` builds.

    Returns:
        Pairs by camera and true class, int64 (V, C), and an array per map folder. For labels it is the confusion
        matrix (C, L + 1), pairs without a label in its last column. For superpixels it is `region_counts` of the pairs
        with an id, followed by the number of all pairs.
    """
    sample = dataset[index]
    pairs, num_classes = sample['pairs'], len(dataset.metainfo['classes'])
    true = sample['pts_semantic_mask'][pairs.point.numpy()]
    known = true != dataset.metainfo['ignore_index']
    camera, true = pairs.camera.numpy()[known], true[known]
    by_view = _table(camera, true, (len(sample['cameras']), num_classes))
    by_folder = []
    for maps, folder in zip(sample['views'].maps.values(), _folders(dataset)):
        value, limit = pairs.values_in(maps)[known], folder.manifest.limit
        covered = value >= 0
        if folder.manifest.kind == 'superpixels':
            region = camera[covered] * limit + value[covered]
            by_folder.append(np.append(region_counts(region, true[covered], num_classes), len(true)))
        else:
            by_folder.append(_table(true, np.where(covered, value, limit), (num_classes, limit + 1)))
    return by_view, by_folder


def region_counts(region: np.ndarray, true: np.ndarray, num_classes: int) -> np.ndarray:
    """Sums over regions, from which the quality of superpixels follows.

    Args:
        region: Int64 (P,), region of each pair, not negative.
        true: Int64 (P,), true class in [0, num_classes).
        num_classes: Number of classes.

    Returns:
        Int64 (4,): number of pairs P; number of regions; sum over regions of the pairs of their most frequent class;
        sum over regions and the classes in them of the smaller of: pairs of the class, pairs of the other classes.
    """
    if not len(region):
        return np.zeros(4, np.int64)
    cells, count = np.unique(region * num_classes + true, return_counts=True)
    _, start, owner = np.unique(cells // num_classes, return_index=True, return_inverse=True)
    others = np.add.reduceat(count, start)[owner] - count
    largest = np.maximum.reduceat(count, start)
    return np.array([len(region), len(start), largest.sum(), np.minimum(count, others).sum()])


def _labeled_dataset(config: Config, folders: Sequence[str]) -> PairedDataset:
    """The config's training set, with a pipeline that only loads."""
    settings = config.get('train_dataloader', {}).get('dataset', {})
    if settings.get('type') != 'peridot.PairedDataset':
        raise ConfigError(
            f'the training set of {config.filename or "the config"} is {settings.get("type", "absent")}, but maps are '
            "compared on a 'peridot.PairedDataset': give a pre-training config"
        )
    configured = {step['type']: step for step in settings.get('pipeline', [])}
    steps = [configured.get(name, {'type': name}) for name in LOADING_STEPS]
    steps.append({'type': 'peridot.LoadViewMaps', 'names': folders})
    return DATASETS.build({**settings, 'maps': {folder: folder for folder in folders}, 'pipeline': steps})


def _folders(dataset: PairedDataset) -> list[MapFolder]:
    return list(dataset.map_folders.values())


def _table(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Number of elements in each cell."""
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def _superpixel_quality(folder: str, manifest: Manifest, counts: np.ndarray, images: int) -> SuperpixelQuality:
    covered, regions, right, leaked, pairs = counts.tolist()
    return SuperpixelQuality(
        folder=folder,
        generator=manifest.generator,
        hash=manifest.hash,
        pairs=pairs,
        covered=covered / pairs,
        superpixels_per_image=regions / images,
        achievable_accuracy=right / max(covered, 1),
        undersegmentation_error=leaked / max(covered, 1),
    )


def _label_quality(folder: str, manifest: Manifest, counts: np.ndarray, classes: list[str]) -> LabelQuality:
    confusion = counts[:, :-1]
    covered = int(confusion.sum())
    hungarian, majority = match_clusters(confusion), majority_matching(confusion)
    iou = [matched_iou(confusion, matching) for matching in (hungarian, majority)]
    by_class = [{name: None if np.isnan(x) else float(x) for name, x in zip(classes, values)} for values in iou]
    return LabelQuality(
        folder=folder,
        generator=manifest.generator,
        hash=manifest.hash,
        pairs=int(counts.sum()),
        covered=covered / int(counts.sum()),
        labels=list(manifest.classes),
        confusion=confusion.tolist(),
        hungarian=hungarian.tolist(),
        majority=majority.tolist(),
        iou_hungarian=by_class[0],
        iou_majority=by_class[1],
        miou_hungarian=float(np.nanmean(iou[0])) if covered else 0.0,
        miou_majority=float(np.nanmean(iou[1])) if covered else 0.0,
        purity=int(confusion.max(0).sum()) / max(covered, 1),
    )


def _most_varied(samples: Sequence[int], by_view: list[np.ndarray]) -> list[tuple[int, int]]:
    """(sample index, camera) of two images with many classes, of different samples and cameras if possible."""
    ranked = sorted(
        (-int(number), index, camera)
        for index, pairs in zip(samples, by_view)
        for camera, number in enumerate((pairs >= SHOWN_POINTS).sum(1))
    )
    _, index, camera = ranked[0]
    other = [item[1:] for item in ranked if item[1] != index]
    differing = [item for item in other if item[1] != camera]
    return [(index, camera), *(differing or other)[:1]]

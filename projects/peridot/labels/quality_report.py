"""Table, JSON file and figure of a comparison of map folders with true classes."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from skimage.segmentation import find_boundaries
from terminaltables import AsciiTable

from peridot.evaluation.matched_miou import UNMATCHED, majority_matching
from peridot.files import atomic_path
from peridot.labels.quality import Comparison, LabelQuality, SuperpixelQuality
from peridot.maps.images import ImageSource

GRAY = (110, 110, 110)
# more columns of a confusion matrix than this have no names
NAMED_COLUMNS = 40


def quality_tables(comparison: Comparison) -> str:
    """Plain-text tables in percent: one row per folder, and the IoU of every class for the folders of labels."""
    header = ['maps', 'generator', 'covered', 'ASA', 'UE', 'ids/image', 'mIoU 1:1', 'mIoU n:1', 'purity']
    tables = [AsciiTable([header, *map(_row, comparison.maps)], 'percent of point-pixel pairs')]
    labels = [item for item in comparison.maps if isinstance(item, LabelQuality)]
    if labels:
        fractions = comparison.class_pairs / comparison.class_pairs.sum()
        rows = [
            [name, _percent(fraction), *(_percent(item.iou_hungarian[name]) for item in labels)]
            for name, fraction in zip(comparison.classes, fractions)
        ]
        header = ['class', 'fraction', *(item.folder for item in labels)]
        tables.append(AsciiTable([header, *rows], 'IoU, labels matched one to one'))
    for table in tables:
        table.justify_columns = dict.fromkeys(range(1, len(table.table_data[0])), 'right')
    return '\n'.join(table.table for table in tables)


def write_quality(comparison: Comparison, out: Path) -> list[Path]:
    """Write `quality.json` and `quality.png`, atomically.

    Args:
        comparison: What to write.
        out: Folder for both files.

    Returns:
        The files.
    """
    data, drawing = out / 'quality.json', out / 'quality.png'
    content = {
        'data_root': str(comparison.dataset.data_root),
        'samples': comparison.samples,
        'images': comparison.images,
        'classes': comparison.classes,
        'class_pairs': comparison.class_pairs.tolist(),
        'maps': [
            {'kind': 'labels' if isinstance(item, LabelQuality) else 'superpixels', **asdict(item)}
            for item in comparison.maps
        ],
    }
    with atomic_path(data) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + '\n')
    with atomic_path(drawing) as temporary:
        quality_figure(comparison).savefig(temporary, format='png', dpi=110)
    return [data, drawing]


def quality_figure(comparison: Comparison) -> Figure:
    """Two images with the points' true classes, then the same images with every folder's maps and its numbers.

    Labels have the color of the class that they are matched to one to one, superpixels that of their most frequent
    class; what has no class is gray. The confusion matrix of labels is beside them, its columns in matching order.
    """
    samples = [(comparison.dataset[index], camera) for index, camera in comparison.shown]
    grid = _grid(comparison, np.shape(samples[0][0]['views'].maps[comparison.maps[0].folder][samples[0][1]]))
    figure = grid.figure
    for column, (sample, camera) in enumerate(samples):
        _draw_points(figure.add_subplot(grid[0, column]), sample, camera, comparison)
        for row, item in enumerate(comparison.maps, 1):
            axes = figure.add_subplot(grid[row, column])
            _draw_maps(axes, sample, camera, item, comparison)
            if column == 0:
                axes.set_title(_title(item), loc='left', fontsize=9)
    _draw_legend(figure.add_subplot(grid[0, -1]), comparison)
    for row, item in enumerate(comparison.maps, 1):
        if isinstance(item, LabelQuality):
            # the lower cell leaves room for the names of the columns
            cells = grid[row, -1].subgridspec(2, 1, height_ratios=[7, 3], hspace=0)
            _draw_confusion(figure.add_subplot(cells[0]), item, comparison.classes)
        else:
            _draw_bars(figure.add_subplot(grid[row, -1]), item)
    return figure


def _grid(comparison: Comparison, image_size: tuple[int, int]) -> GridSpec:
    """Cells for images of a (height, width), a gap for names, and the diagrams; one row per folder below the first."""
    # inches
    image = 4.6
    gap = 1.35
    diagram = 3.3
    title = 0.35
    rows, columns = 1 + len(comparison.maps), len(comparison.shown)
    cell = image * image_size[0] / image_size[1]
    size = image * columns + gap + diagram + 0.25, rows * (cell + title) + 0.1
    edges = dict(left=0.05 / size[0], right=1 - 0.15 / size[0], bottom=0.1 / size[1], top=1 - title / size[1])
    ratios = [image] * columns + [gap, diagram]
    figure = Figure(figsize=size)
    return figure.add_gridspec(rows, len(ratios), width_ratios=ratios, wspace=0.02, hspace=title / cell, **edges)


def _row(item: SuperpixelQuality | LabelQuality) -> list[str]:
    shared = [item.folder, item.generator, _percent(item.covered)]
    if isinstance(item, LabelQuality):
        return [*shared, '', '', '', *map(_percent, (item.miou_hungarian, item.miou_majority, item.purity))]
    accuracy, error = _percent(item.achievable_accuracy), _percent(item.undersegmentation_error)
    return [*shared, accuracy, error, f'{item.superpixels_per_image:.1f}', '', '', '']


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'


def _title(item: SuperpixelQuality | LabelQuality) -> str:
    if isinstance(item, LabelQuality):
        return f'{item.folder}: mIoU {item.miou_hungarian:.1%} one to one, {item.miou_majority:.1%} many to one'
    return f'{item.folder}: {item.superpixels_per_image:.0f} superpixels with points per image'


def _draw_points(axes: Axes, sample: dict, camera: int, comparison: Comparison) -> None:
    """Draw an image, darkened, with its points in the colors of their true classes."""
    pairs = sample['pairs']
    row, column = pairs.position[pairs.camera == camera].numpy().T
    true = sample['pts_semantic_mask'][pairs.point[pairs.camera == camera].numpy()]
    known = true < len(comparison.classes)
    axes.imshow(ImageSource(sample['img_paths'][camera]).read() // 2)
    axes.scatter(column[known], row[known], s=2.5, c=comparison.palette[true[known]] / 255, linewidths=0)
    axes.set_axis_off()
    axes.set_title(f'lidarseg, {sample["cameras"][camera]}', loc='left', fontsize=9)


def _draw_maps(
    axes: Axes, sample: dict, camera: int, item: SuperpixelQuality | LabelQuality, comparison: Comparison
) -> None:
    """Draw an image under its map."""
    image = ImageSource(sample['img_paths'][camera]).read()
    ids = np.asarray(sample['views'].maps[item.folder][camera]).astype(np.int64)
    if isinstance(item, LabelQuality):
        matching = np.array(item.hungarian)
    else:
        matching = _majority_classes(sample, camera, item.folder, len(comparison.classes))
    colors = np.concatenate([comparison.palette, [GRAY]])
    # pixels without an id, or with one above those that hold points, have no class
    known = (ids >= 0) & (ids < len(matching))
    classes = np.where(known, matching[np.where(known, ids, 0)], UNMATCHED)
    drawn = np.where((ids >= 0)[..., None], 0.35 * image + 0.65 * colors[classes], 0.5 * image).astype(np.uint8)
    if isinstance(item, SuperpixelQuality):
        drawn[find_boundaries(ids, mode='inner')] = 255
    axes.imshow(drawn)
    axes.set_axis_off()


def _majority_classes(sample: dict, camera: int, folder: str, num_classes: int) -> np.ndarray:
    """Most frequent true class of each superpixel of an image, UNMATCHED for those without points."""
    pairs = sample['pairs']
    ids = pairs.values_in(sample['views'].maps[folder])
    true = sample['pts_semantic_mask'][pairs.point.numpy()]
    rows = (pairs.camera.numpy() == camera) & (true < num_classes) & (ids >= 0)
    confusion = np.zeros((num_classes, ids.max() + 1), np.int64)
    np.add.at(confusion, (true[rows], ids[rows]), 1)
    return majority_matching(confusion)


def _draw_legend(axes: Axes, comparison: Comparison) -> None:
    """Draw names and colors of the true classes, with their fraction of the pairs."""
    fractions = comparison.class_pairs / comparison.class_pairs.sum()
    rows = range(len(comparison.classes))
    colors = comparison.palette / 255
    axes.scatter(np.zeros(len(rows)), rows, marker='s', s=22, c=colors)
    bars = axes.barh(rows, fractions, left=0.04 * fractions.max(), color=colors, height=0.7)
    axes.bar_label(bars, [f'{fraction:.1%}' for fraction in fractions], padding=2, fontsize=6)
    axes.set_yticks(rows, [name.replace('_', ' ') for name in comparison.classes], fontsize=6.5)
    axes.set_xlim(-0.03 * fractions.max(), 1.2 * fractions.max())
    _tidy(axes)
    axes.spines['left'].set_visible(False)
    axes.set_title(f'pairs by class, {comparison.samples} samples', loc='left', fontsize=9)
    axes.text(1, 0, 'gray: no class, dark: no label', ha='right', fontsize=6.5, transform=axes.transAxes)


def _draw_confusion(axes: Axes, item: LabelQuality, classes: list[str]) -> None:
    """Draw the fraction of each true class that has each label; matched labels first, in the order of their classes."""
    confusion, matching = np.array(item.confusion, float), np.array(item.hungarian)
    order = np.lexsort((-confusion.sum(0), np.where(matching == UNMATCHED, len(classes), matching)))
    rates = confusion[:, order] / np.maximum(confusion.sum(1, keepdims=True), 1)
    axes.imshow(rates, cmap='viridis', vmin=0, vmax=1, aspect='auto', interpolation='nearest')
    names = [name.replace('_', ' ') for name in classes]
    axes.set_yticks(range(len(names)), names, fontsize=6)
    labels = [item.labels[index].replace('_', ' ') for index in order] if len(order) <= NAMED_COLUMNS else []
    axes.set_xticks(range(len(labels)), labels, fontsize=6, rotation=90)
    axes.tick_params(length=0)
    axes.set_title('fraction of each true class with each label', loc='left', fontsize=9)


def _draw_bars(axes: Axes, item: SuperpixelQuality) -> None:
    values = {
        'pairs covered': item.covered,
        'achievable accuracy': item.achievable_accuracy,
        'undersegmentation error': item.undersegmentation_error,
    }
    bars = axes.barh(list(values), list(values.values()), color=['#8a9a83', '#3f8f5f', '#c0563f'], height=0.4)
    axes.bar_label(bars, [f'{value:.1%}' for value in values.values()], padding=3, fontsize=8)
    axes.set_xlim(0, 1.2)
    axes.set_yticks(range(len(values)), [name.replace(' ', '\n', 1) for name in values], fontsize=7.5)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    """Put the first row on top, and remove ticks and all of the frame but its left line."""
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[['top', 'right', 'bottom']].set_visible(False)

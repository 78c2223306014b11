"""The page that `make demo` ends with."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import init_default_scope
from PIL import Image
from torch import Tensor, nn

from peridot.catalog import class_colors
from peridot.checkpoints import read_checkpoint
from peridot.demo.methods import COLORS, METHODS, NAMES, UNTRAINED
from peridot.evaluation.linear_probe import BESIDE
from peridot.files import atomic_path, write_bytes
from peridot.maps import ImageSource
from peridot.registry import DATASETS, MODELS
from peridot.shipped import with_paths
from peridot.visualization.colors import label_colors
from peridot.visualization.explorer import explore, explorer_page
from peridot.visualization.figures import Cloud, TopView, draw_from_above, draw_on_images, feature_figure, tile
from peridot.visualization.html import bar, figure_html, page, similarity_viewer, table
from peridot.visualization.maps import paint
from peridot.visualization.scenes import Scenes, front_camera
from peridot.visualization.similarity import Scan, correlation_figure
from peridot.work_dirs import last_checkpoint


def write_report(work_dir: Path, results: dict) -> None:
    """Write `report.html` into the work directory.

    Args:
        work_dir: Folder of the demo, with a training run for each method and seed, each with its config.
        results: Content of `results.json`.
    """
    methods = [network for network in results['probe'] if network in METHODS]
    seeds = results['settings']['seeds']
    configs = {m: Config.fromfile(next((work_dir / f'{m}_seed{seeds[0]}').glob('*.py'))) for m in methods}
    first = next((m for m in methods if configs[m].picture_dataset.cameras), methods[0])
    config = configs[first]
    init_default_scope('mmdet3d')
    dataset = DATASETS.build(config.picture_dataset)
    sample = dataset[len(dataset) // 2]
    features = {UNTRAINED[METHODS[first].untrained][0]: _features(_network(config, seeds[0]), sample)}
    networks = {m: _network(configs[m], seeds[0], work_dir / f'{m}_seed{seeds[0]}') for m in methods}
    for method, network in networks.items():
        # the same scan, with the columns that the network reads
        sample_of_method = DATASETS.build(configs[method].picture_dataset)[len(dataset) // 2]
        features[NAMES[method]] = _features(network, sample_of_method)
    sections = [
        _headline(results, methods),
        _data(sample, dataset.metainfo),
        _labels(configs['olivine']) if 'olivine' in methods else '',
        training_section(work_dir, seeds, methods),
        _features_section(sample, features),
        _explorer(work_dir, first, config, networks[first]),
        _correlations(networks, configs),
        _classes(results, dataset.metainfo['classes']),
        _next_steps(results, methods),
    ]
    with atomic_path(work_dir / 'report.html') as temporary:
        temporary.write_text(page('Peridot: what a lidar network learns from cameras', sections))


def _network(config: Config, seed: int, run_dir: Path | None = None) -> nn.Module:
    torch.manual_seed(seed)
    model = MODELS.build(config.model).eval()
    if run_dir is not None:
        model.load_state_dict(read_checkpoint(last_checkpoint(run_dir))['state_dict'])
    return model


@torch.no_grad()
def _features(model: nn.Module, sample: dict) -> Tensor:
    inputs = model.data_preprocessor(pseudo_collate([sample]))['inputs']
    return model.embed_points(inputs['points'])[0].float()


def _headline(results: dict, methods: list[str]) -> str:
    seeds = results['settings']['seeds']
    probes = {n: [values[str(s)]['miou'] for s in seeds] for n, values in results['probe'].items()}
    others = {
        n: [f'{np.mean([p.get(f"{name}_miou", np.nan) for p in values.values()]):.3f}' for name in BESIDE]
        for n, values in results['probe'].items()
    }
    unlabeled = [m for m in methods if not METHODS[m].supervised]
    gains = {m: np.mean(probes[m]) / max(np.mean(probes[METHODS[m].untrained]), 1e-9) for m in unlabeled}
    rows = [
        [NAMES[n], *(f'{v:.3f}' for v in values), f'<b>{np.mean(values):.3f}</b>', *others[n]]
        for n, values in probes.items()
    ]
    header = ['backbone', *(f'seed {s}' for s in seeds), 'mean', 'classes balanced', 'hidden layer']
    asked = ''.join(f'<li>{NAMES[m]}: <i>{METHODS[m].asked}</i></li>' for m in unlabeled)
    ceiling = 'The rows of all labels are networks that did see them, with the same steps: the ceiling.'
    share = results['settings'].get('share', 1)
    length = '' if share == 1 else f'This is a first look, after {share:.0%} of the epochs of the documentation. '
    return (
        '<p>A lidar network was shown synthetic streets through its points, while a frozen ImageNet network '
        f'looked at the camera images. It had one task:</p><ul>{asked}</ul><p>It never saw a label. Then '
        'its weights were frozen and one linear layer was fitted to name the class of every point of unseen '
        'scenes.</p>'
        f'<p class="big">{", ".join(f"{NAMES[m]} {gain:.1f}&times;" for m, gain in gains.items())} '
        'the mIoU of the same network with random weights</p>'
        '<p>Linear probe on held-out scenes, mean intersection over union of the classes, all points; beside it the '
        'means of a linear probe that saw all classes equally often, and of a probe with a hidden layer. '
        f'{length}{ceiling if len(unlabeled) < len(methods) else ""}</p>'
        f'{table(header, rows)}'
    )


def _data(sample: dict, meta: dict) -> str:
    inputs = sample['inputs']
    if 'images' not in inputs:
        return ''
    labels = sample['data_samples'].gt_pts_seg.pts_semantic_mask.numpy()
    colors = label_colors(labels, meta['palette'])
    images = inputs['images'].permute(0, 2, 3, 1).numpy()
    drawn = tile(draw_on_images(images, inputs['pairs'], colors), 3)
    above = draw_from_above(inputs['points'].numpy(), colors)
    height = len(above)
    drawn = np.asarray(Image.fromarray(drawn).resize((round(drawn.shape[1] * height / len(drawn)), height)))
    return (
        '<h2>The data: points that meet pixels</h2>'
        f'{figure_html(tile(images, 3), "Six cameras of one keyframe of the synthetic street world.")}'
        + figure_html(
            np.hstack((above, drawn)),
            f'The same moment as {len(labels)} lidar points, from above and projected onto the images: '
            f'{len(inputs["pairs"].point)} point-pixel pairs. Colors are the true classes, which only the final '
            'probe gets to see.',
        )
    )


def _labels(config: Config) -> str:
    dataset = DATASETS.build({**config.train_dataloader.dataset, 'pipeline': []})
    info = dataset.get_data_info(len(dataset) // 2)
    folder = info['maps']['labels']
    palette = class_colors(folder.num_classes)
    drawn = []
    for path in info['img_paths'][:3]:
        image = ImageSource(path).read()
        drawn.append(paint(image, folder.read(path, image.shape[:2]), palette, opacity=0.5))
    return '<h2>Weak labels, found without anyone naming them</h2>' + figure_html(
        tile(np.stack(drawn), 3),
        f'Image features pooled per superpixel and clustered into {folder.num_classes} groups. OLIVINE uses them '
        'to pull points of the same group together; mistakes are many, and it learns in spite of them.',
    )


def training_section(work_dir: Path, seeds: list[int], methods: list[str]) -> str:
    """Loss and agreement of the training runs, as HTML; a method that logs no agreement has no line there.

    Args:
        work_dir: Folder of the demo.
        seeds: Seeds of the runs.
        methods: Keys of the methods.
    """
    matplotlib.use('Agg')
    from matplotlib import pyplot

    with pyplot.style.context('dark_background'):
        figure, axes = pyplot.subplots(1, 2, figsize=(11, 3.2), dpi=110)
        for method, seed in itertools.product(methods, seeds):
            lines = []
            for log in sorted((work_dir / f'{method}_seed{seed}').glob('*/vis_data/scalars.json')):
                lines += [json.loads(line) for line in log.read_text().splitlines()]
            steps = [line for line in lines if 'loss' in line]
            label = NAMES[method] if seed == seeds[0] else None
            for axis, key in zip(axes, ('loss', _agreement_key(steps))):
                logged = [step for step in steps if key in step]
                values = [step['step'] for step in logged], [step[key] for step in logged]
                if logged:
                    axis.plot(*values, color=COLORS[method], lw=1, label=label)
        axes[0].set_title('total loss')
        axes[1].set_title('agreement')
        for axis in axes:
            axis.set_xlabel('training step')
            if axis.lines:
                axis.legend()
        figure.tight_layout()
        figure.canvas.draw()
        image = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
        pyplot.close(figure)
    return '<h2>Training</h2>' + figure_html(
        image,
        'Loss and agreement with the target, one line per seed; methods cannot be compared. Agreement is the fraction '
        'of points that find their own image feature, for ScaLR the cosine with it, for ALSO the IoU of free and '
        'occupied space.',
    )


def _agreement_key(steps: list[dict]) -> str | None:
    """Name of the logged number that says how well a method does its task, None if it logs none."""
    return next((key for step in steps for key in step if key.endswith(('/accuracy', '/cosine', '/iou'))), None)


def _features_section(sample: dict, features: dict[str, Tensor]) -> str:
    inputs = sample['inputs']
    cloud = replace(Cloud.of_inputs(inputs), view=TopView())
    shown = ''.join(
        figure_html(
            feature_figure(values, cloud),
            f'{name}: first three principal components of the point features as colors.',
        )
        for name, values in features.items()
    )
    viewer = similarity_viewer(inputs['points'], features, _car(sample))
    return (
        f'<h2>What the features show</h2>{shown}'
        '<p><b>Click a point</b> in one of the clouds: all are colored by the similarity of their features '
        f'to it, from dark (different) to yellow (the same). The first query is a car.</p>{viewer}'
    )


def _explorer(work_dir: Path, method: str, config: Config, network: nn.Module) -> str:
    """Write the interactive page of a network beside the report; returns the link to it."""
    scenes = Scenes(config, count=2)
    meta, subtitle = scenes.dataset.metainfo, 'pre-trained on synthetic streets, without labels'
    page, _ = explorer_page(NAMES[method], subtitle, list(explore(network, scenes)), meta['classes'], meta['palette'])
    write_bytes(work_dir / 'explore.html', page.encode())
    return (
        '<p>The cloud in 3D, beside the cameras: click a point, and points and images are colored by what '
        f'{NAMES[method]} finds similar.</p><p class="next"><a href="explore.html">Explore the features</a></p>'
    )


def _car(sample: dict) -> int:
    """Row of a point on a car within 25 m, or the first one."""
    labels, xy = sample['data_samples'].gt_pts_seg.pts_semantic_mask, sample['inputs']['points'][:, :2]
    cars = ((labels == 3) & (xy.norm(dim=1) < 25)).nonzero()[:, 0]
    return int(cars[0]) if len(cars) else 0


def _correlations(networks: dict[str, nn.Module], configs: dict[str, Config]) -> str:
    """Similarity to one point across scans, and across datasets for a method that was trained on several."""
    figures = []
    for method, network in networks.items():
        scans = []
        for title, dataset in _picture_datasets(configs[method]):
            for index in (0, len(dataset) - 1):
                sample, camera = dataset[index], front_camera(dataset.get_data_info(index))
                cloud = Cloud.of_inputs(sample['inputs'], camera)
                scans.append(Scan(f'{title}, scan {index}', cloud, _features(network, sample)))
        query = _car(DATASETS.build(configs[method].picture_dataset)[0])
        figures.append(figure_html(correlation_figure(scans, query), NAMES[method]))
    return (
        '<h2>One point in other scans</h2><p>Similarity of the feature of a car, at the cross, with all '
        'points of its scan and of others: yellow is the same, dark blue different.</p>'
        f'{"".join(figures)}'
    )


def _picture_datasets(config: Config) -> list[tuple[str, BaseDataset]]:
    """The dataset of the figures and those of other sensors that the config names."""
    first = DATASETS.build(config.picture_dataset)
    others = [DATASETS.build(dataset) for dataset in config.get('other_picture_datasets', [])]
    return [(dataset.metainfo['dataset'], dataset) for dataset in [first, *others]]


def _classes(results: dict, classes: list[str]) -> str:
    networks = list(results['probe'])
    probes = {network: list(own.values()) for network, own in results['probe'].items()}
    # classes without ground truth have no IoU
    shown = [name for name in classes if all(name in probe for own in probes.values() for probe in own)]

    def mean(network: str, name: str) -> float:
        return float(np.mean([probe[name] for probe in probes[network]]))

    rows = [[name, *(f'<span>{bar(mean(n, name), COLORS[n])}</span>' for n in networks)] for name in shown]
    return '<h2>Class by class</h2>' + table(['IoU, mean of the seeds', *(NAMES[n] for n in networks)], rows)


def _next_steps(results: dict, methods: list[str]) -> str:
    seconds = results['seconds']
    rows = [[name, f'{value:.0f} s'] for name, value in seconds.items()]
    commands = (
        'python tools/create_data.py nuscenes --root data/nuscenes\n'
        f'python tools/train.py peridot::{METHODS[methods[0]].published}.py'
    )
    return (
        '<h2>Where to go from here</h2><p>The demo ran the real programs with a small config. On nuScenes the '
        'same objectives run with the published settings:</p>'
        f'<pre>{with_paths(commands)}</pre>'
        f'<h2>Time</h2>{table(["stage", "seconds"], rows)}'
    )

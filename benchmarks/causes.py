#!/usr/bin/env python3
"""Measurements behind docs/effect.md.

python benchmarks/causes.py outliers configs/demo/olivine_demo.py work_dirs/olivine_demo/epoch_10.pth
python benchmarks/causes.py teacher configs/demo/olivine_demo.py
python benchmarks/causes.py images configs/demo/lima_demo.py
python benchmarks/causes.py sides configs/demo/also_demo.py work_dirs/also_demo/epoch_10.pth
python benchmarks/causes.py segments configs/drive_and_segment/teacher_demo.py CHECKPOINT weak_labels/segment-kmeans
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import load_checkpoint
from peridot.checkpoints import read_checkpoint
from peridot.cli import load_config, run
from peridot.drive_and_segment import PROPOSALS
from peridot.drive_and_segment.segmentor.region_joining import join_regions
from peridot.errors import ConfigError
from peridot.evaluation.confusion import class_iou, confusion_matrix
from peridot.evaluation.linear_probe import fit_linear_probe
from peridot.evaluation.matched_miou import MatchedMeanIoU
from peridot.maps.folder import MapFolder
from peridot.maps.images import ImageSource
from peridot.models.functional import group_mean, read_at
from peridot.models.functional.neighbors import nearest
from peridot.models.objectives.occupancy import mean_logits
from peridot.models.pretrainer import Pretrainer
from peridot.registry import DATASETS, MODELS
from peridot.weights import check_same_network
from torch import Tensor

# every so many samples or images
STEP = 7
# of a keyframe of the streets
NUM_CAMERAS = 6
SURFACES = {
    'ground': ('driveable_surface', 'other_flat', 'sidewalk', 'terrain'),
    'buildings': ('manmade',),
    'vehicles': ('bus', 'car', 'construction_vehicle', 'trailer', 'truck'),
}


def build(config: ConfigDict, checkpoint: Path | None) -> Pretrainer:
    """The pre-trainer of a config, with weights of a checkpoint or random ones, in evaluation mode."""
    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    if checkpoint:
        check_same_network(model, read_checkpoint(checkpoint))
        load_checkpoint(model, str(checkpoint), map_location='cpu', strict=True)
    return model


def outliers(config: ConfigDict, checkpoint: Path | None) -> None:
    """Norms of the features of training scans: as they are, with other intensities, with statistics of each scan."""
    model = build(config, checkpoint)
    dataset = DATASETS.build(config.val_cfg.fit_dataloader.dataset)
    batches = [model.data_preprocessor(pseudo_collate([dataset[i]])) for i in range(0, len(dataset), STEP)]

    def report(name: str, change: Callable[[Tensor], Tensor] = lambda intensity: intensity) -> None:
        """Print the norms with intensities float (N, 1) that `change` gives from those of the files."""
        features = []
        for batch in batches:
            points = [torch.cat((p[:, :3], change(p[:, 3:4]), p[:, 4:]), 1) for p in batch['inputs']['points']]
            features += model.embed_points(points)
        features = torch.cat(features).float()
        norms = features.norm(dim=1).sort().values
        variances = torch.linalg.eigvalsh(features.T.cov())
        shown = [norms[int(share * (len(norms) - 1))] for share in (0.5, 0.99, 1)]
        energy = norms[-len(norms) // 20 :].square().sum() / norms.square().sum()
        print(
            f'{name:24s} norm: median, 99 %, largest ' + ', '.join(f'{value:.1f}' for value in shown) + '; energy in '
            f'5 % of the points {energy:.2f}; participation ratio {variances.sum() ** 2 / variances.square().sum():.1f}'
        )

    report('as it is')
    report('intensity 20', lambda intensity: torch.full_like(intensity, 20))
    report('intensity at most 60', lambda intensity: intensity.clamp(max=60))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean = module.running_var = None
            module.track_running_stats = False
    report('statistics of each scan')


def teacher(config: ConfigDict, checkpoint: Path | None) -> None:
    """Linear probes of the teacher's features at the pixels of the points, by layer."""
    preprocess = MODELS.build(dict(type='peridot.PairedDataPreprocessor'))
    teachers = {f'layer {i}': MODELS.build({**config.model.teacher, 'out_index': i}).eval() for i in (2, 3, 4)}

    def collect(ann_file: str, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Features float (P, C) by layer, and classes int64 (P,), of pairs of every `step`-th sample."""
        dataset = DATASETS.build({**config.picture_dataset, 'ann_file': ann_file})
        generator, features, labels = torch.Generator().manual_seed(0), [], []
        for index in range(0, len(dataset), step):
            inputs = preprocess(pseudo_collate([dataset[index]]))['inputs']
            own = dataset[index]['data_samples'].gt_pts_seg.pts_semantic_mask[inputs['pairs'].point]
            rows = (own != dataset.metainfo['ignore_index']).nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=generator)[:4096]]
            pairs, size = inputs['pairs'][rows], tuple(inputs['images'].shape[-2:])
            maps = {name: (network(inputs['images']), network.align_corners) for name, network in teachers.items()}
            features.append({n: read_at(m, pairs.camera, pairs.position, size, a) for n, (m, a) in maps.items()})
            labels.append(own[rows].long())
        return {n: torch.cat([f[n] for f in features]).float() for n in teachers}, torch.cat(labels)

    fitted, truth = collect('nuscenes_infos_train.pkl', 2)
    held_out, answer = collect('nuscenes_infos_val.pkl', 1)
    for names in [[name] for name in teachers] + [list(teachers)]:
        rows = (torch.cat([of[n] for n in names], 1) for of in (fitted, held_out))
        print(f'{" and ".join(names)}: mIoU {probe_miou(*rows, truth, answer):.3f}')


def images(config: ConfigDict, checkpoint: Path | None) -> None:
    """Linear probes of a point's mean feature over its images: of its own keyframe, of earlier ones, of all."""
    if 'drop_occluded' not in config:
        raise ConfigError('images: the config has no images of earlier keyframes: take configs/demo/lima_demo.py')
    preprocess = MODELS.build(dict(type='peridot.PairedDataPreprocessor'))
    network = MODELS.build(config.model.teacher).eval()
    *steps, pack = config.picture_dataset.pipeline
    earlier = dict(frames=config.train_dataloader.dataset.frames, pipeline=[*steps, config.drop_occluded, pack])

    def collect(ann_file: str, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Features float (P, C) and classes int64 (P,) of points that both kinds of images see."""
        dataset = DATASETS.build({**config.picture_dataset, **earlier, 'ann_file': ann_file})
        generator, features, labels = torch.Generator().manual_seed(0), [], []
        for index in range(0, len(dataset), step):
            sample = dataset[index]
            inputs = preprocess(pseudo_collate([sample]))['inputs']
            pairs, size = inputs['pairs'], tuple(inputs['images'].shape[-2:])
            own = pairs.camera < NUM_CAMERAS
            found = read_at(network(inputs['images']), pairs.camera, pairs.position, size, network.align_corners)
            found, points = F.normalize(found, dim=1), len(inputs['points'][0])
            kinds = {'own': own, 'earlier': ~own, 'all': torch.ones_like(own)}
            means = {
                name: group_mean(found, torch.where(kind, pairs.point, -1), points) for name, kind in kinds.items()
            }
            labeled = sample['data_samples'].gt_pts_seg.pts_semantic_mask
            seen = (means['own'][1] > 0) & (means['earlier'][1] > 0) & (labeled != dataset.metainfo['ignore_index'])
            rows = seen.nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=generator)[:4096]]
            features.append({name: mean[rows] for name, (mean, _) in means.items()})
            labels.append(labeled[rows].long())
        return {name: torch.cat([of[name] for of in features]) for name in features[0]}, torch.cat(labels)

    fitted, truth = collect('nuscenes_infos_train.pkl', 2)
    held_out, answer = collect('nuscenes_infos_val.pkl', 1)
    for name in fitted:
        print(f'{name} images: mIoU {probe_miou(fitted[name], held_out[name], truth, answer):.3f}')


def probe_miou(fitted: Tensor, held_out: Tensor, truth: Tensor, answer: Tensor) -> float:
    """mIoU of a linear probe on features (Q, C) with classes (Q,), fitted on features (P, C) with classes (P,)."""
    count = int(truth.max()) + 1
    predicted = fit_linear_probe(fitted, truth, count)(held_out).argmax(1)
    confusion = confusion_matrix(answer.numpy(), predicted.numpy(), count, -1)
    return np.nanmean(class_iou(confusion, confusion.sum(1)))


def sides(config: ConfigDict, checkpoint: Path | None) -> None:
    """How often ALSO knows whether a place just in front of or behind a surface is occupied, by kind of surface.

    Prints, too, the loss of knowing only how often places are occupied, at all or near to returns and elsewhere.
    """
    model = build(config, checkpoint)
    random = ('GlobalRotScaleTrans', 'RandomFlip3D')
    pipeline = [step for step in config.train_dataloader.dataset.pipeline if not step['type'].endswith(random)]
    pipeline.insert(1, dict(type='peridot.LoadPointLabels'))
    dataset = config.train_dataloader.dataset
    dataset = DATASETS.build({**dataset, 'ann_file': 'nuscenes_infos_val.pkl', 'pipeline': pipeline})
    classes, found = dataset.metainfo['classes'], {name: [] for name in SURFACES}
    asked = []
    np.random.seed(0)
    for sample in (dataset[index] for index in range(len(dataset))):
        data = model.data_preprocessor(pseudo_collate([sample]))
        batch = model.encode(data['inputs'], data['data_samples'])
        queries, objective = batch.queries, model.objectives['occupancy']
        embed = batch.heads['occupancy'].embed_student
        query, pairs = objective.predict(batch.supports, queries.position, queries.scan, embed, batch.generator)
        logits = mean_logits(query, pairs[:, 0], len(queries.position))
        point = nearest(queries.position, batch.points[:, :3])
        close = (queries.position - batch.points[point, :3]).norm(dim=1) < 0.12
        asked.append(torch.stack([close, queries.occupied])[:, ~logits.isnan()])
        for name, members in SURFACES.items():
            kind = torch.isin(batch.labels[point], torch.tensor([classes.index(member) for member in members]))
            rows = close & kind & ~logits.isnan()
            found[name].append((logits[rows] > 0) == queries.occupied[rows])
    close, occupied = torch.cat(asked, 1)
    near = close.float().mean() * entropy(occupied[close]) + (~close).float().mean() * entropy(occupied[~close])
    print(f'loss of the base rate {entropy(occupied):.3f}, of those near to returns and elsewhere {near:.3f}')
    for name, right in found.items():
        right = torch.cat(right)
        print(f'{name}: {100 * right.float().mean():.1f} % of {len(right)} places right')


def entropy(occupied: Tensor) -> Tensor:
    """Binary cross-entropy, in nats, of predicting for all of Bool (N,) the rate at which they are true."""
    rate = occupied.float().mean()
    return torch.nn.functional.binary_cross_entropy(rate, rate)


def segments(config: ConfigDict, checkpoint: Path, folders: list[str]) -> None:
    """Scores of a teacher of Drive&Segment and of label maps on training images, with the true class of every pixel."""
    import peridot.drive_and_segment.segmentor.segmentor  # noqa: F401  (registers the network)
    from peridot.drive_and_segment.segmentor.segment_images import ImageSegmentor

    root = config.val_dataloader.dataset.data_root
    with DefaultScope.overwrite_default_scope('mmseg'):
        images = DATASETS.build({**config.val_dataloader.dataset, 'ann_file': 'nuscenes_infos_train.pkl'})
    maps = {folder: MapFolder(folder, root, 'labels') for folder in folders}
    parts = [MapFolder(folder, root) for folder in (PROPOSALS, 'superpixels/felzenszwalb')]
    segment = ImageSegmentor(config, str(checkpoint))
    names = ('teacher', *maps, 'best class of every region')
    metrics = {name: MatchedMeanIoU(num_clusters=config.model.decode_head.num_classes) for name in names}
    for sample in samples(images):
        image = ImageSource(sample.img_path).read()
        found = {name: own.ids(own.read(sample.img_path, image.shape[:2])) for name, own in maps.items()}
        regions = join_regions(*(own.read(sample.img_path, image.shape[:2]) for own in parts))
        found[names[-1]] = best_classes(regions, sample.gt_sem_seg.data[0].numpy(), len(images.metainfo['classes']))
        for name, clusters in dict(teacher=segment(image), **found).items():
            predicted = dict(pred_sem_seg=dict(data=np.asarray(clusters)), img_path=sample.img_path)
            metrics[name].dataset_meta = images.metainfo
            metrics[name].process({}, [dict(gt_sem_seg=dict(data=sample.gt_sem_seg.data), **predicted)])
    for name, metric in metrics.items():
        scores = metric.evaluate(len(images))
        print(f'{name}: mIoU {scores["matched/miou"]:.3f}, accuracy {scores["matched/acc"]:.3f}')


def best_classes(regions: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """Most frequent class int (H, W) of every region (H, W); of `classes` (H, W) those below `count` are known."""
    known = classes < count
    votes = np.zeros((regions.max() + 1, count))
    np.add.at(votes, (regions[known], classes[known]), 1)
    return votes.argmax(1)[regions]


def samples(images: BaseDataset) -> Iterator:
    """Some of the images, from all cameras."""
    return (images[index]['data_samples'] for index in range(0, len(images), STEP))


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('outliers', 'teacher', 'images', 'sides', 'segments'))
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path, nargs='?', help='random weights without it')
    parser.add_argument('folders', nargs='*', help='segments: folders of label maps, below the data root')
    args = parser.parse_args()
    if args.what in ('sides', 'segments') and not args.checkpoint:
        parser.error(f'{args.what} needs a checkpoint')
    config = load_config(argparse.Namespace(config=args.config, data_root=None, cfg_options=None))
    init_default_scope('mmdet3d')
    with torch.no_grad():
        if args.what == 'segments':
            segments(config, args.checkpoint, args.folders)
        else:
            dict(outliers=outliers, teacher=teacher, images=images, sides=sides)[args.what](config, args.checkpoint)


if __name__ == '__main__':
    run(main)

#!/usr/bin/env python3
"""Pictures of segmentations, detections and features, without a display, see docs/visualize.md."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from peridot.cli import add_config_arguments, check_datasets, load_config, run
from peridot.errors import ConfigError, DataError
from peridot.evaluation.box_pictures import PREDICTED, TRUE, Boxes, detection_picture
from peridot.evaluation.feature_map import balanced_rows, class_map, embed
from peridot.evaluation.pictures import TopView, feature_picture, segmentation_picture
from peridot.evaluation.scenes import Scenes, load_network, point_features, predict, true_labels
from peridot.files import atomic_path
from PIL import Image
from torch import nn

Pictures = Iterator[tuple[str, np.ndarray]]


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    about = dict(
        seg='ground truth, prediction and errors of a segmentor',
        det='true and predicted boxes of a detector',
        features='features of a pre-training or a MinkUNet: principal components, similarity, t-SNE',
    )
    for kind, text in about.items():
        own = kinds.add_parser(kind, help=text, description=text)
        add_config_arguments(own)
        own.add_argument('checkpoint', help='checkpoint of this config')
        own.add_argument('--out', type=Path, required=True, help='folder of the pictures')
        own.add_argument('--samples', type=int, default=4, help='number of samples, evenly spaced (default: 4)')
        if kind == 'det':
            own.add_argument('--score-thr', type=float, default=0.3, help='lowest score that is drawn (default: 0.3)')
        if kind == 'features':
            own.add_argument(
                '--query',
                type=float,
                nargs=2,
                metavar=('X', 'Y'),
                help='also similarity to the point nearest to (X, Y)',
            )
            own.add_argument(
                '--per-class', type=int, default=100, help='points of each class in the t-SNE (default: 100)'
            )
    return parser.parse_args()


def segmentation_pictures(model: nn.Module, scenes: Scenes, args: argparse.Namespace) -> Pictures:
    """One picture per sample."""
    if not hasattr(model, 'decode_head'):
        raise ConfigError(f'{args.config} holds no segmentor, but a {type(model).__name__}: use `det` or `features`')
    meta = scenes.dataset.metainfo
    for name, sample, row in scenes:
        xyz, truth = sample['inputs']['points'][:, :3].numpy(), true_labels(sample)
        if truth is None:
            raise DataError(f'sample {name} of {scenes.dataset.ann_file} has no point labels to compare with')
        predicted = predict(model, sample).pred_pts_seg.pts_semantic_mask.cpu().numpy()
        cameras = scenes.cameras(row, wide=1240, narrow=480)
        view = TopView.fit(xyz, cameras.front, 540)
        yield (
            f'seg_{name}',
            segmentation_picture(
                xyz, cameras.images, cameras.pairs(xyz), truth, predicted, meta['classes'], meta['palette'], view
            ),
        )


def detection_pictures(model: nn.Module, scenes: Scenes, args: argparse.Namespace) -> Pictures:
    """One picture per sample."""
    classes = scenes.dataset.metainfo['classes']
    for name, sample, row in scenes:
        result = predict(model, sample)
        if 'pred_instances_3d' not in result:
            raise ConfigError(f'{args.config} holds no detector, but a {type(model).__name__}: use `seg` or `features`')
        found = result.pred_instances_3d.cpu()
        found = found[found.scores_3d >= args.score_thr]
        names = [f'{classes[label]} {score:.2f}' for label, score in zip(found.labels_3d, found.scores_3d)]
        predicted = Boxes(found.bboxes_3d.corners.numpy(), names, PREDICTED)
        annotation = sample['data_samples'].get('eval_ann_info') or {}
        labels = np.asarray(annotation.get('gt_labels_3d', []), dtype=np.int64)
        corners = np.zeros((0, 8, 3))
        if (labels >= 0).any():
            corners = annotation['gt_bboxes_3d'].corners.numpy()[labels >= 0]
        true = Boxes(corners, [classes[label] for label in labels[labels >= 0]], TRUE, names_below=True)
        xyz = sample['inputs']['points'][:, :3].numpy()
        cameras = scenes.cameras(row, wide=1240, narrow=640)
        view = TopView.fit(xyz, cameras.front, 1240 if len(cameras.images) == 1 else 1080, corners[:, :, :2])
        yield (
            f'det_{name}',
            detection_picture(xyz, cameras.images, cameras.lidar2cam, cameras.cam2img, true, predicted, view),
        )


def feature_pictures(model: nn.Module, scenes: Scenes, args: argparse.Namespace) -> Pictures:
    """Principal components, similarity to the query, and one t-SNE of the points of all samples."""
    kept = []
    for name, sample, row in scenes:
        points, features = sample['inputs']['points'], point_features(model, sample)
        cameras = scenes.cameras(row, wide=1240, narrow=640)
        images = torch.from_numpy(cameras.images).permute(0, 3, 1, 2)
        view = TopView.fit(points.numpy(), cameras.front, 720)
        shown = dict(xyz=points, images=images, pairs=cameras.pairs(points.numpy()), view=view)
        yield f'features_{name}_pca', feature_picture(features, **shown)
        if args.query:
            query = int((points[:, :2] - points.new_tensor(args.query)).norm(dim=1).argmin())
            yield f'features_{name}_similarity', feature_picture(features, query=query, **shown)
        labels = true_labels(sample)
        if labels is not None:
            rows = balanced_rows(labels, len(scenes.dataset.metainfo['classes']), args.per_class)
            kept.append((features[rows].numpy(), labels[rows]))
    if kept:
        meta = scenes.dataset.metainfo
        features, labels = (np.concatenate(parts) for parts in zip(*kept))
        rows = balanced_rows(labels, len(meta['classes']), args.per_class)
        yield 'features_tsne', class_map(embed(features[rows]), labels[rows], meta['classes'], meta['palette'])
    else:
        print('no t-SNE: the samples have no point labels')


def write_pictures(config: Config, args: argparse.Namespace) -> None:
    """Draw and write all pictures of a kind."""
    draw = dict(seg=segmentation_pictures, det=detection_pictures, features=feature_pictures)[args.kind]
    scenes = Scenes(config, args.samples)
    model = load_network(config, args.checkpoint, 'cuda' if torch.cuda.is_available() else 'cpu')
    for name, picture in draw(model, scenes, args):
        path = args.out / f'{name}.png'
        with atomic_path(path) as temporary:
            Image.fromarray(np.ascontiguousarray(picture)).save(temporary, format='PNG')
        print(path)


def main() -> None:
    """Write the pictures of the parsed arguments."""
    args = parse_args()
    config = load_config(args)
    check_datasets(config)
    write_pictures(config, args)


if __name__ == '__main__':
    run(main)

"""Figures of a network's results on samples, which tools/visualize.py writes."""

import argparse
import re
from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from peridot.cli import load_config
from peridot.errors import ConfigError, DataError
from peridot.evaluation.zero_shot import check_head
from peridot.text.embeddings import TextEmbeddings, TextEncoder, embed_prompts
from peridot.text.prompts import TEMPLATES
from peridot.visualization.boxes import PREDICTED, TRUE, Boxes, detection_figure
from peridot.visualization.figures import Cloud, TopView, caption, feature_figure, save_figure, segmentation_figure
from peridot.visualization.scenes import Scenes, load_network, point_features, predict, true_labels
from peridot.visualization.similarity import Scan, correlation_figure, text_figure
from peridot.visualization.tsne import BalancedSample, class_map, embed

Figures = Iterator[tuple[str, np.ndarray]]


def cloud_of(sample: dict, row: int, scenes: Scenes, narrow: int = 640, pixels: int = 720) -> Cloud:
    """Points and cameras of a sample, ready to be drawn.

    Args:
        sample: As its pipeline packs it.
        row: Row of the sample in the dataset.
        scenes: The samples and cameras.
        narrow: Width of each of several images.
        pixels: Width and height of the view from above.
    """
    xyz, cameras = sample['inputs']['points'][:, :3].numpy(), scenes.cameras(row, wide=1240, narrow=narrow)
    return Cloud(xyz, cameras.captioned(), cameras.pairs(xyz), TopView.fit(xyz, cameras.front, pixels))


def segmentation_figures(model: nn.Module, scenes: Scenes, args: argparse.Namespace) -> Figures:
    """One figure per sample."""
    if not hasattr(model, 'decode_head'):
        raise ConfigError(f'{args.config} is not a segmentor but a {type(model).__name__}: use `det` or `features`')
    meta = scenes.dataset.metainfo
    for name, sample, row in scenes:
        truth = true_labels(sample)
        if truth is None:
            raise DataError(
                f'sample {name} of {scenes.dataset.ann_file} has no point labels to compare with: draw `features`'
            )
        predicted = predict(model, sample).pred_pts_seg.pts_semantic_mask.cpu().numpy()
        cloud = cloud_of(sample, row, scenes, narrow=480, pixels=540)
        yield f'seg_{name}', segmentation_figure(cloud, truth, predicted, meta['classes'], meta['palette'])


def detection_figures(model: nn.Module, scenes: Scenes, args: argparse.Namespace) -> Figures:
    """One figure per sample."""
    classes = scenes.dataset.metainfo['classes']
    for name, sample, row in scenes:
        result = predict(model, sample)
        if 'pred_instances_3d' not in result:
            raise ConfigError(f'{args.config} is not a detector but a {type(model).__name__}: use `seg` or `features`')
        boxes = result.pred_instances_3d.cpu()
        boxes = boxes[boxes.scores_3d >= args.score_thr]
        names = [f'{classes[label]} {score:.2f}' for label, score in zip(boxes.labels_3d, boxes.scores_3d)]
        predicted = Boxes(boxes.bboxes_3d.corners.numpy(), names, PREDICTED)
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
            detection_figure(xyz, cameras.captioned(), cameras.lidar2cam, cameras.cam2img, true, predicted, view),
        )


def feature_figures(model: nn.Module, scenes: Scenes, args: argparse.Namespace) -> Figures:
    """Principal components, similarity to a point, and one t-SNE of the points of all samples."""
    meta = scenes.dataset.metainfo
    drawn = BalancedSample(len(meta.get('classes', ())), args.per_class)
    for name, sample, row in scenes:
        cloud, features = cloud_of(sample, row, scenes), point_features(model, sample)
        yield f'features_{name}_pca', caption(feature_figure(features, cloud), 'three principal components as colors')
        if args.point:
            figure = feature_figure(features, cloud, cloud.nearest(*args.point))
            yield f'features_{name}_similarity', caption(figure, 'cosine with the point at the cross: dark 0, yellow 1')
        labels = true_labels(sample)
        if labels is not None:
            drawn.add(features.numpy(), labels)
    if len(drawn.labels):
        yield 'features_tsne', class_map(embed(drawn.features), drawn.labels, meta['classes'], meta['palette'])
    else:
        print('no t-SNE: the samples have no point labels')


def text_figures(model: nn.Module, scenes: Scenes, args: argparse.Namespace) -> Figures:
    """One figure per sample and text; the colors of a text mean the same in all samples."""
    if args.embeddings:
        texts = TextEmbeddings.load(args.embeddings)
        queries = [texts.query(text) for text in args.texts]
    else:
        encode = TextEncoder(args.model)
        queries = [embed_prompts({text: (text,)}, TEMPLATES, encode, args.model) for text in args.texts]
    check_head(model, args.head, queries[0], args.embeddings or args.model)
    clouds, found = {}, []
    for name, sample, row in scenes:
        features = point_features(model, sample, args.head)
        found.append(torch.cat([query.scores(features) for query in queries], 1))
        clouds[name] = cloud_of(sample, row, scenes)
    for column, text in enumerate(args.texts):
        limits = np.percentile(torch.cat(found)[:, column].numpy(), [2, 99.5]).tolist()
        stem = '-'.join(re.findall('[a-z0-9]+', text.lower()))
        for (name, cloud), scores in zip(clouds.items(), found):
            yield f'text_{stem}_{name}', text_figure(cloud, scores[:, column], text, limits)


def correlation_figures(model: nn.Module, scenes: Scenes, args: argparse.Namespace) -> Figures:
    """One figure with the samples of all configs."""
    sources = [scenes]
    for other in args.also:
        path, _, data_root = other.partition('=')
        config = load_config(argparse.Namespace(config=path, data_root=data_root, cfg_options=None))
        sources.append(Scenes(config, args.samples))
    scans = (
        Scan(
            f'{source.dataset.metainfo.get("dataset", "")} {name}'.strip(),
            cloud_of(sample, row, source),
            point_features(model, sample, args.head),
        )
        for source in sources
        for name, sample, row in source
    )
    first = next(scans)
    yield 'correlation', correlation_figure(chain([first], scans), first.cloud.nearest(*args.point))


def write_figures(config: Config, args: argparse.Namespace) -> None:
    """Draw and write all figures of one kind.

    Args:
        config: Config of the network and its samples.
        args: Those of tools/visualize.py.
    """
    draw = dict(
        seg=segmentation_figures,
        det=detection_figures,
        features=feature_figures,
        text=text_figures,
        correlation=correlation_figures,
    )[args.kind]
    scenes = Scenes(config, args.samples)
    model = load_network(config, args.checkpoint, 'cuda' if torch.cuda.is_available() else 'cpu')
    for name, figure in draw(model, scenes, args):
        path = args.out / f'{name}.png'
        save_figure(path, figure)
        print(path)

"""All stages of Drive&Segment, and their scores."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from terminaltables import AsciiTable

from peridot.cli import load_config
from peridot.drive_and_segment import PROPOSALS
from peridot.drive_and_segment.evaluation.scores_report import Column, write_report
from peridot.drive_and_segment.pseudo_labels.pixel_kmeans import PixelClusters
from peridot.drive_and_segment.segmentor.segment_images import ImageSegmentor
from peridot.errors import ConfigError
from peridot.evaluation.matched_miou import MatchedMeanIoU
from peridot.labels.parallel import progress
from peridot.labels.training_maps import training_set
from peridot.maps.folder import MapFolder
from peridot.maps.images import ImageSource, images_of
from peridot.options import setting
from peridot.registry import DATASETS
from peridot.work_dirs import Stages, last_checkpoint

PSEUDO_LABELS = 'weak_labels/segment-kmeans'
TEACHER_LABELS = 'weak_labels/segment-teacher'
SUPERPIXELS = ('--generator', 'felzenszwalb', '--options', 'scale=100', 'sigma=0.5', 'min_size=50', 'num_ids=1024')
HELD_OUT = '_val'
NETWORKS = ('teacher', 'student', 'student_ema')
# name in the table of everything that is evaluated
TITLES = {
    'pixels': 'k-means of pixels',
    'labels': 'pseudo-labels',
    'teacher': 'teacher',
    'student': 'student',
    'student_ema': 'student of the extension',
}
MATCHING = 'matching.json'


class DriveAndSegment(Stages):
    """All stages for one dataset. Proposals, pseudo-labels and superpixels are made once, the networks for each seed.

    Held-out images are those of the teacher's `val_dataloader`; without one nothing is scored.

    Args:
        config: Config of proposals and pseudo-labels. Those of the networks are beside it: `teacher_NAME.py`,
            `student_NAME.py` and, for the extension, `student_ema_NAME.py`.
        data_root: Folder of the dataset.
        work_dir: Folder for networks and results.
        seeds: Seeds of the networks and of the k-means of pixels.

    Raises:
        ConfigError: A config is missing.
        PeridotError: The folder holds results of other settings.
    """

    def __init__(self, config: Path, data_root: Path, work_dir: Path, seeds: list[int]) -> None:
        super().__init__(work_dir, dict(config=str(config), data_root=str(data_root), seeds=seeds))
        self.config = config
        self.data_root = data_root
        self.seeds = seeds
        for path in (config, self.config_of('teacher'), self.config_of('student')):
            if not path.is_file():
                raise ConfigError(f'{path} not found: give configs/drive_and_segment/NAME.py with a teacher_NAME.py')
        self.networks = [name for name in NETWORKS if self.config_of(name).is_file()]
        self.held_out = self.read(self.config_of('teacher')).get('val_dataloader')
        self.results.setdefault('scores', {})

    def config_of(self, network: str) -> Path:
        """Config of a network."""
        return self.config.with_name(f'{network}_{self.config.name}')

    def read(self, path: Path) -> Config:
        """Read a config and set its data root."""
        return load_config(argparse.Namespace(config=path, data_root=str(self.data_root), cfg_options=None))

    def run(self) -> None:
        """Run the stages that are not done yet."""
        self.label()
        for seed in self.seeds:
            for network in self.networks:
                self.stage(f'{network}, seed {seed}', self.train, network, seed)
                if network == 'teacher':
                    self.stage(f'labels of the teacher, seed {seed}', self.label_by_teacher, seed)
                if self.held_out:
                    self.stage(f'evaluation of the {network}, seed {seed}', self.evaluate, network, seed)
        if self.held_out:
            self.stage('evaluation of labels and pixels', self.evaluate_labels)
            self.stage('report', self.report)
            print(AsciiTable(score_rows(self.results['scores'], self.seeds)).table)
        print(f'{sum(self.results["seconds"].values()) / 60:.1f} minutes; {self.file}')

    def label(self) -> None:
        """Make proposals, pseudo-labels and superpixels of training images, and the first two of held-out images."""
        self.stage('proposals', self.make, 'make_proposals')
        self.stage('pseudo-labels', self.make, 'make_pseudo_labels')
        self.stage('superpixels', self.make, 'make_superpixels', *SUPERPIXELS)
        if not self.held_out:
            return
        proposals = PROPOSALS + HELD_OUT
        images = ['--cfg-options', f'train_dataloader.dataset.ann_file={self.held_out.dataset.ann_file}']
        self.stage('proposals of held-out images', self.make, 'make_proposals', '--out', proposals, *images)
        options = ['--options', f'proposals={proposals}', f'clusters={PSEUDO_LABELS}', *images]
        out = ['--out', PSEUDO_LABELS + HELD_OUT]
        self.stage('pseudo-labels of held-out images', self.make, 'make_pseudo_labels', *out, *options)

    def make(self, tool: str, *arguments: str) -> None:
        """Make maps with a program of tools/."""
        self.tool(tool, str(self.config), '--data-root', str(self.data_root), *arguments)

    def train(self, network: str, seed: int) -> None:
        """Train a network, or continue an interrupted run."""
        self.run_network('train', network, seed, self.folder_of(network, seed), '--resume')

    def label_by_teacher(self, seed: int) -> None:
        """Make the labels for the student."""
        options = ['--options', setting('checkpoint', self.checkpoint_of('teacher', seed))]
        folders = ['--data-root', str(self.data_root), '--out', f'{TEACHER_LABELS}_seed{seed}']
        self.tool('make_teacher_labels', str(self.config_of('teacher')), *folders, *options)

    def evaluate(self, network: str, seed: int) -> None:
        """Score a network on held-out images."""
        folder = self.evaluation_of(network, seed)
        self.run_network('test', network, seed, folder, self.checkpoint_of(network, seed))
        self.keep_score(network, str(seed), folder / MATCHING)

    def run_network(self, tool: str, network: str, seed: int, folder: Path, *arguments: str) -> None:
        """Run train.py or test.py on a network's config."""
        options = [f'randomness.seed={seed}']
        if network == 'student':
            options.append(f'train_dataloader.dataset.maps.labels={TEACHER_LABELS}_seed{seed}')
        elif network == 'student_ema':
            options.append(setting('model.teacher', self.checkpoint_of('teacher', seed)))
        folders = ['--data-root', str(self.data_root), '--work-dir', str(folder)]
        self.tool(tool, str(self.config_of(network)), *arguments, *folders, '--cfg-options', *options)

    def folder_of(self, network: str, seed: int) -> Path:
        """Work directory of a trained network."""
        return self.work_dir / f'{network}_seed{seed}'

    def checkpoint_of(self, network: str, seed: int) -> str:
        """Last checkpoint of a trained network."""
        return last_checkpoint(self.folder_of(network, seed))

    def evaluation_of(self, name: str, seed: int | str) -> Path:
        """Work directory of an evaluation."""
        return self.work_dir / f'evaluation_{name}_seed{seed}'

    def keep_score(self, name: str, seed: str, matching: Path) -> None:
        """Put the score of an evaluation into the results."""
        content = json.loads(matching.read_text())
        score = {key: content[key] for key in ('miou', 'acc')}
        self.results['scores'].setdefault(TITLES[name], {})[seed] = score

    def held_out_images(self) -> BaseDataset:
        """Held-out images with their classes."""
        with DefaultScope.overwrite_default_scope('mmseg'):
            return DATASETS.build(self.held_out.dataset)

    def held_out_labels(self) -> MapFolder:
        """Pseudo-labels of the held-out images."""
        return MapFolder(PSEUDO_LABELS + HELD_OUT, self.data_root, 'labels')

    def evaluate_labels(self) -> None:
        """Score pseudo-labels and clusters of pixels on held-out images, in one pass over them."""
        images, maps = self.held_out_images(), self.held_out_labels()
        fitted = images_of(training_set(self.read(self.config))[0])
        pixels = {str(seed): PixelClusters(maps.num_classes, seed=seed).fit(fitted) for seed in self.seeds}
        metrics = {seed: self.metric(images, 'pixels', seed, maps.num_classes) for seed in pixels}
        metric = self.metric(images, 'labels', 'all', maps.num_classes)
        for index in progress(range(len(images)), len(images), 'evaluated'):
            sample = images[index]['data_samples']
            image = ImageSource(sample.img_path).read()
            score(metric, sample, clusters_of(maps, sample.img_path, image))
            for seed, clusters in pixels.items():
                score(metrics[seed], sample, clusters(image))
        metric.evaluate(len(images))
        self.keep_score('labels', 'all', Path(metric.matching_file))
        for seed, item in metrics.items():
            item.evaluate(len(images))
            self.keep_score('pixels', seed, Path(item.matching_file))

    def metric(self, images: BaseDataset, name: str, seed: str, count: int) -> MatchedMeanIoU:
        """A metric that writes its matching as in tools/test.py."""
        path = self.evaluation_of(name, seed) / MATCHING
        metric = MatchedMeanIoU(num_clusters=count, matching_file=str(path))
        metric.dataset_meta = images.metainfo
        return metric

    def report(self) -> None:
        """Write `report.html`."""
        predict = partial(clusters_of, self.held_out_labels())
        columns = [Column(TITLES['labels'], predict, self.evaluation_of('labels', 'all') / MATCHING)]
        columns += [self.column(network, self.seeds[0]) for network in self.networks]
        rows = score_rows(self.results['scores'], self.seeds)
        write_report(self.work_dir / 'report.html', rows, self.held_out_images(), columns)

    def column(self, network: str, seed: int) -> Column:
        """The report's column with the predictions of a network."""
        segmentor = ImageSegmentor(self.read(self.config_of(network)), self.checkpoint_of(network, seed))
        matching = self.evaluation_of(network, seed) / MATCHING
        return Column(TITLES[network], lambda path, image: segmentor(image), matching)


def clusters_of(maps: MapFolder, path: str, image: np.ndarray) -> np.ndarray:
    """Pseudo-labels of an image, int32 (H, W), -1 for none.

    Args:
        maps: Folder of the pseudo-labels.
        path: File of the image.
        image: Uint8 (H, W, 3), its pixels.
    """
    return maps.ids(maps.read(path, image.shape[:2]))


def score(metric: MatchedMeanIoU, sample: BaseDataElement, clusters: np.ndarray) -> None:
    """Add an image to a metric.

    Args:
        metric: The metric.
        sample: The image, with its true classes.
        clusters: Int (H, W).
    """
    predicted = dict(pred_sem_seg=dict(data=clusters), img_path=sample.img_path)
    metric.process({}, [dict(gt_sem_seg=dict(data=sample.gt_sem_seg.data), **predicted)])


def score_rows(scores: dict, seeds: list[int]) -> list[list[str]]:
    """Table in percent: mean over the seeds, then each seed; what is made only once has a single number.

    Args:
        scores: `miou` and `acc` by name and seed.
        seeds: The seeds.
    """
    rows = [['held-out images, percent', 'mIoU', 'accuracy', *(f'mIoU, seed {seed}' for seed in seeds)]]
    for name in TITLES.values():
        if found := scores.get(name):
            mean = [f'{100 * np.mean([score[key] for score in found.values()]):.1f}' for key in ('miou', 'acc')]
            single = [f'{100 * found[str(s)]["miou"]:.1f}' if str(s) in found else '' for s in seeds]
            rows.append([name, *mean, *single])
    return rows

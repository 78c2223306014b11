"""The program behind `tools/drive_and_segment.py`: the stages of Drive&Segment one after the other, their scores."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from terminaltables import AsciiTable

from peridot.cli import load_config
from peridot.drive_and_segment.evaluation.scores_report import Column, write_report
from peridot.drive_and_segment.proposals.make_proposals import FOLDER as PROPOSALS
from peridot.drive_and_segment.pseudo_labels.pixel_kmeans import PixelClusters
from peridot.drive_and_segment.segmentor.segment_images import ImageSegmentor
from peridot.errors import ConfigError
from peridot.evaluation import MatchedMeanIoU
from peridot.labels.parallel import progress
from peridot.labels.training_maps import training_set
from peridot.maps.folder import MapFolder
from peridot.maps.images import ImageSource, images_of
from peridot.registry import DATASETS
from peridot.work_dirs import Stages, last_checkpoint

PSEUDO_LABELS = 'weak_labels/segment-kmeans'
TEACHER_LABELS = 'weak_labels/segment-teacher'
SUPERPIXELS = ('--generator', 'felzenszwalb', '--options', 'scale=100', 'sigma=0.5', 'min_size=50', 'num_ids=1024')
HELD_OUT = '_val'
NO_CLUSTER = 255
NETWORKS = ('teacher', 'student', 'student_ema')
# rows of the table
PIXELS, PSEUDO = 'k-means of pixels', 'pseudo-labels'
NAMES = {'teacher': 'teacher', 'student': 'student', 'student_ema': 'student of the extension'}
MATCHING = 'matching.json'


class DriveAndSegment(Stages):
    """All stages for one dataset. Proposals, clusters and superpixels are made once, the networks for each seed.

    Held-out images are those of the teacher's `val_dataloader`; without one nothing is scored.

    Args:
        config: Config of proposals and classes. Those of the networks lie beside it as `teacher_NAME.py`,
            `student_NAME.py` and, where the extension is wanted, `student_ema_NAME.py`.
        data_root: Folder of the dataset.
        work_dir: Folder for networks and results.
        seeds: Seeds of the networks and of the k-means of pixels.

    Raises:
        ConfigError: A config is missing.
        PeridotError: The folder holds results of other settings.
    """

    def __init__(self, config: Path, data_root: Path, work_dir: Path, seeds: list[int]) -> None:
        super().__init__(work_dir, dict(config=str(config), data_root=str(data_root), seeds=seeds))
        self.config, self.data_root, self.seeds = config, data_root, seeds
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
        """A config with the data root in place."""
        return load_config(argparse.Namespace(config=path, data_root=str(self.data_root), cfg_options=None))

    def run(self) -> None:
        """Do what is not done."""
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
        """Proposals, clusters and superpixels of the training images; the first two of held-out images too."""
        self.stage('proposals', self.make, 'make_proposals')
        self.stage('pseudo-labels', self.make, 'make_pseudo_classes')
        self.stage('superpixels', self.make, 'make_superpixels', *SUPERPIXELS)
        if not self.held_out:
            return
        proposals, instead = PROPOSALS + HELD_OUT, f'train_dataloader.dataset.ann_file={self.held_out.dataset.ann_file}'
        images = ['--cfg-options', instead]
        self.stage('proposals of held-out images', self.make, 'make_proposals', '--out', proposals, *images)
        options = [
            '--out',
            PSEUDO_LABELS + HELD_OUT,
            '--options',
            f'proposals={proposals}',
            f'clusters={PSEUDO_LABELS}',
        ]
        self.stage('pseudo-labels of held-out images', self.make, 'make_pseudo_classes', *options, *images)

    def make(self, tool: str, *arguments: str) -> None:
        """Make maps."""
        self.tool(tool, str(self.config), '--data-root', str(self.data_root), *arguments)

    def train(self, network: str, seed: int) -> None:
        """Train a network; continues an interrupted training."""
        self.run_network('train', network, seed, self.folder_of(network, seed), '--resume')

    def label_by_teacher(self, seed: int) -> None:
        """Labels for the student."""
        options = ['--options', f'checkpoint={self.checkpoint_of("teacher", seed)}']
        places = ['--data-root', str(self.data_root), '--out', f'{TEACHER_LABELS}_seed{seed}']
        self.tool('make_teacher_labels', str(self.config_of('teacher')), *places, *options)

    def evaluate(self, network: str, seed: int) -> None:
        """Score a network on held-out images."""
        folder = self.evaluation_of(network, seed)
        self.run_network('test', network, seed, folder, self.checkpoint_of(network, seed))
        self.keep_score(NAMES[network], str(seed), folder / MATCHING)

    def run_network(self, tool: str, network: str, seed: int, folder: Path, *arguments: str) -> None:
        """Run train.py or test.py on a network's config."""
        options = [f'randomness.seed={seed}']
        if network == 'student':
            options.append(f'train_dataloader.dataset.pipeline.1.folder={TEACHER_LABELS}_seed{seed}')
        elif network == 'student_ema':
            options.append(f'model.teacher={self.checkpoint_of("teacher", seed)}')
        places = ['--data-root', str(self.data_root), '--work-dir', str(folder)]
        self.tool(tool, str(self.config_of(network)), *arguments, *places, '--cfg-options', *options)

    def folder_of(self, network: str, seed: int) -> Path:
        """Work directory of a training."""
        return self.work_dir / f'{network}_seed{seed}'

    def checkpoint_of(self, network: str, seed: int) -> str:
        """Last checkpoint of a training."""
        return last_checkpoint(self.folder_of(network, seed))

    def evaluation_of(self, name: str, seed: int | str) -> Path:
        """Work directory of an evaluation."""
        return self.work_dir / f'evaluation_{name}_seed{seed}'

    def keep_score(self, name: str, seed: str, matching: Path) -> None:
        """Put the score of an evaluation into the results."""
        content = json.loads(matching.read_text())
        self.results['scores'].setdefault(name, {})[seed] = {key: content[key] for key in ('miou', 'acc')}

    def held_out_images(self) -> BaseDataset:
        """Held-out images with their classes."""
        with DefaultScope.overwrite_default_scope('mmseg'):
            return DATASETS.build(self.held_out.dataset)

    def evaluate_labels(self) -> None:
        """Score pseudo-labels and clusters of pixels on held-out images, in one pass over them."""
        images, maps = self.held_out_images(), MapFolder(PSEUDO_LABELS + HELD_OUT, self.data_root, 'labels')
        fitted = images_of(training_set(self.read(self.config))[0])
        pixels = {str(seed): PixelClusters(maps.num_classes, seed=seed).fit(fitted) for seed in self.seeds}
        metrics = {seed: self.metric(images, 'pixels', seed, maps.num_classes) for seed in pixels}
        metric = self.metric(images, 'labels', 'all', maps.num_classes, no_cluster=NO_CLUSTER)
        for index in progress(range(len(images)), len(images), 'evaluated'):
            info, truth = images.get_data_info(index), images[index]['data_samples'].gt_sem_seg.data.numpy()
            score(metric, info, truth, maps.read(info['img_path'], truth.shape[-2:], info['img_token']))
            image = ImageSource(info['img_path']).read()
            for seed, clusters in pixels.items():
                score(metrics[seed], info, truth, clusters(image))
        metric.evaluate(len(images))
        self.keep_score(PSEUDO, 'all', Path(metric.matching_file))
        for seed, item in metrics.items():
            item.evaluate(len(images))
            self.keep_score(PIXELS, seed, Path(item.matching_file))

    def metric(self, images: BaseDataset, name: str, seed: str, count: int, **settings) -> MatchedMeanIoU:
        """A metric that keeps its matching as tools/test.py does."""
        path = self.evaluation_of(name, seed) / MATCHING
        metric = MatchedMeanIoU(num_clusters=count, matching_file=str(path), **settings)
        metric.dataset_meta = images.metainfo
        return metric

    def report(self) -> None:
        """Write `report.html`."""
        maps, seed = MapFolder(PSEUDO_LABELS + HELD_OUT, self.data_root, 'labels'), self.seeds[0]
        columns = [
            Column(
                PSEUDO,
                lambda info, image: maps.read(info['img_path'], image.shape[:2], info['img_token']),
                self.evaluation_of('labels', 'all') / MATCHING,
            )
        ]
        for network in self.networks:
            segmentor = ImageSegmentor(self.read(self.config_of(network)), self.checkpoint_of(network, seed))
            predict = lambda info, image, segmentor=segmentor: segmentor(image)  # noqa: E731
            columns.append(Column(NAMES[network], predict, self.evaluation_of(network, seed) / MATCHING))
        rows = score_rows(self.results['scores'], self.seeds)
        write_report(self.work_dir / 'report.html', rows, self.held_out_images(), columns)


def score(metric: MatchedMeanIoU, info: dict, truth: np.ndarray, clusters: np.ndarray) -> None:
    """Add an image to a metric.

    Args:
        metric: The metric.
        info: Names the image.
        truth: int (1, H, W) classes.
        clusters: int (H, W).
    """
    sample = dict(gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=clusters), img_path=info['img_path'])
    metric.process({}, [sample])


def score_rows(scores: dict, seeds: list[int]) -> list[list[str]]:
    """Table in percent: mean over the seeds, then each; what is made once has one number.

    Args:
        scores: By name and seed, `miou` and `acc`.
        seeds: The seeds.
    """
    rows = [['held-out images, percent', 'mIoU', 'accuracy', *(f'mIoU, seed {seed}' for seed in seeds)]]
    for name in (PIXELS, PSEUDO, *NAMES.values()):
        if found := scores.get(name):
            mean = [f'{100 * np.mean([part[key] for part in found.values()]):.1f}' for key in ('miou', 'acc')]
            single = [f'{100 * found[str(s)]["miou"]:.1f}' if str(s) in found else '' for s in seeds]
            rows.append([name, *mean, *single])
    return rows


def drive_and_segment_command() -> None:
    """Parse the command line and run all stages.

    Raises:
        PeridotError: Anything the user can mend.
    """
    parser = argparse.ArgumentParser(
        description='All stages of Drive&Segment: proposals, clusters, superpixels, teacher, its labels, students, '
        'their scores on held-out images. Finished stages are kept: an interrupted run continues with the same command.'
    )
    parser.add_argument('config', type=Path, help='configs/drive_and_segment/NAME.py')
    parser.add_argument('--data-root', type=Path, required=True, help='folder of the dataset')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/drive_and_segment_NAME')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='seeds of the networks (default: 0)')
    args = parser.parse_args()
    work_dir = args.work_dir or Path('work_dirs') / f'drive_and_segment_{args.config.stem}'
    DriveAndSegment(args.config.absolute(), args.data_root.absolute(), work_dir.absolute(), args.seeds).run()

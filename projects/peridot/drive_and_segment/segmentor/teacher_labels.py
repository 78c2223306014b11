"""Hard targets of Drive&Segment's student: a teacher's classes, one per region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from peridot.checkpoints import read_checkpoint, state_of
from peridot.drive_and_segment import PROPOSALS
from peridot.drive_and_segment.segmentor.region_joining import (
    AttachmentRule,
    join_regions,
    region_means,
    require_partition,
)
from peridot.errors import CheckpointError, ConfigError
from peridot.labels.job import MapJob
from peridot.labels.networks import NetworkGenerator, device, fingerprint
from peridot.maps.folder import UNLABELED, MapFolder
from peridot.maps.images import ImageSource
from peridot.optional import import_package
from peridot.registry import LABEL_GENERATORS
from peridot.weights import misfits


class Segmentor(NamedTuple):
    """A network of mmsegmentation and the pipeline that makes its inputs from `img_path`."""

    network: nn.Module
    pipeline: Compose


@LABEL_GENERATORS.register_module('segment-teacher')
class SegmentTeacherGenerator(NetworkGenerator):
    """Classes that a trained teacher predicts for full images; each region gets the class of its mean probabilities.

    Regions are segments of the lidar with the superpixels that belong to them, pieces of the ground, and the other
    superpixels (`join_regions`). Classes are those of the pseudo-labels, the ground first.

    Args:
        model: Config of the teacher.
        pipeline: Pipeline of the teacher's input, `image_pipeline` of its config.
        checkpoint: File with its weights.
        proposals: Folder of tools/make_proposals.py, relative to the data root.
        superpixels: Folder of superpixels, relative to the data root.
        min_confidence: Regions whose class has a smaller mean probability get 255.
        pseudo_labels: Folder of the labels that the teacher learned, relative to the data root: where they exist they
            are kept, and the teacher labels the other pixels. None takes the teacher's classes everywhere.
        **rule: Settings of `AttachmentRule`.

    Raises:
        ConfigError: No checkpoint is given, or a setting makes no sense.
    """

    kind = 'labels'
    ignore = UNLABELED

    def __init__(
        self,
        model: Mapping,
        pipeline: Sequence[Mapping],
        checkpoint: str | None = None,
        proposals: str = PROPOSALS,
        superpixels: str = 'superpixels/felzenszwalb',
        min_confidence: float = 0.0,
        pseudo_labels: str | None = None,
        **rule: float,
    ) -> None:
        if checkpoint is None:
            raise ConfigError(
                'segment-teacher: no checkpoint: add --options checkpoint=work_dirs/teacher_NAME/epoch_N.pth, made by '
                'tools/train.py with the same config'
            )
        if not 0 <= min_confidence < 1:
            raise ConfigError(f'teacher_labels.min_confidence={min_confidence} must be at least 0 and below 1')
        self.model = model
        self.pipeline = pipeline
        self.checkpoint = checkpoint
        self.proposals = proposals
        self.superpixels = superpixels
        self.min_confidence = float(min_confidence)
        self.rule = AttachmentRule(**rule)
        self.pseudo_labels = pseudo_labels
        # proposals, superpixels and, if they are kept, pseudo-labels
        self._maps: tuple[MapFolder, ...] = ()

    @classmethod
    def settings_from_config(cls, config: Mapping) -> dict:
        """`model`, `image_pipeline` and `teacher_labels` of the config."""
        for key in ('teacher_labels', 'image_pipeline', 'model'):
            if key not in config:
                raise ConfigError(f'the config has no `{key}`: give configs/drive_and_segment/teacher_NAME.py')
        return dict(model=config['model'], pipeline=config['image_pipeline'], **config['teacher_labels'])

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return {
            'checkpoint': fingerprint(Path(self.checkpoint)),
            'pipeline': [dict(step) for step in self.pipeline],
            'test_cfg': dict(self.model['test_cfg']),
            'regions': vars(self.rule),
            'min_confidence': self.min_confidence,
            'made_from': [maps.manifest.hash for maps in self._maps],
        }

    def open(self, job: MapJob) -> None:
        """Open proposals and superpixels, load the teacher.

        Raises:
            DataError: Maps are absent, or the superpixels leave pixels out.
            CheckpointError: The checkpoint is absent, damaged or of another network.
            ConfigError: mmsegmentation is not installed.
        """
        folders = {self.proposals: 'superpixels', self.superpixels: 'superpixels'}
        if self.pseudo_labels:
            folders[self.pseudo_labels] = 'labels'
        self._maps = tuple(MapFolder(folder, job.data_root, kind) for folder, kind in folders.items())
        require_partition(self._maps[1])
        for maps in self._maps:
            maps.check_exist([(source.path, source.token) for source in job.images])
        super().open(job)
        count = self.network.network.out_channels
        self.classes = ['ground', *(f'cluster_{number:02d}' for number in range(1, count))]

    def load(self) -> Segmentor:
        """Build the teacher and load its weights."""
        import_package('mmseg.models', 'segment-teacher')
        import peridot.drive_and_segment.segmentor.segmentor  # noqa: F401  (registers the network)

        with DefaultScope.overwrite_default_scope('mmseg'):
            network = MODELS.build(dict(self.model))
            pipeline = Compose([dict(step) for step in self.pipeline])
        load_segmentor(network, self.checkpoint)
        return Segmentor(network.to(device()).eval(), pipeline)

    def generate(self, source: ImageSource) -> np.ndarray:
        """Classes uint8 (H, W); 255 where the teacher is not certain."""
        size = source.size()
        proposals, superpixels, *kept = (maps.read(source.path, size, source.token) for maps in self._maps)
        regions = join_regions(proposals, superpixels, self.rule)
        logits = self._logits(source)
        regions = torch.from_numpy(regions).to(logits.device)
        classes = region_classes(logits.softmax(0), regions, self.min_confidence)
        for labels in kept:
            classes = np.where(labels == UNLABELED, classes, labels)
        return classes

    @torch.no_grad()
    def _logits(self, source: ImageSource) -> Tensor:
        """Logits float32 (K, H, W) at the size of the file."""
        network, pipeline = self.network
        packed = pipeline({'img_path': source.path, 'seg_fields': []})
        batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        return network.test_step(batch)[0].seg_logits.data.float()


def load_segmentor(network: nn.Module, checkpoint: str) -> None:
    """Load a segmentor's weights; from a `DistillSegmentor`'s checkpoint a plain network takes the student's.

    Args:
        network: Segmentor of mmsegmentation.
        checkpoint: Checkpoint of a training run.

    Raises:
        CheckpointError: The file is absent, damaged or of another network.
    """
    names = network.state_dict()
    state = state_of(read_checkpoint(checkpoint), names)
    state = {name: tensor for name, tensor in state.items() if name in names or not name.startswith('teacher.')}
    if wrong := misfits(network, state):
        raise CheckpointError(
            f'checkpoint {checkpoint} is of another network ({len(wrong)} tensors differ, first {wrong[0]!r}): give '
            'the config that it was trained with'
        )
    network.load_state_dict(state)


def region_classes(probabilities: Tensor, regions: Tensor, min_confidence: float = 0.0) -> np.ndarray:
    """Class of each pixel by the mean probabilities of its region.

    Args:
        probabilities: Float (K, H, W).
        regions: Int (H, W), from 0.
        min_confidence: Regions with a smaller largest mean get 255.

    Returns:
        Uint8 (H, W).
    """
    means, _, group = region_means(probabilities[None], regions[None].long())
    confidence, classes = means.max(1)
    classes[confidence < min_confidence] = UNLABELED
    return classes[group].view(regions.shape).to(torch.uint8).cpu().numpy()

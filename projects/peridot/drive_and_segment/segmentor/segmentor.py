"""Segmentor of Drive&Segment: additions to mmsegmentation's Segmenter. Needs mmsegmentation, which is optional."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from mmengine.model import ExponentialMovingAverage
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.models.backbones import VisionTransformer
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from peridot.checkpoints import read_checkpoint, state_of
from peridot.datasets.camera_images import IGNORED
from peridot.drive_and_segment.segmentor.region_joining import region_means
from peridot.errors import CheckpointError, ConfigError
from peridot.models.functional import mean_over_processes, reduce_sum
from peridot.models.teachers import TimmTeacher
from peridot.registry import MODELS, TRANSFORMS
from peridot.weights.segmenter import load_dino

STARTS = ('teacher', 'own')


@TRANSFORMS.register_module()
class PackDistillInputs(PackSegInputs):
    """mmsegmentation's `PackSegInputs` that also packs the regions and the teacher's view.

    Args:
        meta_keys: See `PackSegInputs`.
    """

    def transform(self, results: dict) -> dict:
        """Add `gt_region_map`, int64 (1, H, W), and `teacher_view`, uint8 (3, H, W), to the data sample."""
        packed = super().transform(results)
        sample = packed['data_samples']
        view = torch.from_numpy(results['teacher_view'].transpose(2, 0, 1).copy())
        sample.gt_region_map = PixelData(data=torch.from_numpy(results['gt_region_map'].astype('int64'))[None])
        sample.teacher_view = PixelData(data=view)
        return packed


@MODELS.register_module()
class LabeledPixelLoss(nn.Module):
    """Weighted cross-entropy averaged over the labeled pixels of the full batch, of all processes, in float32.

    L = - sum_{p labeled} w[y_p] log P(p)[y_p] / sum_{p labeled} w[y_p] with w[c] = n_c^-balance, where the full batch
    has n_c pixels of class c. A batch without labels gives 0 with a gradient of 0.

    Args:
        balance: 0 weighs all pixels alike, 1 all classes; in between, small classes count more than their pixels.

    Raises:
        ConfigError: It lies outside 0 to 1.
    """

    # name in the logs; mmsegmentation adds up what begins with 'loss'
    loss_name = 'loss_ce'

    def __init__(self, balance: float = 0.0) -> None:
        super().__init__()
        if not 0 <= balance <= 1:
            raise ConfigError(f'LabeledPixelLoss: balance={balance} must lie between 0 and 1')
        self.balance = balance

    def forward(self, logits: Tensor, labels: Tensor, weight: None = None, ignore_index: int = IGNORED) -> Tensor:
        """Compute the loss.

        Args:
            logits: Float (N, K, H, W).
            labels: Int64 (N, H, W), `ignore_index` where there is none.
            weight: Unused; mmsegmentation passes the weights of its pixel samplers.
            ignore_index: Value of pixels without label.
        """
        labeled = labels[labels != ignore_index]
        pixels = reduce_sum(torch.bincount(labeled, minlength=logits.shape[1]))
        weights = pixels.clamp(min=1).float().pow(-self.balance)
        total = F.cross_entropy(logits.float(), labels, weights, ignore_index=ignore_index, reduction='sum')
        return total / mean_over_processes(weights[labeled].sum())


def distillation_loss(logits: Tensor, probabilities: Tensor, regions: Tensor) -> Tensor:
    """Cross-entropy of each pixel with the mean probabilities of its region, averaged over the pixels of all processes.

    L = - sum_p sum_c pbar_{r(p)}[c] log P(p)[c] / #p, float32. With one-hot probabilities that agree within regions it
    is `LabeledPixelLoss`. pbar is never expanded to pixels: log P is summed over regions instead.

    Args:
        logits: Float (N, K, H, W), those of the student.
        probabilities: Float (N, K, H, W), those of the teacher.
        regions: Int64 (N, H, W), regions of each image; pixels with negative ones are left out.
    """
    targets, pixels, _ = region_means(probabilities.detach().float(), regions)
    logs, _, _ = region_means(F.log_softmax(logits.float(), 1), regions)
    return -(targets * logs * pixels[:, None]).sum() / mean_over_processes(pixels.sum())


@MODELS.register_module()
class SegmenterViT(VisionTransformer):
    """mmsegmentation's `VisionTransformer` that starts from DINO's weights.

    Args:
        weights: File as DINO released it (`dino_deitsmall16_pretrain.pth`), None for random weights.
        **kwargs: Those of `VisionTransformer`.

    Raises:
        CheckpointError: By `init_weights`: the file is absent, damaged or of another network.
    """

    def __init__(self, weights: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.weights = weights

    def init_weights(self) -> None:
        """Initialize at random, then load the file."""
        super().init_weights()
        if self.weights is not None:
            load_dino(self, self.weights)


@MODELS.register_module()
class TimmBackbone(nn.Module):
    """A network of `TimmTeacher`, but trainable, for heads of mmsegmentation.

    Args:
        **teacher: Arguments of `TimmTeacher`.
    """

    def __init__(self, **teacher) -> None:
        super().__init__()
        frozen = TimmTeacher(**teacher)
        self.network, self.out_index = frozen.network.requires_grad_(), frozen.out_index

    def forward(self, images: Tensor) -> list[Tensor]:
        """One feature map (N, C, h, w) of normalized images (N, 3, H, W)."""
        return self.network.forward_intermediates(
            images, indices=[self.out_index], stop_early=True, intermediates_only=True
        )


@MODELS.register_module()
class DistillSegmentor(EncoderDecoder):
    """Student of Drive&Segment's extension: soft targets of a teacher that follows the student.

    The teacher is the same network. It sees each crop without distorted colors; its probabilities, averaged over the
    regions of segments and superpixels, are what the student should predict, beside the pseudo-labels:
    L = L_soft + partial_weight L_labels. After each step of the optimizer (`peridot.EMATeacherHook`) its weights t
    follow those of the student s: t <- m t + (1 - m) s. `predict` is the student's; in checkpoints the student has the
    names of a plain `EncoderDecoder`, the teacher is below `teacher.`.

    Args:
        teacher: Checkpoint of a trained network like this one, with which the teacher starts.
        start: 'teacher': the student starts with these weights too; 'own': with those of its config.
        momentum: m.
        partial_weight: Weight of the pseudo-labels, which keep both networks from drifting.
        **kwargs: Those of `EncoderDecoder`.

    Raises:
        ConfigError: A setting makes no sense; by `init_weights`: `teacher` is not set.
        CheckpointError: By `init_weights`: the file is absent, damaged or of another network.
    """

    def __init__(
        self,
        teacher: str | None = None,
        start: str = 'teacher',
        momentum: float = 0.999,
        partial_weight: float = 1.0,
        **kwargs,
    ) -> None:
        if start not in STARTS:
            raise ConfigError(f'model.start={start!r} must be one of {", ".join(STARTS)}')
        if not 0.5 <= momentum < 1 or partial_weight < 0:
            raise ConfigError(
                f'model.momentum={momentum} must lie between 0.5 and 1, model.partial_weight={partial_weight} not '
                'below 0'
            )
        super().__init__(**deepcopy(kwargs))
        self.teacher_file = teacher
        self.start = start
        self.partial_weight = partial_weight
        self.teacher = ExponentialMovingAverage(EncoderDecoder(**kwargs), momentum=1 - momentum)
        # at step 0 mmengine would copy the student
        self.teacher.steps.fill_(1)
        self.train(self.training)

    def init_weights(self) -> None:
        """Initialize as configured, and load the teacher from its file."""
        super().init_weights()
        state = self._teacher_state()
        self.teacher.module.load_state_dict(state)
        if self.start == 'teacher':
            self.load_state_dict(state, strict=False)

    def train(self, mode: bool = True) -> DistillSegmentor:
        """Set the mode, but keep the teacher in evaluation mode: no dropout, no stochastic depth."""
        super().train(mode)
        self.teacher.eval()
        return self

    def update_teacher(self) -> None:
        """Move the teacher's weights toward the student's."""
        self.teacher.update_parameters(self)

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs: Float (N, 3, H, W), normalized images.
            data_samples: As `PackDistillInputs` packs them.
        """
        size = tuple(inputs.shape[2:])
        regions = torch.stack([_padded(sample.gt_region_map.data[0], size) for sample in data_samples])
        logits = self._scores(self, inputs)
        losses = dict(loss_distill=distillation_loss(logits, self._probabilities(data_samples, size), regions))
        if self.partial_weight:
            labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
            loss = self.decode_head.loss_decode(logits, labels, ignore_index=self.decode_head.ignore_index)
            losses['loss_partial'] = self.partial_weight * loss
        return losses

    @torch.no_grad()
    def _probabilities(self, data_samples: Sequence[SegDataSample], size: tuple[int, int]) -> Tensor:
        """Probabilities (N, K, H, W) of the teacher."""
        views = [sample.teacher_view.data for sample in data_samples]
        blank = [SegDataSample() for _ in views]
        views = self.data_preprocessor(dict(inputs=views, data_samples=blank), training=True)['inputs']
        return self._scores(self.teacher.module, views).float().softmax(1)

    def _scores(self, network: EncoderDecoder, images: Tensor) -> Tensor:
        """Logits at the size of the images."""
        return resize(network._forward(images), images.shape[2:], mode='bilinear', align_corners=self.align_corners)

    def _teacher_state(self) -> dict[str, Tensor]:
        if self.teacher_file is None:
            raise ConfigError(
                'model.teacher is not set, the checkpoint of a trained teacher: add --cfg-options '
                'model.teacher=work_dirs/teacher_NAME/epoch_N.pth, made by tools/train.py with '
                'configs/drive_and_segment/teacher_NAME.py'
            )
        wanted = self.teacher.module.state_dict()
        state = state_of(read_checkpoint(self.teacher_file), wanted)
        fitting = [name for name in wanted if name in state and state[name].shape == wanted[name].shape]
        if len(fitting) < len(wanted):
            first = next(name for name in wanted if name not in fitting)
            raise CheckpointError(
                f'model.teacher={self.teacher_file}: {len(fitting)} of {len(wanted)} tensors fit the network (first '
                f'other {first!r}): give a checkpoint of a teacher of the same config'
            )
        return {name: state[name] for name in wanted}


def _padded(regions: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad regions to (H, W) with -1, as the image was padded."""
    height, width = (padded - side for padded, side in zip(size, regions.shape))
    return F.pad(regions, (0, width, 0, height), value=-1)

"""Head of a segmentor: cross-entropy and Lovasz, predictions for every point."""

import torch
from mmdet3d.models.decode_heads import MinkUNetHead
from torch import Tensor, nn

from peridot.registry import MODELS


@MODELS.register_module()
class PointSegHead(MinkUNetHead):
    """mmdet3d's `MinkUNetHead` with the loss of SLidR's and OLIVINE's fine-tuning, CE + Lovasz-softmax, weights 1 : 1.

    Both are means over the labeled voxels of the batch; the Lovasz extension averages over the classes
    present. Berman et al., "The Lovasz-Softmax loss", CVPR 2018.

    Args:
        channels: Channels C of the features.
        num_classes: Number of classes K.
        loss_lovasz: Config of the Lovasz loss, called with logits (M, K) and labels (M,).
        batch_norm: Batch normalization before a linear layer that starts at zero, as ScaLR's head has it.
        **kwargs: Those of `MinkUNetHead`.
    """

    def __init__(
        self, channels: int, num_classes: int, loss_lovasz: dict | None = None, batch_norm: bool = False, **kwargs
    ) -> None:
        super().__init__(channels, num_classes, **kwargs)
        self.norm = nn.BatchNorm1d(channels) if batch_norm else nn.Identity()
        self.loss_lovasz = MODELS.build(loss_lovasz or dict(type='mmdet3d.LovaszLoss', reduction='none'))

    def init_weights(self) -> None:
        """Initial weights of the last layer: zero after batch normalization, else those of mmdet3d."""
        super().init_weights()
        if isinstance(self.norm, nn.BatchNorm1d):
            nn.init.zeros_(self.conv_seg.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (M, K) of features (M, C)."""
        return self.cls_seg(self.norm(x))

    def loss_by_feat(self, seg_logit: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Losses of the voxel logits (M, K), in float32; zero for a batch without a label."""
        logits, labels = seg_logit.float(), self._stack_batch_gt(batch_data_samples)
        if not (labels != self.ignore_index).any():
            zero = 0 * logits.sum()
            return dict(loss_ce=zero, loss_lovasz=zero)
        return dict(
            loss_ce=self.loss_decode(logits, labels, ignore_index=self.ignore_index),
            loss_lovasz=self.loss_lovasz(logits, labels, ignore_index=self.ignore_index),
        )

    def predict(self, inputs: Tensor, batch_data_samples: list) -> list[Tensor]:
        """Logits (N_i, K) of every original point, read from voxel features (M, C) by one gather."""
        logits = self.forward(inputs)
        starts = torch.tensor([0] + [len(sample.batch_idx) for sample in batch_data_samples[:-1]]).cumsum(0).tolist()
        maps = [sample.point2voxel_map + start for sample, start in zip(batch_data_samples, starts)]
        return list(logits[torch.cat(maps)].split([len(m) for m in maps]))

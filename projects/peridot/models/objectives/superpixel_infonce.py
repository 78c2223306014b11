"""Superpixel-driven InfoNCE."""

import torch
from torch import Tensor

from peridot.errors import ConfigError
from peridot.models.batch import EncodedBatch
from peridot.models.functional import group_mean, superpixel_mean
from peridot.models.objectives.contrast import Contrast
from peridot.registry import MODELS


@MODELS.register_module()
class SuperpixelInfoNCE(Contrast):
    """The mean embedding of a superpixel's points should find the mean embedding of its pixels: SLidR's loss.

    For superpixel s with points P_s (one for each pair) and pixels Q_s, with unit embeddings k and q,

        k_s = mean_{P_s} k,   q_s = mean_{Q_s} q,   L = -1/|S| sum_s log( exp(k_s.q_s / t) / sum_s' exp(k_s.q_s' / t) )

    over the superpixels S of all images of a process that hold at least one pair. All pixels of the superpixel
    count, not only those with a point. The means are not normalized again: a superpixel that mixes things has
    a short mean and so a soft target. A pair counts if its image was taken with its scan: the points of a dense cloud
    (`frames` of `PairedDataset`) are those of another scan.

    Sautier et al., "Image-to-Lidar Self-Supervised Distillation for Autonomous Driving Data", CVPR 2022.

    With `ids='sample'` and `within='frame'` it is the spatial term of SuperFlow, which calls the former view
    consistency: Xu et al., "4D Contrastive Superflows are Dense 3D Representation Learners", ECCV 2024, as released.

    Args:
        head: Projection head.
        superpixels: Name of the maps, in the dataset's `maps` and the pipeline's `LoadViewMaps`.
        ids: 'image', an id means something in its own image; or 'sample', it means the same in all images of a frame
            (a class): its pixels and points in all of them are one superpixel.
        within: 'batch', all superpixels of the process are candidates; or 'frame', those of the same frame of all
            samples: the loss is the mean over the frames, as they are numbered in `Frames.frame`.
        **contrast: See `Contrast`.

    Raises:
        ConfigError: `ids` or `within` is another word.
    """

    def __init__(
        self,
        head: str = 'instance',
        superpixels: str = 'superpixels',
        ids: str = 'image',
        within: str = 'batch',
        **contrast,
    ) -> None:
        super().__init__(head, **contrast)
        if ids not in ('image', 'sample') or within not in ('batch', 'frame'):
            raise ConfigError(
                f"SuperpixelInfoNCE: ids={ids!r}, within={within!r}: choose 'image' or 'sample', and 'batch' or 'frame'"
            )
        self.superpixels = superpixels
        self.ids = ids
        self.within = within

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `accuracy`, the ratio of superpixels whose own image feature is the most similar;
            `superpixels`, how many hold points.
        """
        ids, num_ids = batch.view_map(self.superpixels)
        scan = batch.frames.scans_of_images(len(ids))
        # what superpixels belong to, for every image: itself or its scan
        owner = torch.arange(len(ids), device=batch.device) if self.ids == 'image' else scan
        owners = len(ids) if self.ids == 'image' else len(batch.frames.frame)
        k, counts = group_mean(*self._points(batch, scan, owner), owners * num_ids)
        filled = counts.nonzero()[:, 0]
        if self.can_skip(len(filled)):
            result = self.nothing(batch)
        else:
            q, pixels = superpixel_mean(batch.project_teacher_map(self.head), ids, num_ids, batch.align_corners)
            if self.ids == 'sample':
                q = _joint_mean(q, pixels, scan, owners)
            frame = batch.frames.frame if self.ids == 'sample' else batch.frames.frame[scan]
            group = frame[filled // num_ids] if self.within == 'frame' else None
            result = self.info_nce(k[filled], q.flatten(0, 1)[filled], group)
        return {**result, 'superpixels': batch.log(len(filled))}

    def _points(self, batch: EncodedBatch, scan: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """Student embeddings (P, D) of the pairs, and the number in the batch (P,) of their superpixel, -1 for none."""
        own, num_ids = batch.pair_ids(self.superpixels)
        camera, point = batch.pairs.camera, batch.pairs.point
        counts = (own >= 0) & (batch.scan[point] == scan[camera])
        return batch.embed_points(self.head, point), torch.where(counts, owner[camera] * num_ids + own, -1)


def _joint_mean(means: Tensor, pixels: Tensor, scan: Tensor, scans: int) -> Tensor:
    """Means (S, I, C) over the pixels of all images (V,) of a scan, from those (V, I, C) of `pixels` (V, I) each."""
    sums = means.new_zeros(scans, *means.shape[1:]).index_add(0, scan, means * pixels[..., None])
    counts = pixels.new_zeros(scans, pixels.shape[1]).index_add(0, scan, pixels)
    return sums / counts.clamp(min=1)[..., None]

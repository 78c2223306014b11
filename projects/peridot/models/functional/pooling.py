"""Means over groups of rows and over the pixels of superpixels."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def group_mean(rows: Tensor, group: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Mean of the rows of each group.

    Args:
        rows: Float (N, C).
        group: Int64 (N,) group of each row; rows of groups outside [0, num_groups) are left out.
        num_groups: G.

    Returns:
        (G, C) means, zero for groups without rows, and int64 (G,) numbers of rows.
    """
    group = torch.where((group < 0) | (group >= num_groups), num_groups, group)
    sums = rows.new_zeros(num_groups + 1, rows.shape[1]).index_add(0, group, rows)[:num_groups]
    counts = torch.bincount(group, minlength=num_groups + 1)[:num_groups]
    return sums / counts.clamp(min=1)[:, None], counts


def superpixel_mean(feature_map: Tensor, ids: Tensor, num_ids: int, align_corners: bool) -> Tensor:
    """Mean over the pixels of each superpixel of the L2-normalized, bilinearly upsampled features.

    Upsampled maps are made one image at a time, and made again for the gradient: memory is that of one image
    instead of the whole batch.

    Args:
        feature_map: Float (M, C, h, w) low-resolution maps of M images.
        ids: Int64 (M, H, W) superpixel of every pixel, below `num_ids`; negative where there is none.
        num_ids: S.
        align_corners: How the map lies over the image, see `read_at`.

    Returns:
        Float32 (M * S, C), zero for ids that do not occur; image m's superpixel s is row m * S + s.
    """
    parts = [
        checkpoint(_superpixel_mean_of, *image, num_ids, align_corners, use_reentrant=False, preserve_rng_state=False)
        for image in zip(feature_map.float(), ids)
    ]
    return torch.cat(parts) if parts else feature_map.new_zeros(0, feature_map.shape[1])


def _superpixel_mean_of(feature_map: Tensor, ids: Tensor, num_ids: int, align_corners: bool) -> Tensor:
    dense = F.interpolate(feature_map[None], ids.shape, mode='bilinear', align_corners=align_corners)[0]
    pixels = F.normalize(dense.permute(1, 2, 0).flatten(0, 1), dim=1)
    return group_mean(pixels, ids.flatten(), num_ids)[0]

"""Means over groups of rows and over the pixels of superpixels."""

import torch
from torch import Tensor

from peridot.models.functional.counting import histogram
from peridot.models.functional.reading import bilinear_neighbors

NORM_MARGIN = 1e-12  # smallest length that a feature is divided by, as in torch.nn.functional.normalize


def group_mean(rows: Tensor, group: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Mean of the rows of each group.

    Args:
        rows: Float (N, C).
        group: Int64 (N,), group of each row; rows of groups outside [0, num_groups) are left out.
        num_groups: G.

    Returns:
        Means Float (G, C), zero for groups without rows, and numbers of rows Int64 (G,).
    """
    group = torch.where((group < 0) | (group >= num_groups), num_groups, group)
    sums = rows.new_zeros(num_groups + 1, rows.shape[1]).index_add(0, group, rows)[:num_groups]
    counts = histogram(group, num_groups + 1)[:num_groups]
    return sums / counts.clamp(min=1)[:, None], counts


def superpixel_mean(
    feature_map: Tensor, ids: Tensor, num_ids: int, align_corners: bool, normalize: bool = True
) -> tuple[Tensor, Tensor]:
    """Mean over the pixels of each superpixel of the bilinearly upsampled features.

    Nothing of the size H x W x C is made. An upsampled feature is u = sum_k w_k v_k over the four low-resolution
    features v_k around the pixel, so a superpixel's mean of `u / |u|` is a weighted sum of the v, with the
    weights `w_k / |u|` summed over its pixels; and `|u|` follows from the inner products of neighboring v.

    Args:
        feature_map: Float (M, C, h, w), low-resolution maps of M images.
        ids: Int64 (M, H, W), superpixel of every pixel; pixels with ids outside [0, num_ids) belong to none.
        num_ids: S.
        align_corners: How the map lies over the image, see `read_at`.
        normalize: Take the mean of the L2-normalized features; otherwise of the features themselves.

    Returns:
        Means Float32 (M, S, C), zero for ids that do not occur, and numbers of pixels Int64 (M, S).
    """
    maps, _, height, width = feature_map.shape
    features = feature_map.float()
    rows = bilinear_neighbors(torch.arange(ids.shape[1], device=ids.device), height, ids.shape[1], align_corners)
    columns = bilinear_neighbors(torch.arange(ids.shape[2], device=ids.device), width, ids.shape[2], align_corners)
    ids = torch.where((ids < 0) | (ids >= num_ids), num_ids, ids)
    group = torch.arange(maps, device=ids.device)[:, None, None] * (num_ids + 1) + ids
    scale = _upsampled_norm(features, rows, columns).clamp(min=NORM_MARGIN).reciprocal() if normalize else None
    weights = features.new_zeros(maps * (num_ids + 1) * height * width)
    for row, down in ((rows[0], 1 - rows[2]), (rows[1], rows[2])):
        for column, across in ((columns[0], 1 - columns[2]), (columns[1], columns[2])):
            index = (group * height + row[:, None]) * width + column
            weight = (down[:, None] * across).expand(ids.shape)
            weights.index_add_(0, index.flatten(), (weight if scale is None else weight * scale).flatten())
    weights = weights.view(maps, num_ids + 1, height * width)[:, :num_ids]
    counts = histogram(group, maps * (num_ids + 1)).view(maps, num_ids + 1)[:, :num_ids]
    sums = weights @ features.flatten(2).transpose(1, 2)
    return sums / counts.clamp(min=1)[..., None], counts


def _upsampled_norm(features: Tensor, rows: tuple[Tensor, ...], columns: tuple[Tensor, ...]) -> Tensor:
    """L2 norms (M, H, W) of the bilinearly upsampled features, from inner products of low-resolution ones.

    With t the weight of the later neighbor along an axis, `|u|^2` is quadratic in t along each axis: it takes
    (1 - t)^2 and t^2 of products within a row (column), and 2 t (1 - t) of those between two.
    """
    down, between_rows = _quadratic_weights(*rows, features.shape[2])
    across, between_columns = _quadratic_weights(*columns, features.shape[3])
    top, bottom = features[:, :, :-1], features[:, :, 1:]
    own = features.square().sum(1)
    beside = (features[..., :-1] * features[..., 1:]).sum(1)
    below = (top * bottom).sum(1)
    diagonal = ((top[..., :-1] * bottom[..., 1:]).sum(1) + (top[..., 1:] * bottom[..., :-1]).sum(1)) / 2
    squared = down @ (own @ across.T + beside @ between_columns.T)
    squared = squared + between_rows @ (below @ across.T + diagonal @ between_columns.T)
    return squared.clamp(min=NORM_MARGIN**2).sqrt()


def _quadratic_weights(before: Tensor, after: Tensor, weight: Tensor, features: int) -> tuple[Tensor, Tensor]:
    """Weights along one axis of products within a feature (pixels, features) and with the next (.., features - 1)."""
    place = torch.arange(features, device=before.device)
    later = weight[:, None]
    within = (before[:, None] == place) * (1 - later).square() + (after[:, None] == place) * later.square()
    return within, (before[:, None] == place[:-1]) * (2 * later * (1 - later))

"""Reading image features at continuous pixel positions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def read_at(
    feature_map: Tensor, camera: Tensor, position: Tensor, image_size: tuple[int, int], align_corners: bool
) -> Tensor:
    """Bilinear value of low-resolution feature maps at positions of the image they cover.

    At integer positions this equals reading `F.interpolate(feature_map, image_size, mode='bilinear',
    align_corners=align_corners)`, without building the upsampled map. Positions beyond the outermost feature
    take its value, as upsampling does.

    Maps in channels-last memory are read fastest: a neighbor is then one contiguous row.

    Args:
        feature_map: Float (M, C, h, w), maps of M images.
        camera: Int64 (P,), image of each position.
        position: Float (P, 2), row and column in pixels of the image; integers are pixel centers.
        image_size: (H, W) of the image in pixels.
        align_corners: True if the outermost features lie on the centers of the image's corner pixels, False if the
            map divides the image's area evenly.

    Returns:
        (P, C) in the dtype of the map.
    """
    height, width = feature_map.shape[-2:]
    rows, columns, weights = bilinear_corners(position, (height, width), image_size, align_corners)
    weights = weights.to(feature_map.dtype)
    if feature_map.is_contiguous(memory_format=torch.channels_last):
        table = feature_map.permute(0, 2, 3, 1).reshape(-1, feature_map.shape[1])
        index = (camera[:, None] * height + rows) * width + columns
        return F.embedding_bag(index, table, mode='sum', per_sample_weights=weights)
    return sum(feature_map[camera, :, rows[:, i], columns[:, i]] * weights[:, i, None] for i in range(rows.shape[1]))


def bilinear_corners(
    position: Tensor, map_size: tuple[int, int], image_size: tuple[int, int], align_corners: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The four features around positions of an image, and their bilinear weights.

    Args:
        position: Float (P, 2), row and column in pixels of the image.
        map_size: (h, w) of the feature map.
        image_size: (H, W) of the image.
        align_corners: How the map lies over the image, see `read_at`.

    Returns:
        Int64 (P, 4) rows, int64 (P, 4) columns and float32 (P, 4) weights, which add up to one.
    """
    top, bottom, down = bilinear_neighbors(position[:, 0], map_size[0], image_size[0], align_corners)
    left, right, across = bilinear_neighbors(position[:, 1], map_size[1], image_size[1], align_corners)
    rows = torch.stack([top, top, bottom, bottom], 1)
    columns = torch.stack([left, right, left, right], 1)
    weights = torch.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], 1)
    return rows, columns, weights


def bilinear_neighbors(
    position: Tensor, features: int, pixels: int, align_corners: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Features before and after positions along one axis (int64), and the weight of the latter (float32).

    Args:
        position: Float (P,), positions in pixels.
        features: Number of features along the axis.
        pixels: Number of pixels that they cover.
        align_corners: See `read_at`.
    """
    position = position.float()
    if align_corners:
        place = position * ((features - 1) / max(pixels - 1, 1))
    else:
        place = (position + 0.5) * (features / pixels) - 0.5
    place = place.clamp(0, features - 1)
    before = place.floor()
    after = (before + 1).clamp(max=features - 1)
    return before.long(), after.long(), place - before

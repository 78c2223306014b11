"""Pictures of point features: the cloud from above and projected on images."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from peridot.structures import Pairs


def pca_colors(features: Tensor) -> np.ndarray:
    """First three principal components as colors.

    Args:
        features: float (N, C).

    Returns:
        uint8 (N, 3); each component is stretched between its 2nd and 98th percentile.
    """
    centered = F.normalize(features.float(), dim=1)
    centered = centered - centered.mean(0)
    _, vectors = torch.linalg.eigh(centered.T @ centered)
    components = (centered @ vectors[:, -3:].flip(1)).cpu().numpy()
    low, high = np.percentile(components, [2, 98], axis=0)
    return (255 * np.clip((components - low) / np.maximum(high - low, 1e-9), 0, 1)).astype(np.uint8)


def similarity_colors(features: Tensor, query: int) -> np.ndarray:
    """Cosine similarity to the point with row `query`, from dark blue (-1) to yellow (1): uint8 (N, 3)."""
    from matplotlib import colormaps

    unit = F.normalize(features.float(), dim=1)
    similarity = (unit @ unit[query]).cpu().numpy()
    return (255 * colormaps['viridis'](np.clip(similarity, 0, 1))[:, :3]).astype(np.uint8)


def draw_from_above(xyz: np.ndarray, colors: np.ndarray, extent: float = 40.0, pixels: int = 600) -> np.ndarray:
    """Cloud from above, y forward up.

    Args:
        xyz: (N, 3) in meters, lidar frame.
        colors: uint8 (N, 3).
        extent: Half the width of the picture in meters.
        pixels: Width and height of the picture.

    Returns:
        uint8 (pixels, pixels, 3); higher points cover lower ones.
    """
    canvas = np.full((pixels, pixels, 3), 18, np.uint8)
    col = np.floor((xyz[:, 0] / extent + 1) * pixels / 2).astype(int)
    row = np.floor((1 - xyz[:, 1] / extent) * pixels / 2).astype(int)
    order = np.argsort(xyz[:, 2], kind='stable')
    order = order[((col >= 1) & (col < pixels) & (row >= 1) & (row < pixels))[order]]
    for dr in (0, 1):
        for dc in (0, 1):
            canvas[row[order] - dr, col[order] - dc] = colors[order]
    return canvas


def draw_on_images(images: np.ndarray, pairs: Pairs, colors: np.ndarray, radius: int = 2) -> np.ndarray:
    """Points on the images they project to.

    Args:
        images: uint8 (V, H, W, 3).
        pairs: Pairs of one sample in the frame of `images`.
        colors: uint8 (N, 3), one per point.
        radius: Half the width of a point in pixels.

    Returns:
        uint8 (V, H, W, 3).
    """
    canvas = images // 2
    height, width = images.shape[1:3]
    position = pairs.position.round().long().cpu().numpy()
    camera, color = pairs.camera.cpu().numpy(), colors[pairs.point.cpu().numpy()]
    for dr in range(-radius + 1, radius):
        for dc in range(-radius + 1, radius):
            row = np.clip(position[:, 0] + dr, 0, height - 1)
            col = np.clip(position[:, 1] + dc, 0, width - 1)
            canvas[camera, row, col] = color
    return canvas


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """(V, H, W, 3) images in rows of `columns` (the last row padded with black)."""
    rows = -(-len(images) // columns)
    padded = np.zeros((rows * columns, *images.shape[1:]), np.uint8)
    padded[: len(images)] = images
    grid = padded.reshape(rows, columns, *images.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * images.shape[1], columns * images.shape[2], 3)


def feature_picture(
    features: Tensor, xyz: Tensor, images: Tensor, pairs: Pairs, query: int | None = None
) -> np.ndarray:
    """One picture: the cloud from above beside the cameras, colored by feature.

    Args:
        features: float (N, C) point features.
        xyz: (N, >=3) points in the lidar frame.
        images: uint8 (V, 3, H, W).
        pairs: Pairs of this sample.
        query: Row of a point: color by similarity to it instead of by principal components.

    Returns:
        uint8 (H', W', 3).
    """
    colors = pca_colors(features) if query is None else similarity_colors(features, query)
    above = draw_from_above(xyz[:, :3].cpu().numpy(), colors)
    cameras = tile(draw_on_images(images.permute(0, 2, 3, 1).cpu().numpy(), pairs, colors), 3)
    height = len(above)
    width = round(cameras.shape[1] * height / len(cameras))
    return np.hstack((above, np.asarray(Image.fromarray(cameras).resize((width, height)))))

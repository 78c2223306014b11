"""Augmentations that are the same in all frames of a sample, and the transform that an augmentation made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmdet3d.models.layers.fusion_layers.coord_transform import apply_3d_transformation
from torch import Tensor

from peridot.datasets.sampler import sample_seed, seeded_sample
from peridot.errors import ConfigError
from peridot.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SameInAllFrames(BaseTransform):
    """Transforms with the same random draws in all frames of a sample; outside it every frame draws its own.

    Without `frames` of the dataset the transforms run as they are.

    Args:
        transforms: Configs, e.g. of `GlobalRotScaleTrans` and `RandomFlip3D`.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = Compose(list(transforms))

    def transform(self, results: dict) -> dict | None:
        """Run the transforms, under a seed of the sample if it has several frames."""
        if 'frames_seed' not in results:
            return self.transforms(results)
        used = results['same_in_all_frames'] = results.get('same_in_all_frames', 0) + 1
        with seeded_sample(sample_seed(results['frames_seed'], 0, used)):
            return self.transforms(results)


def augmentation_of(results: dict) -> Tensor:
    """Transform Float64 (4, 4) from the loaded cloud to the one that mmdet3d's transforms made of it.

    Raises:
        ConfigError: A transform was used twice.
    """
    corners = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    moved = follow_augmentation(corners, results).double()
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    matrix[:3, 3] = moved[0]
    return matrix


def follow_augmentation(xyz: Tensor, results: dict) -> Tensor:
    """Places Float (M, 3) in the loaded cloud, moved as mmdet3d's transforms moved the cloud.

    Raises:
        ConfigError: A transform was used twice.
    """
    flow = results.get('transformation_3d_flow', [])
    if len(set(flow)) < len(flow):
        raise ConfigError(
            f'the cloud was augmented twice in the same way ({", ".join(flow)}), but mmdet3d keeps the '
            'last values only: merge these transforms'
        )
    if not flow:
        return xyz
    # mmdet3d copies the matrix; torch does that without a warning for numpy arrays only
    rotation = np.asarray(results.get('pcd_rotation', np.eye(3)))
    return apply_3d_transformation(xyz, 'LIDAR', {**results, 'pcd_rotation': rotation})

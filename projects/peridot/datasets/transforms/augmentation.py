"""Augmentations that are the same in all frames of a sample, and the transform that an augmentation made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmdet3d.models.layers.fusion_layers.coord_transform import apply_3d_transformation
from torch import Tensor

from peridot.datasets.sampler import sample_seed, seeded_sample
from peridot.errors import ConfigError
from peridot.registry import TRANSFORMS

# the step of `ShiftPoints` among those of mmdet3d; it leaves its shift (3,) in meters under the same name
SHIFT = 'cloud_shift'
# meters, a power of two
FAR = 128.0


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
    """Transform Float64 (4, 4) from the loaded cloud to the one that the augmentation made of it.

    Raises:
        ConfigError: A transform was used twice.
    """
    # far apart, as mmdet3d computes in float32 and a shift takes digits from their differences
    corners = torch.cat([torch.zeros(1, 3), FAR * torch.eye(3)])
    moved = follow_augmentation(corners, results).double()
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = (moved[1:] - moved[0]).T / FAR
    matrix[:3, 3] = moved[0]
    return matrix


def follow_augmentation(xyz: Tensor, results: dict) -> Tensor:
    """Places Float (M, 3) in the loaded cloud, moved as mmdet3d's transforms and `ShiftPoints` moved the cloud.

    Raises:
        ConfigError: A transform was used twice.
    """
    flow = results.get('transformation_3d_flow', [])
    if len(set(flow)) < len(flow):
        raise ConfigError(
            f'the cloud was augmented twice in the same way ({", ".join(flow)}), but mmdet3d keeps the '
            'last values only: merge these transforms'
        )
    # mmdet3d copies the matrix; torch does that without a warning for numpy arrays only
    rotation = np.asarray(results.get('pcd_rotation', np.eye(3)))
    for shifted, steps in groupby(flow, SHIFT.__eq__):
        if shifted:
            xyz = xyz + xyz.new_tensor(results[SHIFT])
        else:
            own = {**results, 'pcd_rotation': rotation, 'transformation_3d_flow': list(steps)}
            xyz = apply_3d_transformation(xyz, 'LIDAR', own)
    return xyz

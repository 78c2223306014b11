"""Point-pixel pairs: where points of a cloud and pixels of its cameras meet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

# of pairs, points and pixels that belong to nothing
NO_LABEL = -1


class Pairs(InstanceData):
    """One row per (point, pixel) pair, P in all; a point seen by two cameras makes two pairs.

    Rows are ordered by camera. Pixel positions are continuous (row, column) in the *current* image
    frame, integers at pixel centers, so that crops, resizes and flips lose nothing: rounding happens only
    where a feature is read. All methods return new pairs and work without any pair.

    Attributes:
        point: Int64 (P,), row of the sample's point cloud; in a batch, of the concatenated clouds.
        camera: Int64 (P,), index into the sample's cameras; in a batch, into the stacked images.
        position: Float32 (P, 2), (row, column).
        label: Int64 (P,), weak label, `NO_LABEL` where there is none. Optional.

    Example:
        >>> pairs = Pairs(point=torch.tensor([0, 2]), camera=torch.tensor([0, 1]), position=torch.zeros(2, 2))
        >>> pairs.drop_points(torch.tensor([False, True, True])).point
        tensor([1])
    """

    def __getitem__(self, item):
        """Rows by slice, mask or index, as in `InstanceData`, but faster for tensors."""
        if not isinstance(item, Tensor):
            return super().__getitem__(item)
        if item.dtype == torch.bool:
            if len(item) != len(self):
                raise IndexError(f'a mask of {len(item)} rows does not fit {len(self)} pairs')
            item = item.nonzero()[:, 0]
        return self.replace(**{name: value.index_select(0, item) for name, value in self.items()})

    @classmethod
    def empty(cls, with_label: bool = False) -> Pairs:
        """No pairs, with all fields of the right types and shapes."""
        pairs = cls(
            point=torch.zeros(0, dtype=torch.int64),
            camera=torch.zeros(0, dtype=torch.int64),
            position=torch.zeros(0, 2),
        )
        if with_label:
            pairs.label = torch.zeros(0, dtype=torch.int64)
        return pairs

    def replace(self, **fields: Tensor) -> Pairs:
        """The same pairs with some fields replaced.

        Args:
            **fields: New values, each of length P.
        """
        return type(self)(metainfo=self.metainfo, **{**dict(self.items()), **fields})

    def drop_points(self, keep: Tensor) -> Pairs:
        """Pairs of the remaining points, renumbered to the rows of `points[keep]`.

        Args:
            keep: Bool (N,), True for the points that stay.
        """
        new_row = torch.cumsum(keep, 0) - 1
        kept = self[keep[self.point]]
        return kept.replace(point=new_row[kept.point])

    def count(self, num_cameras: int) -> Tensor:
        """Number of pairs of each camera.

        Returns:
            Int64 (num_cameras,).
        """
        return torch.bincount(self.camera, minlength=num_cameras)

    def values_in(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """Value of every pair in its camera's map, at the rounded position; relies on the order by camera.

        Args:
            maps: Per-pixel map (H, W) of every camera of the sample, in the frame of the positions; read at
                [rows, columns] alone.

        Returns:
            Int64 (P,).
        """
        pixel = np.rint(self.position.numpy()).astype(np.int64)
        bounds = np.searchsorted(self.camera.numpy(), np.arange(len(maps) + 1))
        values = np.empty(len(pixel), dtype=np.int64)
        for view, pixels in enumerate(maps):
            rows = slice(bounds[view], bounds[view + 1])
            values[rows] = pixels[pixel[rows, 0], pixel[rows, 1]]
        return values

    def resized_crop(self, boxes: Tensor, size: tuple[int, int]) -> Pairs:
        """Pairs inside the crop boxes, in the frame of the resized crops.

        Args:
            boxes: Float (V, 4), (top, left, height, width) of every camera's crop in pixels.
            size: Height and width that every crop is resized to.
        """
        boxes = boxes.to(self.position)
        target = torch.tensor(size).to(self.position)
        scale = target / boxes[:, 2:]
        offset = (0.5 - boxes[:, :2]) * scale - 0.5
        moved = self.position * scale.index_select(0, self.camera) + offset.index_select(0, self.camera)
        row, column = moved.unbind(1)
        inside = (row >= -0.5) & (row < target[0] - 0.5) & (column >= -0.5) & (column < target[1] - 0.5)
        return self.replace(position=moved)[inside]

    def flip(self, flipped: Tensor, width: int | Tensor) -> Pairs:
        """Mirror the columns of the pairs of some cameras.

        Args:
            flipped: Bool (V,), True for the cameras whose image is mirrored.
            width: Image width, or Int (V,), the width of every camera's image.
        """
        width = torch.as_tensor(width, device=self.camera.device).expand(len(flipped))[self.camera]
        row, column = self.position.unbind(1)
        column = torch.where(flipped[self.camera], width - 1 - column, column)
        return self.replace(position=torch.stack([row, column], 1))

    @classmethod
    def batch(cls, pairs: Sequence[Pairs], num_points: Sequence[int], num_cameras: Sequence[int]) -> Pairs:
        """Pairs of several samples as pairs of the concatenated clouds and stacked images.

        The optional `label` is kept when at least one sample has it; `NO_LABEL` fills the others.

        Args:
            pairs: The samples' pairs.
            num_points: Points of every sample.
            num_cameras: Images of every sample.
        """
        starts = zip(accumulate(num_points, initial=0), accumulate(num_cameras, initial=0))
        moved = [
            {'point': p.point + first_point, 'camera': p.camera + first_camera, 'position': p.position}
            for p, (first_point, first_camera) in zip(pairs, starts)
        ]
        if any('label' in p for p in pairs):
            for fields, p in zip(moved, pairs):
                fields['label'] = p.label if 'label' in p else torch.full_like(p.point, NO_LABEL)
        if not moved:
            return cls.empty()
        return cls(**{name: torch.cat([fields[name] for fields in moved]) for name in moved[0]})

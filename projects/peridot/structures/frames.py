"""Frames: which scan of a batch belongs to which sample, when it was taken, and how it lies relative to the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor


class Frames(InstanceData):
    """One row per scan, S in all.

    A sample is its keyframe and, with `PairedDataset(frames=...)`, other frames of the same drive.

    Attributes:
        sample: Int64 (S,), sample of the batch.
        frame: Int64 (S,), 0 for the keyframe, i for the i-th frame of the dataset's `frames`.
        time: Float64 (S,), seconds from the sample's keyframe; images have the time of their scan, but for
            those of `images_of`.
        num_points: Int64 (S,), points of the scan.
        num_images: Int64 (S,), images that its points were projected into: those taken with it and, for a keyframe with
            `images_of`, those of other keyframes. A dense cloud, the keyframe with points of earlier sweeps, has none:
            its pairs are with the images of the keyframe.
        to_sample: Float64 (S, 4, 4), takes points of the scan, as the network reads them (augmented), into a
            common frame of the scans of the sample.

    Example:
        >>> frames = Frames.batch([Frames.single(100, num_images=6), Frames.single(80, num_images=1)])
        >>> frames.sample, frames.image_scan
        (tensor([0, 1]), tensor([0, 0, 0, 0, 0, 0, 1]))
    """

    @classmethod
    def single(
        cls,
        num_points: int,
        num_images: int = 0,
        frame: int = 0,
        time: float = 0.0,
        to_sample: Tensor | None = None,
    ) -> Frames:
        """One scan.

        Args:
            num_points: Points of the scan.
            num_images: Images taken with it.
            frame: See `Frames`.
            time: Seconds from the keyframe.
            to_sample: Float (4, 4); the identity for a sample of one scan.
        """
        return cls(
            sample=torch.zeros(1, dtype=torch.int64),
            frame=torch.tensor([frame]),
            time=torch.tensor([time], dtype=torch.float64),
            num_points=torch.tensor([num_points]),
            num_images=torch.tensor([num_images]),
            to_sample=torch.eye(4, dtype=torch.float64)[None] if to_sample is None else to_sample[None].double(),
        )

    @classmethod
    def batch(cls, frames: Sequence[Frames]) -> Frames:
        """Concatenate the scans of several samples."""
        joined = cls.cat(list(frames))
        lengths = torch.tensor([len(f.frame) for f in frames], device=joined.frame.device)
        joined.sample = torch.arange(len(frames), device=lengths.device).repeat_interleave(
            lengths, output_size=len(joined.frame)
        )
        return joined

    @property
    def image_scan(self) -> Tensor:
        """Int64 (V,), scan of every image of the batch."""
        return self.scans_of_images(int(self.num_images.sum()))

    def scans_of_images(self, count: int) -> Tensor:
        """Scan Int64 (V,) of every image, whose number is known: nothing waits for the device."""
        scans = torch.arange(len(self.frame), device=self.frame.device)
        return scans.repeat_interleave(self.num_images, output_size=count)

    def partners(self, first: int, second: int) -> Tensor:
        """Scans of the same samples in another frame.

        Args:
            first: A frame, as in `frame`.
            second: Another one.

        Returns:
            Int64 (S,), for every scan that is frame `first` of its sample the scan that is frame `second`; -1 for those
            whose sample lacks it, and for scans of other frames.
        """
        scans = torch.arange(len(self.frame), device=self.frame.device)
        match = (self.sample[:, None] == self.sample) & (self.frame == first)[:, None] & (self.frame == second)
        return torch.where(match, scans, -1).amax(1)

    def between(self, source: Tensor, target: Tensor) -> Tensor:
        """Transforms between scans of one sample.

        Args:
            source: Int64 (M,), scans.
            target: Int64 (M,), scans.

        Returns:
            Float64 (M, 4, 4), takes points of scan `source[i]` to where they lie in scan `target[i]`; moving objects
            are elsewhere by then.
        """
        # a singular matrix is not looked for: on a GPU the answer would make the step wait
        return torch.linalg.solve_ex(self.to_sample[target], self.to_sample[source]).result

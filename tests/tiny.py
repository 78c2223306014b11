"""Small networks and batches that tests share."""

import torch
from peridot.models.batch import EncodedBatch
from peridot.models.students import VoxelFeatures
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs
from torch import nn


@MODELS.register_module()
class PointwiseStudent(nn.Module):
    """A linear layer on x, y, z and intensity; counts how often it runs. No sparse convolution, milliseconds."""

    out_channels = 12
    calls = 0

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(4, 12)

    def forward(self, points):
        self.calls += 1
        flat = torch.cat(points)
        return VoxelFeatures(self.backbone(flat).tanh(), torch.arange(len(flat)))


@MODELS.register_module()
class TinyTeacher(nn.Module):
    """One convolution of stride 4; counts how often it runs."""

    out_channels = 8
    align_corners = True
    calls = 0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4).requires_grad_(False)

    @torch.no_grad()
    def forward(self, images):
        self.calls += 1
        return self.conv(images.float() / 255)


def make_batch(points, student, heads, **fields):
    """An `EncodedBatch` of one scan; `student` may be a tensor (N, C) of features of the points."""
    if isinstance(student, torch.Tensor):
        student = VoxelFeatures(student, torch.arange(len(student)))
    defaults = dict(
        scan=torch.zeros(len(points), dtype=torch.int64),
        frames=Frames.batch([Frames.single()]),
        pairs=Pairs.empty(),
        generator=torch.Generator().manual_seed(0),
        make_teacher_map=lambda: None,
    )
    return EncodedBatch(points=points, student=student, heads=nn.ModuleDict(heads), **{**defaults, **fields})


def connected(objective, channels):
    """The objective, told the width of its head."""
    objective.connect(channels)
    return objective

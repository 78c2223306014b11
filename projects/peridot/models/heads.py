"""Projection of student and teacher features into one embedding space."""

import torch.nn.functional as F
from torch import Tensor, nn

from peridot.registry import MODELS


@MODELS.register_module()
class ProjectionHead(nn.Module):
    """Linear map and L2 normalization on either side of the contrast.

    SLidR and OLIVINE use a 1x1 convolution on the teacher's map followed by bilinear upsampling; both are
    linear and bilinear weights add up to one, so a linear layer on the features read at the pairs gives the
    same numbers from P rows instead of whole maps.

    Args:
        student_channels: Channels of the student's features.
        teacher_channels: Channels of the teacher's features; None without a teacher.
        channels: Dimension of the embedding.
    """

    def __init__(self, student_channels: int, teacher_channels: int | None, channels: int = 64) -> None:
        super().__init__()
        self.student = nn.Linear(student_channels, channels)
        self.teacher = nn.Linear(teacher_channels, channels) if teacher_channels else None

    def embed_student(self, features: Tensor) -> Tensor:
        """(P, C_student) to unit float32 vectors (P, channels)."""
        return F.normalize(self.student(features).float(), dim=1)

    def embed_teacher(self, features: Tensor) -> Tensor:
        """(P, C_teacher) to unit float32 vectors (P, channels)."""
        return F.normalize(self.teacher(features).float(), dim=1)

    def project_teacher_map(self, feature_map: Tensor) -> Tensor:
        """(M, C_teacher, h, w) to (M, channels, h, w), not normalized: upsampling comes first."""
        return self.teacher(feature_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

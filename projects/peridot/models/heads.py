"""Heads: maps of student and teacher features into the space where objectives compare them."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from peridot.errors import ConfigError
from peridot.registry import MODELS

# the teacher's summary of an image, in place of a layer's map
CLASS_TOKEN = 'class_token'


class Head(nn.Module):
    """Base of the heads.

    Attributes:
        channels: Width D of the embeddings.
        student_layer: Stage of the student that it reads; None for the student's own features.
        teacher_layer: Layer of the teacher that it reads, or `CLASS_TOKEN`; None for the teacher's own map.
    """

    channels: int
    student_layer: str | None = None
    teacher_layer: int | str | None = None

    def embed_student(self, features: Tensor) -> Tensor:
        """(P, C_student) to embeddings (P, D)."""
        raise NotImplementedError

    def embed_teacher(self, features: Tensor) -> Tensor:
        """(P, C_teacher) to embeddings (P, D)."""
        raise NotImplementedError

    def project_teacher_map(self, feature_map: Tensor) -> Tensor:
        """(V, C_teacher, h, w) to (V, D, h, w), not normalized: upsampling comes first."""
        raise NotImplementedError


@MODELS.register_module()
class ProjectionHead(Head):
    """Linear map and L2 normalization of student and teacher features.

    SLidR and OLIVINE use a 1x1 convolution on the teacher's map followed by bilinear upsampling; both are
    linear and bilinear weights add up to one, so a linear layer on the features read at the pairs gives the
    same numbers from P rows instead of full maps.

    Args:
        student_channels: Channels of the student's features.
        teacher_channels: Channels of the teacher's features; None without a teacher.
        channels: Dimension of the embedding.
    """

    def __init__(self, student_channels: int, teacher_channels: int | None, channels: int = 64) -> None:
        super().__init__()
        self.channels = channels
        self.student = nn.Linear(student_channels, channels)
        self.teacher = nn.Linear(teacher_channels, channels) if teacher_channels else None

    def embed_student(self, features: Tensor) -> Tensor:
        """(P, C_student) to unit float32 vectors (P, D)."""
        return F.normalize(self.student(features).float(), dim=1)

    def embed_teacher(self, features: Tensor) -> Tensor:
        """(P, C_teacher) to unit float32 vectors (P, D)."""
        return F.normalize(self.teacher(features).float(), dim=1)

    def project_teacher_map(self, feature_map: Tensor) -> Tensor:
        """See `Head`."""
        return self.teacher(feature_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class LatentHead(Head):
    """Linear map of the student's features to latent vectors, for objectives without a teacher.

    Args:
        student_channels: Channels of the student's features.
        teacher_channels: Not used; all heads are built with it.
        channels: Channels of the latent vectors.
    """

    def __init__(self, student_channels: int, teacher_channels: int | None = None, channels: int = 128) -> None:
        super().__init__()
        self.channels = channels
        self.student = nn.Linear(student_channels, channels)

    def embed_student(self, features: Tensor) -> Tensor:
        """(P, C_student) to (P, D), not normalized."""
        return self.student(features)


@MODELS.register_module()
class DistillationHead(Head):
    """Map of the student's features into the teacher's own space, whose features stay as they are.

    ScaLR's head is linear, that of ScaLR+ has a hidden layer of 2048 channels with ReLU, that of CleverDistiller two.

    Args:
        student_channels: Channels of the student's features.
        teacher_channels: Channels of the teacher's features, and of the embedding.
        hidden_channels: Channels of the hidden layers; None for a linear head.
        num_layers: Linear layers with ReLU between them; by default 1 without `hidden_channels`, else 2.
        normalize: Give unit vectors. HilDA's scene token is compared as it is.

    Raises:
        ConfigError: There is no teacher, or no width for the hidden layers.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int | None,
        hidden_channels: int | None = None,
        num_layers: int | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if not teacher_channels:
            raise ConfigError('peridot.DistillationHead maps into the space of a teacher: set model.teacher')
        if num_layers is None:
            num_layers = 1 if hidden_channels is None else 2
        if num_layers < 1 or (num_layers > 1 and hidden_channels is None):
            raise ConfigError(
                f'peridot.DistillationHead: num_layers={num_layers} with hidden_channels={hidden_channels}: set 1, or '
                'more with hidden_channels=2048'
            )
        self.channels = teacher_channels
        self.normalize = normalize
        layers: list[nn.Module] = []
        for before, after in pairwise([student_channels, *[hidden_channels] * (num_layers - 1), teacher_channels]):
            if layers:
                layers.append(nn.ReLU(inplace=True))
            layers.append(nn.Linear(before, after))
        self.student = nn.Sequential(*layers) if num_layers > 1 else layers[0]

    def embed_student(self, features: Tensor) -> Tensor:
        """(P, C_student) to float32 (P, C_teacher), unit vectors with `normalize`."""
        return self._scaled(self.student(features))

    def embed_teacher(self, features: Tensor) -> Tensor:
        """(P, C_teacher) to float32 of the same shape, unit vectors with `normalize`."""
        return self._scaled(features)

    def _scaled(self, features: Tensor) -> Tensor:
        return F.normalize(features.float(), dim=1) if self.normalize else features.float()

    def project_teacher_map(self, feature_map: Tensor) -> Tensor:
        """The map itself."""
        return feature_map

"""What objectives see of a training step."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from peridot.models.functional import read_at
from peridot.structures import Pairs


class StepContext:
    """One forward pass of student and teacher over a batch, read at point-pixel pairs.

    The teacher runs when an objective first asks for its features, and once a step at most.

    Args:
        points: Float (N, >=3) concatenated clouds, x, y, z in meters first.
        student: Student features with `at(points) -> (P, C)`.
        pairs: Pairs of the batch: rows of `points`, rows of the stacked images.
        heads: Projection heads by name.
        teacher_map: Gives the teacher's feature map (images, C, h, w).
        image_size: (H, W) of the images that `pairs.position` refers to.
        align_corners: How the teacher's map lies over the image, see `read_at`.
        generator: Source of all random draws of the step, on the device of the points.
        label_classes: Number of weak label classes of the batch, None without labels.
    """

    def __init__(
        self,
        points: Tensor,
        student,
        pairs: Pairs,
        heads: nn.ModuleDict,
        teacher_map: Callable[[], Tensor],
        image_size: tuple[int, int],
        align_corners: bool,
        generator: torch.Generator,
        label_classes: int | None = None,
    ) -> None:
        self.points = points
        self.student = student
        self.pairs = pairs
        self.heads = heads
        self.image_size = image_size
        self.align_corners = align_corners
        self.generator = generator
        self.label_classes = label_classes
        self._make_teacher_map = teacher_map

    @property
    def device(self) -> torch.device:
        """Device of the batch."""
        return self.points.device

    @property
    def num_pairs(self) -> int:
        """Number of pairs of the batch."""
        return len(self.pairs.point)

    @cached_property
    def teacher_map(self) -> Tensor:
        """Teacher features (images, C, h, w), without gradient."""
        return self._make_teacher_map()

    def xyz(self, index: Tensor) -> Tensor:
        """Coordinates (M, 3) in meters of the points of the pairs `index` (M,)."""
        return self.points[self.pairs.point[index], :3]

    def embed_student(self, head: str, index: Tensor) -> Tensor:
        """Unit student embeddings (M, D) of the pairs `index` (M,) through the named head."""
        return self.heads[head].embed_student(self.student.at(self.pairs.point[index]))

    def embed_teacher(self, head: str, index: Tensor) -> Tensor:
        """Unit teacher embeddings (M, D) of the pairs `index` (M,) through the named head."""
        pairs = self.pairs
        features = read_at(
            self.teacher_map, pairs.camera[index], pairs.position[index], self.image_size, self.align_corners
        )
        return self.heads[head].embed_teacher(features)

    def embed(self, head: str, index: Tensor) -> tuple[Tensor, Tensor]:
        """Student and teacher embeddings of the pairs `index`, see above."""
        return self.embed_student(head, index), self.embed_teacher(head, index)

    def graph_zero(self) -> Tensor:
        """Zero that depends on student and heads, so that a batch without pairs still has all gradients."""
        unused = sum(p.sum() for p in self.heads.parameters())
        return 0.0 * (self.student.at(self.pairs.point[:0]).sum() + unused)

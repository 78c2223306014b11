"""What objectives see of a training step."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from peridot.errors import ConfigError, DataError
from peridot.models.functional import read_at
from peridot.models.students.features import PointFeatures, Supports
from peridot.structures import Pairs, Queries


class StepContext:
    """One forward pass of student and teacher over a batch, read at point-pixel pairs.

    The teacher runs when an objective first asks for its features, and once a step at most.

    Args:
        points: Float (N, >=3) concatenated clouds, x, y, z in meters first.
        student: Student features, see `PointFeatures`.
        pairs: Pairs of the batch: rows of `points`, rows of the stacked images.
        heads: Projection heads by name.
        teacher_map: Gives the teacher's feature map (images, C, h, w).
        image_size: (H, W) of the images that `pairs.position` refers to.
        align_corners: How the teacher's map lies over the image, see `read_at`.
        generator: Source of all random draws of the step, on the device of the points.
        label_classes: Number of weak label classes of the batch, None without labels.
        maps: Per-pixel maps of the images by name, int64 (images, H, W), -1 where there is no id.
        map_ids: Number of ids of each map; within an image every id is below it.
        scan: Int64 (N,) scan of every point.
        queries: Occupancy queries of the batch.
    """

    def __init__(
        self,
        points: Tensor,
        student: PointFeatures,
        pairs: Pairs,
        heads: nn.ModuleDict,
        teacher_map: Callable[[], Tensor],
        image_size: tuple[int, int],
        align_corners: bool,
        generator: torch.Generator,
        label_classes: int | None = None,
        maps: dict[str, Tensor] | None = None,
        map_ids: dict[str, int] | None = None,
        scan: Tensor | None = None,
        queries: Queries | None = None,
    ) -> None:
        self.points = points
        self.student = student
        self.pairs = pairs
        self.heads = heads
        self.image_size = image_size
        self.align_corners = align_corners
        self.generator = generator
        self.label_classes = label_classes
        self.maps = maps or {}
        self.map_ids = map_ids or {}
        self.scan = scan
        self.queries = queries
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

    @cached_property
    def supports(self) -> Supports:
        """Places of the batch that have a feature and say something about the space around them."""
        return self.student.supports(self.points[:, :3], self.scan)

    def view_map(self, name: str) -> tuple[Tensor, int]:
        """The named maps (images, H, W) and their number of ids.

        Raises:
            ConfigError: The pipeline loads no maps of this name.
            DataError: An id is not below the declared number: it would count for the next image.
        """
        if name not in self.maps:
            raise ConfigError(
                f'the batch has no maps called {name!r}: add dict(type="peridot.LoadViewMaps", {name}=FOLDER) to the '
                'pipeline after ProjectPoints (tools/make_superpixels.py makes the maps)'
            )
        ids, num_ids = self.maps[name], self.map_ids[name]
        if ids.numel() and int(ids.max()) >= num_ids:
            raise DataError(
                f'{name} maps hold id {int(ids.max())}, but their manifest declares {num_ids}: '
                'remake them with tools/make_superpixels.py --overwrite'
            )
        return ids, num_ids

    def xyz(self, index: Tensor) -> Tensor:
        """Coordinates (M, 3) in meters of the points of the pairs `index` (M,)."""
        return self.points[self.pairs.point[index], :3]

    def embed_student(self, head: str, index: Tensor) -> Tensor:
        """Unit student embeddings (M, D) of the pairs `index` (M,) through the named head."""
        return self.student.at(self.pairs.point[index], self.heads[head].embed_student)

    def embed_teacher(self, head: str, index: Tensor) -> Tensor:
        """Unit teacher embeddings (M, D) of the pairs `index` (M,) through the named head."""
        pairs = self.pairs
        features = read_at(
            self.teacher_map, pairs.camera[index], pairs.position[index], self.image_size, self.align_corners
        )
        return self.heads[head].embed_teacher(features)

    def project_teacher_map(self, head: str) -> Tensor:
        """Teacher map (images, D, h, w) through the named head, not normalized."""
        return self.heads[head].project_teacher_map(self.teacher_map)

    def embed(self, head: str, index: Tensor) -> tuple[Tensor, Tensor]:
        """Student and teacher embeddings of the pairs `index`, see above."""
        return self.embed_student(head, index), self.embed_teacher(head, index)

    def graph_zero(self) -> Tensor:
        """Zero that depends on student and heads, so that a batch without pairs still has all gradients."""
        unused = sum(p.sum() for p in self.heads.parameters())
        return 0.0 * (self.student.at(self.pairs.point[:0]).sum() + unused)

"""A batch as objectives see it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from peridot.errors import ConfigError
from peridot.models.functional import read_at
from peridot.models.heads import CLASS_TOKEN
from peridot.models.students.features import PointFeatures, Supports
from peridot.structures import Frames, Pairs, Queries


@dataclass
class EncodedBatch:
    """A batch after one forward pass of the student, with the teacher's features on demand.

    The teacher runs when an objective first asks for its features, and at most once per batch. Scans and images of all
    samples are concatenated; `frames` says which belong together.

    Attributes:
        points: Float (N, >=3), concatenated clouds, x, y, z in meters first.
        scan: Int64 (N,), scan of every point.
        student: Features of the points.
        frames: Sample, frame and time of the scans and images, and the transforms between them.
        pairs: Pairs of `points` and the stacked images.
        heads: Projection heads by name.
        generator: Source of all random draws of the step, on the device of the points.
        make_teacher_map: Gives the teacher's feature map (images, C, h, w), or those of several layers, see
            `teacher_features`.
        image_size: (H, W) of the images that `pairs.position` refers to; None without images.
        align_corners: How the teacher's map lies over the image, see `read_at`.
        label_classes: Number of weak label classes, None without labels.
        maps: Per-pixel maps of the images by name, Int64 (images, H, W), -1 where there is no id.
        map_ids: Number of ids of each map; every id of an image is below it.
        queries: Occupancy queries, None without.
        labels: Int64 (N,), classes of the points with the dataset's ignored value; None where a scan has none.
        segments: Int64 (N,), lidar segment of every point, -1 for none; an id means the same in the scans of a sample.
            None where they were not loaded.
        num_segments: Ids of segments are below it.
    """

    points: Tensor
    scan: Tensor
    student: PointFeatures
    frames: Frames
    pairs: Pairs
    heads: nn.ModuleDict
    generator: torch.Generator
    make_teacher_map: Callable[[], Tensor | dict[int | str | None, Tensor]]
    image_size: tuple[int, int] | None = None
    align_corners: bool = True
    label_classes: int | None = None
    maps: dict[str, Tensor] = field(default_factory=dict)
    map_ids: dict[str, int] = field(default_factory=dict)
    queries: Queries | None = None
    labels: Tensor | None = None
    segments: Tensor | None = None
    num_segments: int = 0

    @property
    def device(self) -> torch.device:
        """Device of the batch."""
        return self.points.device

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return len(self.pairs.point)

    def log(self, value: float | Tensor) -> Tensor:
        """A number for the log: Float32 (), without gradient."""
        if isinstance(value, Tensor):
            return value.detach().to(self.device, torch.float32)
        # filled on the device: a copy from the host would wait
        return torch.full((), value, dtype=torch.float32, device=self.device)

    @cached_property
    def teacher_features(self) -> dict[int | str | None, Tensor]:
        """Teacher features by `Head.teacher_layer`: maps (images, C, h, w), class tokens (images, C); no gradient."""
        features = self.make_teacher_map()
        return features if isinstance(features, dict) else {None: features}

    @property
    def teacher_map(self) -> Tensor:
        """Features (images, C, h, w) of the teacher that heads without a layer read; without gradient."""
        return self.teacher_features[None]

    @cached_property
    def supports(self) -> Supports:
        """Support points, the places that have a feature and describe the space around them."""
        return self.student.supports(self.points[:, :3], self.scan)

    @cached_property
    def labeled_pairs(self) -> tuple[Tensor, Tensor]:
        """Rows of `pairs` that have a weak label, Int64 (P',), and their labels, Int64 (P',).

        Raises:
            ConfigError: The pairs carry no labels.
        """
        if 'label' not in self.pairs:
            raise ConfigError(
                'the pairs have no weak labels: load label maps in the pipeline (tools/make_weak_labels.py makes '
                'them) or take the objectives that need labels out of model.objectives'
            )
        index = (self.pairs.label >= 0).nonzero()[:, 0]
        return index, self.pairs.label[index]

    @cached_property
    def segment_points(self) -> tuple[Tensor, Tensor]:
        """Points that are in a lidar segment and have a feature, Int64 (M,), and their segments, Int64 (M,).

        Raises:
            ConfigError: The pipeline loads no segments.
        """
        if self.segments is None:
            raise ConfigError(
                'the batch has no lidar segments: add maps=dict(lidar_segments=FOLDER) to the dataset and '
                'dict(type="peridot.LoadLidarSegments") to its pipeline right after LoadPoints '
                '(tools/make_lidar_segments.py makes the segments)'
            )
        has_both = self.segments >= 0 if self.student.inside is None else (self.segments >= 0) & self.student.inside
        rows = has_both.nonzero()[:, 0]
        return rows, self.segments[rows]

    def view_map(self, name: str) -> tuple[Tensor, int]:
        """The named maps (images, H, W) and their number of ids.

        Raises:
            ConfigError: The pipeline loads no maps of this name.
        """
        if name not in self.maps:
            raise ConfigError(
                f'the batch has no maps called {name!r}: add maps=dict({name}=FOLDER) to the dataset and '
                f'dict(type="peridot.LoadViewMaps", names=["{name}"]) to its pipeline after ProjectPoints '
                '(tools/make_superpixels.py makes the maps)'
            )
        return self.maps[name], self.map_ids[name]

    def pair_ids(self, name: str) -> tuple[Tensor, int]:
        """Id (P,) of the pixel of every pair in the named maps, -1 where there is none, and the number of ids.

        Raises:
            ConfigError: The pipeline loads no maps of this name.
        """
        ids, num_ids = self.view_map(name)
        row, column = self.pairs.position.round().long().unbind(1)
        return ids[self.pairs.camera, row.clamp(0, ids.shape[1] - 1), column.clamp(0, ids.shape[2] - 1)], num_ids

    def xyz(self, index: Tensor) -> Tensor:
        """Coordinates (M, 3) in meters of the points of the pairs `index` (M,)."""
        return self.points[self.pairs.point[index], :3]

    def embed_points(self, head: str, rows: Tensor) -> Tensor:
        """Student embeddings (M, D) of the points `rows` (M,) through the named head."""
        layer = getattr(self.heads[head], 'student_layer', None)
        features = self.student if layer is None else self.student.layers[layer]
        return features.at(rows, self.heads[head].embed_student)

    def embed_student(self, head: str, index: Tensor) -> Tensor:
        """Student embeddings (M, D) of the pairs `index` (M,) through the named head."""
        return self.embed_points(head, self.pairs.point[index])

    def embed_teacher(self, head: str, index: Tensor) -> Tensor:
        """Teacher embeddings (M, D) of the pairs `index` (M,) through the named head."""
        pairs = self.pairs
        features = read_at(
            self._map_of(head), pairs.camera[index], pairs.position[index], self.image_size, self.align_corners
        )
        return self.heads[head].embed_teacher(features)

    def project_teacher_map(self, head: str) -> Tensor:
        """Teacher map (images, D, h, w) through the named head, not normalized."""
        return self.heads[head].project_teacher_map(self._map_of(head))

    def embed(self, head: str, index: Tensor) -> tuple[Tensor, Tensor]:
        """Student and teacher embeddings (M, D) of the pairs `index` (M,) through the named head."""
        return self.embed_student(head, index), self.embed_teacher(head, index)

    def _map_of(self, head: str) -> Tensor:
        """Teacher features (images, C, h, w) of the layer that the named head reads.

        Raises:
            ConfigError: It reads class tokens.
        """
        layer = getattr(self.heads[head], 'teacher_layer', None)
        if layer == CLASS_TOKEN:
            raise ConfigError(
                f'model.heads.{head} reads the class tokens of images, its objective features of pixels: take '
                'teacher_layer out, or use peridot.SceneToken'
            )
        return self.teacher_features[layer]

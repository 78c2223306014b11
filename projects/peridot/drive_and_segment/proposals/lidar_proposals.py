"""Object proposals of Drive&Segment: segments of a lidar sweep, and the pixels that they cover in each camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from peridot.drive_and_segment.proposals.clusters import NONE, ClusterRule, cluster_cells
from peridot.drive_and_segment.proposals.ground import GroundRule, find_ground
from peridot.drive_and_segment.proposals.projection import beam_pitch, project, visible
from peridot.drive_and_segment.proposals.range_image import RangeImage, Sensor, fill_gaps, make_range_image
from peridot.drive_and_segment.proposals.region_growing import RegionRule, drop_small, grow_regions
from peridot.errors import ConfigError


@dataclass
class Segments:
    """A segmented sweep.

    Attributes:
        image: Range image with filled gaps.
        ids: Int64 (N,), segment of every point: 0 none, 1 ground, 2 and more objects, the largest first.
        no_return: Int64 (K,), cells whose beam hit nothing.
    """

    image: RangeImage
    ids: np.ndarray
    no_return: np.ndarray


class LidarProposals:
    """Object proposals without labels: objects on the ground are clusters of a lidar sweep.

    Args:
        sensor: Settings of `Sensor`.
        ground: Settings of `GroundRule` that differ from the defaults.
        clusters: Settings of `ClusterRule`.
        regions: Settings of `RegionRule`.

    Raises:
        ConfigError: A setting is unknown or makes no sense.
    """

    def __init__(
        self,
        sensor: Mapping,
        ground: Mapping | None = None,
        clusters: Mapping | None = None,
        regions: Mapping | None = None,
    ) -> None:
        self.sensor: Sensor = _settings(Sensor, 'sensor', sensor)
        self.ground: GroundRule = _settings(GroundRule, 'ground', ground)
        self.clusters: ClusterRule = _settings(ClusterRule, 'clusters', clusters)
        self.regions: RegionRule = _settings(RegionRule, 'regions', regions)

    @property
    def parameters(self) -> dict:
        """All settings as JSON values, kept in the manifest."""
        parts = {'sensor': self.sensor, 'ground': self.ground, 'clusters': self.clusters, 'regions': self.regions}
        return {name: asdict(part) for name, part in parts.items()}

    def segment(self, points: np.ndarray) -> Segments:
        """Segment a sweep into ground and objects.

        Args:
            points: Float (N, >=3), x, y, z in meters of one sweep (not of several), and the ring where the sensor has
                one.
        """
        image = fill_gaps(make_range_image(points, self.sensor))
        ground = find_ground(image, self.ground)
        cells = cluster_cells(image, ground, self.clusters)
        return Segments(image, image.of_points(cells), _no_return(image, ground))

    def project(
        self, segments: Segments, lidar2cam: np.ndarray, cam2img: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """Project segments into one camera's image.

        Args:
            segments: Segmented sweep.
            lidar2cam: Float (4, 4), from the frame of the points to that of the camera.
            cam2img: Float (4, 4), intrinsics.
            size: (H, W) of the image in pixels.

        Returns:
            Uint16 (H, W), 0 none, 1 ground, 2 and more the objects' ids.
        """
        matrix = (cam2img @ lidar2cam)[:3]
        # the range image's points are relative to the sensor
        matrix = np.column_stack([matrix[:, :3], matrix[:, :3] @ self.sensor.origin + matrix[:, 3]])
        pitch = beam_pitch(cam2img, segments.image.column_step, segments.image.elevation)
        has_cell = np.flatnonzero(segments.image.cell >= 0)
        window = tuple(pitch * self.regions.occlusion)
        points = project(segments.image.points[has_cell], matrix, size)
        seen = points[visible(points, points, size, window)]
        ids = segments.ids[has_cell[seen.index]]
        rays = segments.image.directions(segments.no_return) * self.regions.empty_range
        sky = project(rays, matrix, size)
        sky = sky[visible(sky, points, size, window)]
        regions = grow_regions(
            np.concatenate([seen.position, sky.position]),
            np.concatenate([seen.depth, sky.depth]),
            np.concatenate([ids, np.full(len(sky.index), NONE)]),
            size,
            pitch,
            self.regions,
        )
        return drop_small(regions, np.bincount(ids, minlength=segments.ids.max(initial=0) + 1), self.regions)

    def __call__(
        self,
        points: np.ndarray,
        lidar2cam: np.ndarray,
        cam2img: np.ndarray,
        sizes: Sequence[tuple[int, int]],
    ) -> list[np.ndarray]:
        """Regions of all cameras' images; an object has one id in all of them.

        Args:
            points: Float (N, >=3), see `segment`.
            lidar2cam: Float (V, 4, 4).
            cam2img: Float (V, 4, 4).
            sizes: (H, W) of each image.

        Returns:
            Uint16 (H, W) for each camera, see `project`.
        """
        segments = self.segment(points)
        return [self.project(segments, *camera) for camera in zip(lidar2cam, cam2img, sizes)]


def _no_return(image: RangeImage, ground: np.ndarray) -> np.ndarray:
    """Flat cells whose beam hit nothing: empty cells beside an empty one, as a single one may be no shot at all."""
    empty = (image.range == 0) & ~ground
    return np.flatnonzero(empty & (np.roll(empty, 1, 1) | np.roll(empty, -1, 1)))


def _settings(kind: type, name: str, values: Mapping | None):
    try:
        return kind(**(values or {}))
    except TypeError as error:
        problem = str(error).split('() ')[-1]
        raise ConfigError(f'proposals.{name}: {problem}; it takes {", ".join(kind.__dataclass_fields__)}') from None

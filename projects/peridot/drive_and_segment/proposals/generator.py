"""Maps of lidar segments for all cameras of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from skimage.segmentation import find_boundaries

from peridot.catalog import class_colors
from peridot.datasets.transforms import LoadPoints
from peridot.drive_and_segment.proposals.clusters import GROUND, NONE
from peridot.drive_and_segment.proposals.lidar_proposals import LidarProposals
from peridot.errors import ConfigError, DataError
from peridot.labels.generator import LabelGenerator
from peridot.maps.folder import NO_SUPERPIXEL
from peridot.maps.images import ImageSource, image_sources
from peridot.registry import TRANSFORMS

GROUND_COLOR = (110, 110, 110)


@dataclass(frozen=True)
class Sweep:
    """A lidar sweep and the cameras of its sample.

    Attributes:
        lidar_points: Path and number of columns, as `LoadPoints` takes them.
        images: The V images.
        lidar2cam: Float (V, 4, 4).
        cam2img: Float (V, 4, 4).
    """

    lidar_points: dict
    images: list[ImageSource]
    lidar2cam: np.ndarray
    cam2img: np.ndarray


class ProposalGenerator(LabelGenerator):
    """Lidar segments of a sweep in the images of its cameras, as superpixels that leave pixels out.

    It is built from sweeps, not from settings alone, and therefore not registered.

    Args:
        sweeps: The sweeps of the job's images.
        load_points: Config of the transform that reads a sweep, with the ring if the sensor's settings name its column.
        **settings: Settings of `LidarProposals`.

    Raises:
        ConfigError: A setting is unknown or makes no sense.
    """

    kind = 'superpixels'
    num_ids = NO_SUPERPIXEL
    ignore = NONE

    def __init__(self, sweeps: Sequence[Sweep], load_points: Mapping, **settings) -> None:
        try:
            self.proposals = LidarProposals(**settings)
        except TypeError as error:
            raise ConfigError(f'proposals: {str(error).split("() ")[-1]}') from None
        self.load_points: LoadPoints = TRANSFORMS.build(load_points)
        self._sweeps = {sweep.images[0]: sweep for sweep in sweeps if sweep.images}

    @classmethod
    def registered_name(cls) -> str:
        """Name in the manifest."""
        return 'lidar'

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return self.proposals.parameters

    def groups(self, images: Sequence[ImageSource]) -> list[list[ImageSource]]:
        """The images of each sweep."""
        return [sweep.images for sweep in self._sweeps.values()]

    def generate_group(self, sources: Sequence[ImageSource]) -> list[np.ndarray]:
        """Maps of all images of a sweep, uint16 (H, W) each.

        Raises:
            DataError: The points or an image cannot be read.
        """
        sweep = self._sweeps[sources[0]]
        points = self.load_points({'lidar_points': sweep.lidar_points})['points'].tensor.numpy()
        sizes = [source.size() for source in sources]
        try:
            return self.proposals(points, sweep.lidar2cam, sweep.cam2img, sizes)
        except DataError as error:
            raise DataError(f'{sweep.lidar_points["lidar_path"]}: {error}') from None


def sweeps_of(dataset) -> list[Sweep]:
    """Sweeps with their images of a `PairedDataset`, or of a wrapper with `datasets` or `dataset`, each once."""
    if hasattr(dataset, 'datasets'):
        lists = [sweeps_of(part) for part in dataset.datasets]
    elif hasattr(dataset, 'dataset') and not isinstance(dataset.dataset, (str, type(None))):
        lists = [sweeps_of(dataset.dataset)]
    else:
        lists = [[_sweep(dataset.get_data_info(index)) for index in range(len(dataset))]]
    return list({sweep.lidar_points['lidar_path']: sweep for part in lists for sweep in part}.values())


def _sweep(info: dict) -> Sweep:
    return Sweep(dict(info['lidar_points']), image_sources(info), info['lidar2cam'], info['cam2img'])


def paint(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Paint segments as transparent colors with borders, the ground gray: uint8 (H, W, 3), RGB.

    Args:
        image: Uint8 (H, W, 3), RGB.
        ids: Int (H, W), the map of proposals.
    """
    colors = class_colors(int(ids.max()) + 2)
    colors[GROUND] = GROUND_COLOR
    overlay, labeled = image.copy(), ids != NONE
    overlay[labeled] = (0.5 * overlay[labeled] + 0.5 * colors[ids[labeled]]).astype(np.uint8)
    overlay[find_boundaries(ids, mode='inner') & labeled] = 255
    return overlay

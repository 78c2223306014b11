"""A job: the images of one dataset and the folder of their maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine import dist

from peridot.maps import ImageSource, MapFolder


@dataclass
class MapJob:
    """Images of one dataset and where their maps go.

    Attributes:
        images: All images, the same list in every process.
        data_root: Root of the dataset.
        out: Folder of the maps.
        workers: Processes on this machine that work for this process.
    """

    images: Sequence[ImageSource]
    data_root: Path
    out: Path
    workers: int = 1

    @property
    def work_dir(self) -> Path:
        """Folder for intermediate results."""
        return self.out / '.work'

    def maps(self) -> MapFolder:
        """The folder being made."""
        return MapFolder(self.out.absolute(), self.data_root)

    def shard(self) -> list[ImageSource]:
        """The images of this process."""
        rank, world_size = dist.get_dist_info()
        return list(self.images[rank::world_size])

    def map_path(self, source: ImageSource) -> Path:
        """Where the map of an image is written."""
        return self.maps().path_for(source.path, source.token)

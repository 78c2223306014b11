"""The program behind `tools/make_proposals.py`: maps of lidar segments for all images of a config."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from mmengine import dist
from mmengine.logging import MMLogger
from skimage.segmentation import find_boundaries

from peridot.cli import add_config_arguments, add_worker_arguments, load_config, own_command
from peridot.datasets.transforms import LoadPoints
from peridot.drive_and_segment.proposals.clusters import GROUND, NONE
from peridot.drive_and_segment.proposals.lidar_proposals import LidarProposals
from peridot.errors import ConfigError, DataError, PeridotError
from peridot.labels.distributed import in_first_process, raise_together, start_distributed, warn_together
from peridot.labels.job import MapJob
from peridot.labels.parallel import progress, run_parallel
from peridot.labels.previews import write_previews
from peridot.labels.runner import begin_maps, complete_maps, valid_map
from peridot.labels.training_maps import training_set
from peridot.maps import ImageSource, Manifest, MapFolder, write_map
from peridot.maps.images import image_sources
from peridot.maps.manifest import DEFAULT_LAYOUT
from peridot.registry import TRANSFORMS
from peridot.visualization.colors import class_colors
from peridot.walk import innermost

FOLDER = 'drive_and_segment/proposals'
GROUND_COLOR = (110, 110, 110)


@dataclass(frozen=True)
class Sweep:
    """A lidar sweep and the cameras of its sample.

    Attributes:
        lidar_points: Path and number of columns, as `LoadPoints` takes them.
        images: V images.
        lidar2cam: (V, 4, 4).
        cam2img: (V, 4, 4).
    """

    lidar_points: dict
    images: list[ImageSource]
    lidar2cam: np.ndarray
    cam2img: np.ndarray


class ProposalMaker:
    """Writes the maps of whole sweeps; what `make_maps` calls a generator, but of all cameras at once.

    Args:
        load_points: Config of the transform that reads a sweep, with the ring where the sensor's settings name one.
        **settings: Those of `LidarProposals`.

    Raises:
        ConfigError: A setting is unknown or makes no sense.
    """

    kind = 'superpixels'
    version = '1'
    num_ids = 65535
    ignore = NONE

    def __init__(self, load_points: Mapping, **settings) -> None:
        try:
            self.proposals = LidarProposals(**settings)
        except TypeError as error:
            raise ConfigError(f'proposals: {str(error).split("() ")[-1]}') from None
        self.load_points: LoadPoints = TRANSFORMS.build(load_points)

    def manifest(self, layout: str = DEFAULT_LAYOUT, command: str | None = None) -> Manifest:
        """Manifest of the maps: superpixels that leave some pixels out."""
        return Manifest(
            kind=self.kind,
            generator='lidar',
            version=self.version,
            parameters=self.proposals.parameters,
            layout=layout,
            num_ids=self.num_ids,
            ignore=self.ignore,
            command=command,
        )

    def finish(self, job: MapJob) -> None:
        """Nothing is left to remove."""

    def __call__(self, sweep: Sweep) -> list[np.ndarray]:
        """Maps of all images of a sweep, uint16 (H, W) each.

        Raises:
            DataError: The points or an image cannot be read.
        """
        points = self.load_points({'lidar_points': sweep.lidar_points})['points'].tensor.numpy()
        sizes = [source.size() for source in sweep.images]
        try:
            return self.proposals(points, sweep.lidar2cam, sweep.cam2img, sizes)
        except DataError as error:
            raise DataError(f'{sweep.lidar_points["lidar_path"]}: {error}') from None


def make_proposals_command() -> None:
    """Parse the command line and make the maps.

    Raises:
        PeridotError: Anything the user can mend.
    """
    args = _parse_args()
    config = load_config(args)
    if 'proposals' not in config:
        raise ConfigError(
            f'{args.config} has no `proposals`, the settings of the lidar: give a config of configs/drive_and_segment'
        )
    maker = ProposalMaker(**config.proposals)
    dataset, data_root = training_set(config)
    sweeps = sweeps_of(dataset)
    start_distributed()
    images = [source for sweep in sweeps for source in sweep.images]
    if not images:
        raise ConfigError(f'the training set of {args.config} has no camera images')
    job = MapJob(images, data_root, data_root / (args.out or FOLDER), args.workers)
    maps = make_proposals(maker, job, sweeps, args.overwrite, own_command())
    for path in write_previews(maps, job, args.preview, paint):
        print(path)


def make_proposals(
    maker: ProposalMaker, job: MapJob, sweeps: Sequence[Sweep], overwrite: bool = False, command: str | None = None
) -> MapFolder:
    """Make the maps of all sweeps and their manifest; resumed and shared between processes as by `make_maps`.

    Args:
        maker: Makes the maps of a sweep.
        job: All images and the folder.
        sweeps: All sweeps, the same list in every process.
        overwrite: Replace a folder that was begun with other settings.
        command: Command kept in the manifest, for error messages.

    Returns:
        MapFolder: The finished folder.

    Raises:
        ConfigError: The folder was begun with other settings, or holds maps without a manifest.
        DataError: Maps of some sweeps could not be made; the others are done.
    """
    in_first_process(partial(begin_maps, maker, job, DEFAULT_LAYOUT, overwrite, command))
    rank, world_size = dist.get_dist_info()
    shard = sweeps[rank::world_size]
    results = _one_by_one(run_parallel(partial(_make_sweep, maker, job.maps()), shard, job.workers))
    images = [source for sweep in shard for source in sweep.images]
    failures, empty, made = [], [], 0
    for source, (failure, was_made, is_empty) in zip(images, progress(results, len(images), 'proposals')):
        made += was_made
        failures += [failure] if failure else []
        empty += [source.key] if is_empty else []
    warn_together(empty, f'of {len(job.images)} maps of proposals are empty: no segment of the lidar is in the image')
    raise_together(failures, len(job.images))
    in_first_process(partial(complete_maps, maker, job))
    made = sum(dist.all_gather_object(made))
    MMLogger.get_current_instance().info(
        f'{len(job.images)} maps of proposals in {job.out}: {made} made, {len(job.images) - made} kept'
    )
    return job.maps()


def sweeps_of(dataset) -> list[Sweep]:
    """Sweeps with their images of a `PairedDataset`, or of a wrapper (see `innermost`), each once."""
    sweeps = {}
    for info in (part.get_data_info(index) for part in innermost(dataset) for index in range(len(part))):
        points = dict(info['lidar_points'])
        sweeps[points['lidar_path']] = Sweep(points, image_sources(info), info['lidar2cam'], info['cam2img'])
    return list(sweeps.values())


def paint(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Segments as transparent colors with borders, the ground gray: (H, W, 3) uint8 RGB.

    Args:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) map of proposals.
    """
    colors = class_colors(int(ids.max()) + 2)
    colors[GROUND] = GROUND_COLOR
    picture, labeled = image.copy(), ids != NONE
    picture[labeled] = (0.5 * picture[labeled] + 0.5 * colors[ids[labeled]]).astype(np.uint8)
    picture[find_boundaries(ids, mode='inner') & labeled] = 255
    return picture


def _make_sweep(maker: ProposalMaker, maps: MapFolder, sweep: Sweep) -> list[tuple[str | None, bool, bool]]:
    """Make the maps of a sweep that are missing or damaged.

    Returns:
        For each image what went wrong or None, whether its map was made, whether it is empty.
    """
    try:
        arrays = [valid_map(maps, source) for source in sweep.images]
        missing = [array is None for array in arrays]
        made = maker(sweep) if any(missing) else arrays
        for source, array, wanted in zip(sweep.images, made, missing):
            if wanted:
                write_map(maps.path_for(source.path, source.token), array, np.uint16)
    except PeridotError as error:
        return [(str(error), False, False)] * len(sweep.images)
    return [(None, wanted, not array.any()) for array, wanted in zip(made, missing)]


def _one_by_one(lists: Iterator[list]) -> Iterator:
    for items in lists:
        yield from items


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Make object proposals from lidar for the training images of a config: 16-bit maps of segments. '
        'An interrupted run continues with the same command; under torchrun the processes share the sweeps.'
    )
    add_config_arguments(parser)
    parser.add_argument('--out', help=f'folder of the maps, relative to the data root (default: {FOLDER})')
    parser.add_argument('--overwrite', action='store_true', help='replace maps made with other settings')
    parser.add_argument('--preview', type=int, default=0, metavar='N', help='write N overlays to look at')
    add_worker_arguments(parser)
    return parser.parse_args()

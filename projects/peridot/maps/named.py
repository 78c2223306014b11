"""The maps of a dataset by name."""

import os
from collections.abc import Mapping

from peridot.errors import ConfigError
from peridot.maps.folder import MapFolder
from peridot.maps.lidar_segments import SegmentFolder
from peridot.maps.teacher_features import FeatureFolder

# the maps that replace the images
TEACHER_FEATURES = 'teacher_features'
# the ids of lidar points
LIDAR_SEGMENTS = 'lidar_segments'
_OPENERS = {TEACHER_FEATURES: FeatureFolder, LIDAR_SEGMENTS: SegmentFolder}


def open_maps(
    maps: Mapping[str, str | Mapping], data_root: str | os.PathLike = '.', backend_args: Mapping | None = None
) -> dict[str, MapFolder | FeatureFolder | SegmentFolder]:
    """Open the folders that a dataset's `maps` names.

    Args:
        maps: Folder of each kind of map by name, relative to `data_root` unless absolute. `teacher_features` is a
            `FeatureFolder`, `lidar_segments` a `SegmentFolder`, all others are `MapFolder`s. A dict has `folder` and
            what its manifest must say: `dict(folder='superpixels/slic', kind='superpixels', generator='slic')`, or for
            the features `dict(folder='teacher_features/x', teacher=model.teacher)`.
        data_root: Root of the dataset.
        backend_args: Arguments of mmengine's file back end, see `peridot.files`.

    Raises:
        ConfigError: A setting is unknown, or feature maps are of another teacher.
        DataError: A manifest is missing or wrong, or of another kind or generator than needed.
    """
    opened = {}
    for name, asked in maps.items():
        asked = {'folder': asked} if isinstance(asked, (str, os.PathLike)) else dict(asked)
        opener = _OPENERS.get(name, MapFolder)
        try:
            opened[name] = opener(data_root=data_root, backend_args=backend_args, **asked)
        except TypeError as error:
            raise ConfigError(f'maps.{name}={asked}: {error}: set folder, and kind, generator or teacher') from None
    return opened


def maps_called(name: str, results: Mapping, cls: type = MapFolder) -> MapFolder | FeatureFolder | SegmentFolder:
    """The folder that a sample's dataset calls `name`.

    Args:
        name: As in the `maps` of the dataset.
        results: The sample, as the dataset hands it to its pipeline.
        cls: Kind of the folder.

    Raises:
        ConfigError: The dataset has no maps of that name, or of another kind.
    """
    folder = results.get('maps', {}).get(name)
    if not isinstance(folder, cls):
        what = f'calls {folder.folder} {name!r}' if folder else f'has no maps called {name!r}'
        raise ConfigError(
            f'the dataset {what}, but its pipeline reads a {cls.__name__} with this name: set '
            f'maps=dict({name}=FOLDER) of the dataset'
        )
    return folder

"""Maps made by other programs, copied into a folder of this project."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import MMLogger

from peridot.errors import ConfigError, DataError
from peridot.labels.distributed import LISTED, in_first_process
from peridot.labels.generator import LabelGenerator, check_classes
from peridot.labels.job import MapJob
from peridot.labels.superpixels import check_num_ids
from peridot.maps import ImageSource, Manifest, MapFolder
from peridot.maps.folder import NO_SUPERPIXEL, UNLABELED
from peridot.maps.manifest import DEFAULT_LAYOUT
from peridot.registry import LABEL_GENERATORS

# the texts given to SEEM, in the order of the maps' values
OLIVINE_CLASSES = (
    'barrier',
    'bicycle',
    'bus',
    'car',
    'truck',
    'trailer',
    'motorcycle',
    'construction_vehicle',
    'pedestrian',
    'traffic_cone',
    'road',
    'sidewalk',
    'terrain',
    'vegetation',
    'building',
    'other_ground',
    'background',
)


class MapFilesGenerator(LabelGenerator):
    """Copies maps from another folder, after checking that each exists, is complete and fits its image.

    Args:
        source: Folder of the maps, relative to the data root unless absolute.
        preset: Name of a published layout (attribute `presets`); the settings below override it.
        ignore_value: Value of source pixels that have no id or class, None if there is none. These pixels get the
            ignore value of the maps made here, 65535 (superpixels) or 255 (labels).
        **description: The fields `layout`, `num_ids` and `classes` of the source's `Manifest`; None leaves a field
            to the preset.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    ignored: ClassVar[int]

    def __init__(self, source: str, preset: str | None, ignore_value: int | None, **description: Any) -> None:
        if preset not in (None, *self.presets):
            raise ConfigError(f'files: preset={preset!r} of {self.kind}: choose from {", ".join(self.presets)}')
        known = self.presets.get(preset, {})
        given = {name: value for name, value in description.items() if value is not None}
        self.source = source
        self.ignore_value = ignore_value
        self.ignore = None if ignore_value is None else self.ignored
        self.described = {'layout': DEFAULT_LAYOUT, **known, **given, 'ignore': ignore_value}
        self.num_ids, self.classes = self.described.get('num_ids'), self.described.get('classes')
        self._maps: MapFolder | None = None

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return {'source': self.source, 'layout': self.described['layout'], 'ignore_value': self.ignore_value}

    def open(self, job: MapJob) -> None:
        """Open the source folder.

        Raises:
            ConfigError: The layout needs tokens, which the images lack.
            DataError: The folder does not exist, or has no map of any image.
        """
        self._maps = _SourceFolder(self.source, job.data_root, manifest=Manifest(self.kind, **self.described))
        if not self._maps.folder.is_dir():
            raise DataError(
                f'files: the folder {self._maps.folder} does not exist: give --options source=DIR, relative to the '
                'data root or absolute'
            )
        if '{token}' in self.described['layout'] and not all(source.token for source in job.images):
            raise ConfigError(
                f'files: layout={self.described["layout"]} needs camera tokens, which the images do not have: give '
                '--options layout=PATTERN of {relative_stem}, {parent} and {stem}'
            )
        in_first_process(partial(self._count_missing, job))

    def generate(self, source: ImageSource) -> np.ndarray:
        """Map, int (H, W), as the source has it, except for the ignore value."""
        ids = self._maps.read(source.path, source.size(), source.token)
        if self.ignore_value is not None:
            ids[ids == self.ignore_value] = self.ignored
        return ids

    def _count_missing(self, job: MapJob) -> None:
        """Report before the work begins which maps the source lacks."""
        missing = self._maps.missing([(source.path, source.token) for source in job.images])
        if not missing:
            return
        listed = ', '.join(missing[:LISTED]) + (', ...' if len(missing) > LISTED else '')
        found = f'{len(missing)} of {len(job.images)} maps are missing in {self._maps.folder}: {listed}'
        if len(missing) == len({self._maps.path_for(source.path, source.token) for source in job.images}):
            raise DataError(f'files: {found}; check --options source=DIR layout=PATTERN or preset=NAME')
        MMLogger.get_current_instance().warning(found)


@LABEL_GENERATORS.register_module('superpixels/files')
class SuperpixelFilesGenerator(MapFilesGenerator):
    """Superpixels made by other programs, as single-channel PNG files of 8 or 16 bits.

    Presets:

    - 'slidr': `<camera token>.png`, 150 ids, as written by SLidR's own script (`superpixels_slic`; for
      `superpixels_slic_30` give also `num_ids=30`).
    - 'seal': `<camera token>.png`, 8 bits. From the scripts of Segment-Any-Point-Cloud, which write
      `superpixels/nuscenes/superpixels_<network>`; how many ids its files hold is not documented. In those of
      Segment Anything, pixels under no mask have the id of the largest mask (0), and more than 256 masks wrapped.
    - 'superflow': the same layout. From SuperFlow's loader, which reads `openseed_inst17`; its configs say 17 ids.

    Args:
        source: Folder of the maps, relative to the data root unless absolute.
        preset: 'slidr', 'seal' or 'superflow'.
        layout: Path of an image's map below the folder, see `Manifest`; by default that of the image.
        num_ids: Ids are smaller than this number. By default that of the preset, else 256, which fits all 8-bit
            files.
        ignore_value: Value of pixels without id, None if every pixel has one.
    """

    kind = 'superpixels'
    ignored = NO_SUPERPIXEL
    presets: ClassVar = {
        'slidr': {'layout': '{token}.png', 'num_ids': 150},
        'seal': {'layout': '{token}.png', 'num_ids': 256},
        'superflow': {'layout': '{token}.png', 'num_ids': 256},
    }

    def __init__(
        self,
        source: str,
        preset: str | None = None,
        layout: str | None = None,
        num_ids: int | None = None,
        ignore_value: int | None = None,
    ) -> None:
        if num_ids is not None:
            check_num_ids('files', num_ids)
        elif preset is None:
            num_ids = 256
        super().__init__(source, preset, ignore_value, layout=layout, num_ids=num_ids)


@LABEL_GENERATORS.register_module('labels/files')
class LabelFilesGenerator(MapFilesGenerator):
    """Weak labels made by other programs, as single-channel PNG files.

    Preset 'olivine': `camseg/CAM_X/<image name>.png` as released with OLIVINE, 17 classes painted by SEEM. There,
    pixels that no mask covers have value 0, as has the class `barrier`. Left as they are, which is what the
    published results were trained with, everything uncovered counts as a barrier; `ignore_value=0` leaves out both,
    real barriers too. The files do not tell them apart.

    Args:
        source: Folder of the maps, relative to the data root unless absolute.
        preset: 'olivine'.
        layout: Path of an image's map below the folder, see `Manifest`; by default that of the image.
        classes: Class names in the order of their values, at most 255.
        ignore_value: Value of pixels without class, None if every pixel has one.
    """

    kind = 'labels'
    ignored = UNLABELED
    presets: ClassVar = {'olivine': {'layout': '{parent}/{stem}.png', 'classes': list(OLIVINE_CLASSES)}}

    def __init__(
        self,
        source: str,
        preset: str | None = None,
        layout: str | None = None,
        classes: Sequence[str] | str | None = None,
        ignore_value: int | None = None,
    ) -> None:
        if classes is not None or preset is None:
            classes = check_classes('files', classes or [])
        super().__init__(source, preset, ignore_value, layout=layout, classes=classes)


class _SourceFolder(MapFolder):
    """Maps without a manifest, described by the options of a generator."""

    def _hint(self, action: str) -> str:
        name = 'num_ids=N' if self.manifest.kind == 'superpixels' else 'classes=NAME,NAME,...'
        return f'get the file again, or give other --options {name} ignore_value=N layout=PATTERN with --overwrite'

"""Folders of a teacher's feature maps: one half-precision array per image beside a `manifest.json`."""

import inspect
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path, join, read_bytes
from peridot.maps.base import BaseMapFolder
from peridot.maps.manifest import read_manifest_of

KIND = 'teacher features'
TOOL = 'tools/make_teacher_features.py'
RESIZE = 'whole image, bilinear, aspect ratio not kept'
# bytes of the header of a NumPy file of this kind
HEADER = 128
# settings of a teacher that do not change its maps, which are always made in float32, or are kept in other fields
ELSEWHERE = ('align_corners', 'class_token', 'compile', 'dtype', 'image_size', 'init_cfg', 'out_indices')


@dataclass
class FeatureManifest:
    """What `manifest.json` says about the feature maps around it.

    Attributes:
        teacher: Settings of the image network, see `teacher_settings`.
        weights_hash: sha256 of its weights.
        image_size: [H, W] that every image is resized to.
        shape: [C, h, w] of a map.
        command: Command that made the maps and makes missing ones; quoted in error messages.
        images: Number of maps; None while they are being made.
        resize: How the images are resized.
        layout: Path of an image's map below the folder, as in `peridot.maps.Manifest`.
        kind: Tells these folders from those of per-pixel maps.
    """

    teacher: dict[str, Any]
    weights_hash: str
    image_size: list[int]
    shape: list[int]
    command: str
    images: int | None = None
    resize: str = RESIZE
    layout: str = '{relative_stem}.npy'
    kind: str = KIND

    @property
    def settings(self) -> dict:
        """The fields that must be equal for two runs to write into one folder."""
        return {name: value for name, value in asdict(self).items() if name not in ('command', 'images')}

    @property
    def file_size(self) -> int:
        """Bytes of one map's file."""
        return HEADER + 2 * int(np.prod(self.shape))


def teacher_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings that determine a teacher's maps, including defaults.

    Args:
        config: Config of the teacher; for a `peridot.StoredTeacher` that of the network it stands for. Of a weight
            file only the name counts, not the folder.
    """
    from peridot.registry import MODELS

    if config['type'] == 'peridot.StoredTeacher':
        config = config['teacher']
    network = MODELS.get(config['type'])
    if network is None:
        raise ConfigError(f'model.teacher.type={config["type"]!r} is not registered: check its name')
    defaults = {
        name: item.default
        for name, item in inspect.signature(network).parameters.items()
        if item.default is not inspect.Parameter.empty
    }
    settings = {name: value for name, value in {**defaults, **config}.items() if name not in ELSEWHERE}
    if settings.get('weights'):
        settings['weights'] = os.path.basename(settings['weights'])
    # as they are read from a manifest
    return json.loads(json.dumps(settings))


class FeatureFolder(BaseMapFolder):
    """Reads the feature maps of one folder and checks every one of them.

    Args:
        folder: Folder with `manifest.json`; relative to `data_root` unless absolute.
        data_root: Root of the dataset; image paths are taken relative to it.
        teacher: Config of the teacher the maps must be of; None accepts any.
        manifest: Used in place of the folder's `manifest.json`.
        backend_args: Arguments of mmengine's file back end, see `peridot.files`.

    Raises:
        DataError: The manifest is missing or wrong.
        ConfigError: The maps are of another teacher.
    """

    manifest: FeatureManifest

    def __init__(
        self,
        folder: str | os.PathLike,
        data_root: str | os.PathLike = '.',
        teacher: Mapping[str, Any] | None = None,
        manifest: FeatureManifest | None = None,
        backend_args: Mapping | None = None,
    ) -> None:
        manifest = manifest or read_feature_manifest(join(data_root, folder), backend_args)
        super().__init__(folder, data_root, manifest, backend_args)
        if teacher is not None:
            self._check_teacher(teacher_settings(teacher))

    @property
    def is_finished(self) -> bool:
        """Whether the run that makes these maps has ended."""
        return self.manifest.images is not None

    @property
    def command(self) -> str:
        """Command that makes these maps."""
        return self.manifest.command

    def describe(self) -> str:
        """One line about the folder: teacher, shape, first digits of the weights' hash."""
        manifest = self.manifest
        state = '' if self.is_finished else f', unfinished, to be completed with `{manifest.command}`'
        network = manifest.teacher.get('model', manifest.teacher['type'])
        shape = 'x'.join(map(str, manifest.shape))
        return f'{self.location}: {KIND} of {network}, {shape}, weights {manifest.weights_hash[:15]}{state}'

    def read(self, img_path: str | os.PathLike) -> np.ndarray:
        """Map of an image, float16 (h, w, C).

        Raises:
            DataError: The map is missing, damaged or of another shape than the manifest says.
        """
        path = self._location_of(img_path)
        try:
            values = np.load(io.BytesIO(read_bytes(path, self.backend_args)), allow_pickle=False)
        except FileNotFoundError:
            raise self._error(path, 'is missing') from None
        except Exception:  # a damaged header fails in any way
            raise self._error(path, 'is damaged') from None
        channels, height, width = self.manifest.shape
        if values.dtype != np.float16 or values.shape != (height, width, channels):
            found = f'{values.dtype} {values.shape}'
            raise self._error(path, f'holds {found}, the manifest says float16 {self.manifest.shape}')
        return values

    def is_valid(self, img_path: str | os.PathLike) -> bool:
        """Whether a map of the right length exists; as files are written atomically, it is then complete."""
        path = self.path_for(img_path)
        return path.is_file() and path.stat().st_size == self.manifest.file_size

    def write(self, img_path: str | os.PathLike, values: np.ndarray) -> None:
        """Write the map (h, w, C) of an image in half precision, atomically.

        Raises:
            DataError: A value is not finite, or too large for half precision.
        """
        with np.errstate(over='ignore'):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise DataError(
                f'the teacher gives {img_path} features that half precision (up to 65504) cannot hold: check '
                'model.teacher.weights, or train with the teacher itself'
            )
        path = self.path_for(img_path)
        with atomic_path(path) as temporary, open(temporary, 'wb') as file:
            np.save(file, half)

    def _check_teacher(self, expected: dict[str, Any]) -> None:
        found = self.manifest.teacher
        for name in sorted({*expected, *found}):
            if expected.get(name) != found.get(name):
                raise ConfigError(
                    f'{self.manifest_path}: the maps are of a teacher with {name}={found.get(name)!r}, the config '
                    f'has {expected.get(name)!r}: name another folder, or make them with `python {TOOL} CONFIG`'
                )


def read_feature_manifest(folder: str | os.PathLike, backend_args: Mapping | None = None) -> FeatureManifest:
    """Read and check `folder/manifest.json`.

    Args:
        folder: Path or URI of the folder.
        backend_args: Arguments of mmengine's file back end.

    Raises:
        DataError: The folder or its manifest is missing or not one of feature maps.
    """
    return read_manifest_of(TOOL, FeatureManifest, 'teacher features', folder, backend_args)

"""Folders of per-image maps (superpixels or weak labels): PNG files beside a `manifest.json`."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from PIL import Image

from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path

MANIFEST = 'manifest.json'
DEFAULT_LAYOUT = '{relative_stem}.png'
KINDS = ('superpixels', 'labels')
# of pixels without class in our label maps of 8 bits
UNLABELED = 255
TOOLS = {'superpixels': 'tools/make_superpixels.py', 'labels': 'tools/make_weak_labels.py'}
# those of generators and default folders that have a program of their own
OWN_TOOLS = {
    'lidar': 'tools/make_proposals.py',
    'proposals': 'tools/make_proposals.py',
    'segment-kmeans': 'tools/make_pseudo_labels.py',
    'segment-teacher': 'tools/make_teacher_labels.py',
}
DOCUMENTATION = 'docs/label_maps.md'
_SINGLE_CHANNEL_MODES = {'L', 'P', '1', 'I', 'I;16', 'I;16B'}


@dataclass
class Manifest:
    """What `manifest.json` says about the maps around it; users write the same fields for maps of their own.

    Attributes:
        kind: 'superpixels' (ids mean something within one image only) or 'labels' (one class list for all).
        generator: Registered name of the generator that made the maps; 'files' for maps made elsewhere.
        version: Version of the generator.
        parameters: Settings of the generator.
        layout: Path of an image's map below the folder, with the fields `{relative_stem}` (image path
            relative to the data root, without suffix), `{parent}`, `{stem}` and `{token}`.
        num_ids: Superpixels only: ids are smaller than this number in every map.
        classes: Labels only: class names in the order of their values.
        ignore: Value of pixels without id or class; None when every pixel has one.
        hash: `content_hash` of the maps; None while they are being made, optional in users' manifests.
        command: Command that made the maps and makes missing ones; quoted in error messages.
    """

    kind: str
    generator: str = 'files'
    version: str = '1'
    parameters: dict = field(default_factory=dict)
    layout: str = DEFAULT_LAYOUT
    num_ids: int | None = None
    classes: list[str] | None = None
    ignore: int | None = None
    hash: str | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f'kind must be one of {", ".join(KINDS)}, not {self.kind!r}')
        if self.kind == 'labels' and not _is_list_of_names(self.classes):
            raise DataError('classes must be a list of class names, in the order of their values')
        if self.kind == 'superpixels' and not (_is_int(self.num_ids) and 0 < self.num_ids <= 65535):
            raise DataError(f'num_ids must be a whole number from 1 to 65535, not {self.num_ids!r}')
        if self.ignore is not None and not (_is_int(self.ignore) and 0 <= self.ignore <= 65535):
            raise DataError(f'ignore must be null or a whole number from 0 to 65535, not {self.ignore!r}')
        try:
            self.layout.format(relative_stem='', parent='', stem='', token='')
        except (KeyError, IndexError, ValueError, AttributeError):
            raise DataError(
                f'layout {self.layout!r} may only use {{relative_stem}}, {{parent}}, {{stem}} and {{token}}'
            ) from None

    @property
    def limit(self) -> int:
        """Valid values are smaller than this number (or equal to `ignore`)."""
        return self.num_ids if self.kind == 'superpixels' else len(self.classes)

    @property
    def settings(self) -> dict:
        """The fields that must be equal for two runs to write into one folder."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in ('hash', 'command')}


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Read and check `folder/manifest.json`.

    Raises:
        DataError: The folder or its manifest is missing, or a field is missing or senseless.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        what = 'has no manifest.json' if path.parent.is_dir() else 'does not exist'
        tools = [OWN_TOOLS[path.parent.name]] if path.parent.name in OWN_TOOLS else TOOLS.values()
        programs = ' or '.join(f'`python {tool}`' for tool in tools)
        raise DataError(
            f'{path.parent} {what}: make maps with {programs}, or describe maps of your own as {DOCUMENTATION} says'
        )
    try:
        values = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise DataError(f'{path} cannot be read ({error}); see {DOCUMENTATION} for its fields') from None
    known = {item.name for item in fields(Manifest)}
    if not isinstance(values, dict) or 'kind' not in values:
        raise DataError(f'{path} has no field "kind"; see {DOCUMENTATION} for its fields')
    if unknown := sorted(set(values) - known - {'comment'}):
        raise DataError(f'{path}: unknown field(s) {", ".join(unknown)}; see {DOCUMENTATION} for the fields')
    values.pop('comment', None)
    try:
        return Manifest(**values)
    except DataError as error:
        raise DataError(f'{path}: {error}; see {DOCUMENTATION}') from None


def write_manifest(folder: str | os.PathLike, manifest: Manifest) -> None:
    """Write `folder/manifest.json` atomically (a reader sees the old file or the new one, never a part)."""
    with atomic_path(Path(folder) / MANIFEST) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=2) + '\n')


def write_map(path: str | os.PathLike, array: np.ndarray, dtype: type = np.uint8) -> None:
    """Write one map as a single-channel PNG, atomically.

    Args:
        path: File to write; its folder is made.
        array: (H, W) whole numbers.
        dtype: np.uint8 for an 8-bit PNG (labels), np.uint16 for a 16-bit one (superpixels).

    Raises:
        ValueError: The array is not two-dimensional or its values do not fit the type.
    """
    limits = np.iinfo(dtype)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f'a map has two dimensions, not shape {array.shape}')
    if array.min() < limits.min or array.max() > limits.max:
        raise ValueError(f'values {array.min()}..{array.max()} do not fit {limits.dtype}')
    with atomic_path(path) as temporary:
        Image.fromarray(array.astype(dtype)).save(temporary, format='PNG', compress_level=3)


def content_hash(folder: str | os.PathLike, paths: Iterable[str | os.PathLike]) -> str:
    """sha256 over the sorted lines `<path relative to folder> <CRC-32 of the file>`.

    It does not depend on the order of `paths`, on file times or on how many processes wrote the files.
    """
    lines = []
    for path in sorted({Path(path) for path in paths}):
        crc = zlib.crc32(path.read_bytes())
        lines.append(f'{path.relative_to(folder).as_posix()} {crc:08x}\n')
    return 'sha256:' + hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()


class MapFolder:
    """Reads the maps of one folder and checks every one of them.

    Args:
        folder: Folder with `manifest.json`; relative to `data_root` unless absolute.
        data_root: Root of the dataset; image paths are taken relative to it.
        kind: 'superpixels' or 'labels' if the reader needs that kind.
        generator: Name of the generator the reader asks for, None for any.
        manifest: Used in place of the folder's `manifest.json`.

    Attributes:
        manifest (Manifest): Checked content of the manifest.

    Raises:
        DataError: The manifest is missing or wrong, or of another kind or generator than asked for.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        data_root: str | os.PathLike = '.',
        kind: str | None = None,
        generator: str | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        self.data_root = os.path.abspath(data_root)
        self.folder = Path(data_root) / folder
        self.manifest = manifest or read_manifest(self.folder)
        for name, asked in (('kind', kind), ('generator', generator)):
            found = getattr(self.manifest, name)
            if asked is not None and found != asked:
                # the folder's own command makes what was not asked for
                command = self._tool(kind or self.manifest.kind, generator)
                raise DataError(
                    f'{self.folder / MANIFEST} describes maps of {name} {found!r} where {asked!r} is asked '
                    f'for: name another folder or make the maps with `{command}`'
                )

    @property
    def num_classes(self) -> int | None:
        """Number of classes of a label folder, None for superpixels."""
        return len(self.manifest.classes) if self.manifest.kind == 'labels' else None

    @property
    def num_ids(self) -> int | None:
        """Exclusive upper bound of the ids of a superpixel folder, None for labels."""
        return self.manifest.num_ids if self.manifest.kind == 'superpixels' else None

    @property
    def ignore(self) -> int | None:
        """Value of pixels without id or class, None when there is none."""
        return self.manifest.ignore

    @property
    def is_finished(self) -> bool:
        """Whether the run that makes these maps has ended; maps made elsewhere need no hash to be finished."""
        return self.manifest.hash is not None or self._is_foreign

    def path_for(self, img_path: str | os.PathLike, token: str | None = None) -> Path:
        """Path of an image's map.

        Args:
            img_path: Image file: absolute, relative to the data root, or starting with the data root.
            token: Token of the camera's sample data, for layouts that use it.
        """
        return self.folder / self._name_for(os.fspath(img_path), token)

    def missing(self, images: Iterable[tuple[str, str | None]]) -> list[str]:
        """Maps that do not exist, as sorted paths below the folder; every directory is listed once, no file opened.

        Args:
            images: (image file, token of the camera's sample data or None) of all images that need a map.
        """
        wanted: dict[str, set[str]] = {}
        for path, token in images:
            directory, name = os.path.split(self._name_for(path, token))
            wanted.setdefault(directory, set()).add(name)
        found = {directory: _names_in(self.folder / directory) for directory in wanted}
        return sorted(os.path.join(key, name) for key, names in wanted.items() for name in names - found[key])

    def check_exist(self, images: Sequence[tuple[str, str | None]]) -> None:
        """Refuse a folder that has no map for some of the images.

        Args:
            images: See `missing`.

        Raises:
            DataError: Counts the missing maps and names the first few and the command that makes them.
        """
        missing = self.missing(images)
        if missing:
            first = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
            state = '' if self.is_finished else ', and is unfinished (its manifest has no hash)'
            raise DataError(
                f'{self.folder} has no map for {len(missing)} of {len(images)} images '
                f'({first}){state}: {self._cure("make the missing ones")}'
            )

    def describe(self) -> str:
        """One line about the folder: generator, number of ids or classes, first digits of the hash."""
        manifest = self.manifest
        unit = 'ids at most' if manifest.kind == 'superpixels' else 'classes'
        if manifest.hash is not None:
            state = manifest.hash[:15]
        else:
            state = 'no hash' if self.is_finished else f'unfinished, to be completed with `{self._command()}`'
        return f'{self.folder}: {manifest.kind} of {manifest.generator!r}, {manifest.limit} {unit}, {state}'

    def _name_for(self, img_path: str, token: str | None) -> str:
        """Path of an image's map below the folder; plain strings, as it is called for all images of a dataset."""
        stem = os.path.splitext(self._relative(img_path))[0]
        layout = self.manifest.layout
        if '{token}' in layout and not token:
            raise DataError(
                f'{self.folder / MANIFEST}: layout {layout!r} needs a camera token, {img_path} has none; '
                f'use a layout of {{relative_stem}}, {{parent}} and {{stem}}'
            )
        parent, name = os.path.split(stem)
        return layout.format(relative_stem=stem, parent=os.path.basename(parent), stem=name, token=token)

    def read(self, img_path: str | os.PathLike, image_size: tuple[int, int], token: str | None = None) -> np.ndarray:
        """Map of an image.

        Args:
            img_path: Image file, see `path_for`.
            image_size: (height, width) of the image in the file, in pixels.
            token: Token of the camera's sample data, for layouts that use it.

        Returns:
            (H, W) array, uint16 for superpixels, uint8 (or uint16 where needed) for labels.

        Raises:
            DataError: The map is missing, damaged, of another size, or holds a value out of range.
        """
        return self.read_file(self.path_for(img_path, token), image_size)

    def ids(self, values: np.ndarray) -> np.ndarray:
        """Ids or classes that values of a map stand for, int32, -1 where there is none."""
        ids = values.astype(np.int32)
        if self.ignore is not None:
            ids[values == self.ignore] = -1
        return ids

    def read_file(self, path: Path, image_size: tuple[int, int] | None = None) -> np.ndarray:
        """Like `read`, for the path of the map itself; any size is right when `image_size` is None."""
        array = self._decode(path)
        self.check(path, array, image_size)
        if self.manifest.kind == 'superpixels':
            return array.astype(np.uint16, copy=False)
        return array if array.dtype == np.uint8 else array.astype(np.uint16, copy=False)

    def check(self, path: Path, array: np.ndarray, image_size: tuple[int, int] | None = None) -> None:
        """Check size and values of a map; `path` is named in the error.

        Raises:
            DataError: The map has another size than `image_size`, or a value that the manifest excludes.
        """
        if image_size is not None and array.shape != tuple(image_size):
            self._fail(path, '{}x{} pixels, its image has {}x{} (height x width)', *array.shape, *image_size)
        self._check_range(path, array)

    def _decode(self, path: Path) -> np.ndarray:
        try:
            with Image.open(path) as image:
                if image.mode not in _SINGLE_CHANNEL_MODES:
                    self._fail(path, 'is a {} image, a map has one channel', image.mode)
                array = np.array(image)
        except FileNotFoundError:
            self._fail(path, 'is missing')
        except (OSError, SyntaxError, ValueError) as error:
            self._fail(path, 'cannot be decoded ({})', str(error).splitlines()[0] if str(error) else 'damaged')
        return array.astype(np.uint8) if array.dtype == bool else array

    def _check_range(self, path: Path, array: np.ndarray) -> None:
        limit, ignore = self.manifest.limit, self.manifest.ignore
        if int(array.max()) < limit and int(array.min()) >= 0:
            return
        wrong = (array >= limit) | (array < 0)
        if ignore is not None:
            wrong &= array != ignore
        if wrong.any():
            noun = 'superpixel ids' if self.manifest.kind == 'superpixels' else 'classes'
            also = '' if ignore is None else f' and ignore value {ignore}'
            self._fail(path, 'holds value {}, the manifest declares {} {}{}', array[wrong][0], limit, noun, also)

    def _fail(self, path: Path, problem: str, *values: object) -> None:
        raise DataError(f'{self.manifest.kind} map {path} {problem.format(*values)}: {self._cure("remake it")}')

    @property
    def _is_foreign(self) -> bool:
        """Whether a user made the maps and wrote the manifest."""
        return self.manifest.generator == 'files' and not self.manifest.command

    def _cure(self, action: str) -> str:
        if self._is_foreign:
            return f'mend {self.folder / MANIFEST} or the files'
        return f'{action} with `{self._command()}`'

    def _command(self) -> str:
        """Command that makes these maps."""
        return self.manifest.command or self._tool(self.manifest.kind)

    def _tool(self, kind: str, generator: str | None = None) -> str:
        tool, data_root = OWN_TOOLS.get(generator, TOOLS[kind]), os.path.relpath(self.data_root)
        chosen = f' --generator {generator}' if generator and generator not in OWN_TOOLS else ''
        return f'python {tool} CONFIG --data-root {data_root}{chosen}'

    def _relative(self, img_path: str) -> str:
        root = self.data_root + os.sep
        absolute = os.path.abspath(img_path)
        if absolute.startswith(root):
            return absolute[len(root) :]
        if os.path.isabs(img_path):
            raise DataError(f'image {img_path} is not below the data root {self.data_root}: check --data-root')
        return os.path.normpath(img_path)


def check_same_settings(folder: Path, wanted: Manifest) -> None:
    """Refuse to continue a folder that was begun with other settings.

    Raises:
        ConfigError: Naming the first setting that differs and the two ways out.
    """
    found, asked = read_manifest(folder).settings, wanted.settings
    for key, value in asked.items():
        if json.loads(json.dumps(value)) != found[key]:
            pairs = [(key, found[key], value)]
            if key == 'parameters':
                names = sorted(set(found[key]) | set(value))
                pairs = [(name, found[key].get(name), value.get(name)) for name in names]
                pairs = [pair for pair in pairs if pair[1] != json.loads(json.dumps(pair[2]))]
            name, old, new = pairs[0]
            raise ConfigError(
                f'{folder / MANIFEST}: the maps there were made with {name}={old!r}, now it is {new!r}: '
                'write elsewhere with --out DIR or replace them with --overwrite'
            )


def _names_in(directory: Path) -> set[str]:
    """Names of the entries of a directory, none if it does not exist."""
    try:
        with os.scandir(directory) as entries:
            return {entry.name for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(item, str) for item in value)

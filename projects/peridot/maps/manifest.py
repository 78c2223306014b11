"""`manifest.json`, which describes the maps in its folder."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path, exists, read_bytes
from peridot.maps.tools import tools_for

MANIFEST = 'manifest.json'
DEFAULT_LAYOUT = '{relative_stem}.png'
# the forms of maps by the suffix of their files: images, which all programs read, and runs, which are read faster
PNG, RUNS = FORMS = '.png', '.runs'
RUNS_LAYOUT = f'{{relative_stem}}{RUNS}'
KINDS = ('superpixels', 'labels')
# largest value of a 16-bit map
LARGEST = 65535
DOCUMENTATION = 'docs/label_maps.md'
WAYS_OUT = 'write elsewhere with --out DIR or replace them with --overwrite'


@dataclass
class Manifest:
    """What `manifest.json` says about the maps around it; users write the same fields for maps of their own.

    Attributes:
        kind: 'superpixels' (ids mean something within one image only) or 'labels' (one class list for all).
        generator: Registered name of the generator that made the maps; 'files' for maps of other programs.
        version: Version of the generator.
        parameters: Settings of the generator.
        layout: Path of an image's map below the folder, with the fields `{relative_stem}` (image path
            relative to the data root, without suffix), `{parent}`, `{stem}` and `{token}`. Its suffix says the form
            of the files: `.runs` for those of `peridot.maps.runs`, otherwise images.
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
        if self.kind == 'superpixels' and not (_is_int(self.num_ids) and 0 < self.num_ids <= LARGEST):
            raise DataError(f'num_ids must be a whole number from 1 to {LARGEST}, not {self.num_ids!r}')
        if self.ignore is not None and not (_is_int(self.ignore) and 0 <= self.ignore <= LARGEST):
            raise DataError(f'ignore must be null or a whole number from 0 to {LARGEST}, not {self.ignore!r}')
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
        """The fields that must be equal for two runs to write into one folder; it keeps the layout that it has."""
        return {name: value for name, value in asdict(self).items() if name not in ('hash', 'command', 'layout')}


def read_json(path: str | os.PathLike, hint: str, backend_args: Mapping | None = None) -> Any:
    """Content of a manifest of any kind; None if there is no such file.

    Args:
        path: The file.
        hint: What to do about a damaged one, for the error.
        backend_args: Arguments of mmengine's file back end.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return json.loads(read_bytes(path, backend_args))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise DataError(f'{path} cannot be read ({error}): {hint}') from None


def read_manifest(folder: str | os.PathLike, backend_args: Mapping | None = None) -> Manifest:
    """Read and check `folder/manifest.json`.

    Args:
        folder: Path or URI of the folder.
        backend_args: Arguments of mmengine's file back end.

    Raises:
        DataError: The folder or its manifest is missing, or a field is missing or makes no sense.
    """
    folder = os.fspath(folder)
    path = os.path.join(folder, MANIFEST)
    values = read_json(path, f'see {DOCUMENTATION} for its fields', backend_args)
    if values is None:
        what = 'has no manifest.json' if exists(folder, backend_args, folder=True) else 'does not exist'
        programs = ' or '.join(f'`python {tool}`' for tool in tools_for(os.path.basename(folder)))
        raise DataError(
            f'{folder} {what}: make maps with {programs}, or describe maps of your own as {DOCUMENTATION} says'
        )
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


def write_manifest(folder: str | os.PathLike, manifest: Any) -> None:
    """Write `folder/manifest.json` atomically (a reader sees the old file or the new one, never a part of one).

    Args:
        folder: Folder of the maps.
        manifest: `Manifest`, or another dataclass of JSON values.
    """
    with atomic_path(Path(folder) / MANIFEST) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=2) + '\n')


def read_manifest_of(
    tool: str, kind: type, products: str, folder: str | os.PathLike, backend_args: Mapping | None = None
) -> Any:
    """Read and check `folder/manifest.json` of a tool that alone writes such folders.

    Args:
        tool: The program, for errors.
        kind: Dataclass of the manifest, whose field `kind` has a default.
        products: What lies in the folder, in words.
        folder: Path or URI of the folder.
        backend_args: Arguments of mmengine's file back end.

    Raises:
        DataError: The folder or its manifest is missing or not one of these.
    """
    path, hint = os.path.join(folder, MANIFEST), f'make the {products} with `python {tool} CONFIG`'
    values = read_json(path, hint, backend_args)
    if values is None:
        raise DataError(f'{path} does not exist: {hint}')
    names = {item.name for item in fields(kind)}
    if not isinstance(values, dict) or values.get('kind') != kind.kind or set(values) != names:
        raise DataError(f'{path} is not a manifest of {products}: name their folder, or {hint}')
    return kind(**values)


def was_begun(folder: Path, manifest: Any, read: Callable[[Path], Any] = read_manifest) -> bool:
    """Whether the folder holds a manifest of the same settings, so that its maps can be completed.

    Args:
        folder: Folder of the maps, which may be absent.
        manifest: Manifest of the maps to be made, with `layout` and `settings`.
        read: Reads such a manifest from a folder.

    Raises:
        ConfigError: The folder was begun with other settings, or holds maps without a manifest.
    """
    if (folder / MANIFEST).is_file():
        check_same_settings(folder / MANIFEST, read(folder).settings, manifest.settings)
        return True
    suffix = Path(manifest.layout).suffix
    suffixes = FORMS if suffix in FORMS else (suffix,)
    if found := next((path for path in folder.rglob('*') if path.suffix in suffixes), None):
        raise ConfigError(f'{folder} holds maps ({found.name}, ...) but no {MANIFEST}: {WAYS_OUT}')
    return False


def check_same_settings(path: Path, found: Mapping, wanted: Mapping) -> None:
    """Refuse to continue a folder that was begun with other settings.

    Args:
        path: Its manifest, named in the error.
        found: Settings in the manifest.
        wanted: Settings of this run.

    Raises:
        ConfigError: Naming the first setting that differs and the two options.
    """
    # as they are read from a manifest
    wanted = json.loads(json.dumps(wanted))
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            check_same_settings(path, old, new)
        elif old != new:
            raise ConfigError(f'{path}: the maps there were made with {name}={old!r}, now it is {new!r}: {WAYS_OUT}')


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(item, str) for item in value)

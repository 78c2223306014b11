"""Base of folders with one file per image: where the files are, and which are missing."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peridot.errors import DataError
from peridot.files import join, names_in
from peridot.maps.manifest import MANIFEST


class BaseMapFolder:
    """A folder with one map per image beside a `manifest.json`; subclasses read the maps.

    Args:
        folder: The folder; relative to `data_root` unless absolute.
        data_root: Root of the dataset; image paths are taken relative to it.
        manifest: What the manifest says, with the fields `kind` and `layout` of `Manifest`.
        backend_args: Arguments of mmengine's file back end, see `peridot.files`.

    Attributes:
        location: Path or URI of the folder.
    """

    # what is said about missing files
    lacking = 'has no map for {missing} of {total} images ({first})'

    def __init__(
        self,
        folder: str | os.PathLike,
        data_root: str | os.PathLike,
        manifest: Any,
        backend_args: Mapping | None = None,
    ) -> None:
        self.data_root = os.path.abspath(data_root)
        self.location = join(data_root, folder)
        self.manifest = manifest
        self.backend_args = backend_args

    @property
    def folder(self) -> Path:
        """The folder on a disk, for writing."""
        return Path(self.location)

    @property
    def manifest_path(self) -> str:
        """Path or URI of the manifest."""
        return os.path.join(self.location, MANIFEST)

    @property
    def is_finished(self) -> bool:
        """Whether the run that makes these maps has ended."""
        raise NotImplementedError

    @property
    def command(self) -> str:
        """Command that makes these maps."""
        raise NotImplementedError

    def path_for(self, img_path: str | os.PathLike, token: str | None = None) -> Path:
        """Path of an image's map on a disk.

        Args:
            img_path: Image file: absolute, relative to the data root, or starting with the data root.
            token: Token of the camera's sample data, for layouts that use it.
        """
        return Path(self._location_of(img_path, token))

    def missing(self, images: Iterable[tuple[str, str | None]]) -> list[str]:
        """Maps that do not exist, as sorted paths below the folder; every directory is listed once, no file is opened.

        Args:
            images: (image file, token of the camera's sample data or None) of all images that need a map.
        """
        needed: dict[str, set[str]] = {}
        for path, token in images:
            directory, name = os.path.split(self._name_for(path, token))
            needed.setdefault(directory, set()).add(name)
        existing = {key: names_in(os.path.join(self.location, key), self.backend_args) for key in needed}
        return sorted(
            os.path.join(key, name)
            for key, names in needed.items()
            for name in (() if existing[key] is None else names - existing[key])
        )

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
            lacking = self.lacking.format(missing=len(missing), total=len(images), first=first)
            raise DataError(f'{self.location} {lacking}{state}: {self._hint("make the missing ones")}')

    def _location_of(self, img_path: str | os.PathLike, token: str | None = None) -> str:
        """Path or URI of an image's map."""
        return os.path.join(self.location, self._name_for(os.fspath(img_path), token))

    def _name_for(self, img_path: str, token: str | None) -> str:
        """Path of an image's map below the folder; plain strings for speed, as it is called for all images."""
        stem = os.path.splitext(self._relative(img_path))[0]
        layout = self.manifest.layout
        if '{token}' in layout and not token:
            raise DataError(
                f'{self.manifest_path}: layout {layout!r} needs a camera token, {img_path} has none; '
                f'use a layout of {{relative_stem}}, {{parent}} and {{stem}}'
            )
        parent, name = os.path.split(stem)
        return layout.format(relative_stem=stem, parent=os.path.basename(parent), stem=name, token=token)

    def _error(self, path: str | os.PathLike, problem: str) -> DataError:
        """The error that a map cannot be used, with a hint."""
        return DataError(f'{self.manifest.kind} map {path} {problem}: {self._hint("remake it")}')

    def _hint(self, action: str) -> str:
        """Hint that says how to do something about these maps."""
        return f'{action} with `{self.command}`'

    def _relative(self, img_path: str) -> str:
        root = self.data_root + os.sep
        absolute = os.path.abspath(img_path)
        if absolute.startswith(root):
            return absolute[len(root) :]
        if os.path.isabs(img_path):
            raise DataError(f'{img_path} is not below the data root {self.data_root}: check --data-root')
        return os.path.normpath(img_path)

#!/usr/bin/env python3
"""Forms of label maps: runs against PNG files and compressed blocks of rows, on 1600x900 images of synthetic streets.

Prints, for every kind of map, the bytes of a file and the least milliseconds to write it, to read it whole, to read it
at 4,000 pixels below the horizon as the points of a camera fall, and in a random crop as superpixels are read. Blocks
are 50 rows each, compressed by zlib: what reading a part of the rows can gain with ordinary compression.

    python benchmarks/label_maps.py
"""

import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from load_sample import color_labels
from peridot.labels import SlicGenerator
from peridot.maps import Manifest, MapFolder, write_manifest, write_map
from peridot.maps.manifest import FORMS
from slic import make_photo

ROWS = 50
REPEATS = 10


class Folder:
    """A map in one of our forms, written and read as the loader does."""

    def __init__(self, root: Path, form: str, dtype: type) -> None:
        self.path, self.dtype = root / f'image{form}', dtype
        write_manifest(root, Manifest('superpixels', layout=f'{{stem}}{form}', num_ids=256))
        self.maps = MapFolder(root)

    def write(self, array: np.ndarray) -> None:
        """Write the file."""
        write_map(self.path, array, self.dtype)

    def read(self) -> np.ndarray:
        """The whole map."""
        return self.maps.read_file(self.path)

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Values at positions."""
        return self.maps.open('image.jpg', (900, 1600))[rows, columns]


class Blocks:
    """A map as blocks of rows, each compressed by zlib, of which the ones with the wanted rows are read."""

    def __init__(self, root: Path, dtype: type) -> None:
        self.path, self.dtype = root / 'image.blocks', dtype

    def write(self, array: np.ndarray) -> None:
        """Write an index and the blocks."""
        pixels = array.astype(self.dtype)
        blocks = [zlib.compress(pixels[top : top + ROWS].tobytes(), 3) for top in range(0, len(pixels), ROWS)]
        ends = np.cumsum([len(block) for block in blocks], dtype=np.uint32)
        self.path.write_bytes(np.uint32(len(blocks)).tobytes() + ends.tobytes() + b''.join(blocks))

    def read(self) -> np.ndarray:
        """The whole map."""
        return self.at(np.arange(900)[:, None], np.arange(1600))

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Values at positions."""
        data = self.path.read_bytes()
        count = int(np.frombuffer(data, np.uint32, 1)[0])
        ends = 4 * (count + 1) + np.concatenate([[0], np.frombuffer(data, np.uint32, count, 4)])
        pixels = np.empty((900, 1600), self.dtype)
        for block in np.unique(rows // ROWS):
            part = np.frombuffer(zlib.decompress(data[ends[block] : ends[block + 1]]), self.dtype)
            pixels[ROWS * block : ROWS * (block + 1)] = part.reshape(-1, 1600)
        return pixels[rows, columns]


def kinds_of_maps() -> dict[str, tuple[list[np.ndarray], type]]:
    """Maps (900, 1600) of two scenes and the type that they are written in, by name."""
    photos = [make_photo(scene) for scene in (0, 3)]
    images = [image for image, _ in photos]
    return {
        'superpixels, slic': ([SlicGenerator()(image) for image in images], np.uint16),
        'superpixels, slic scale=0.5': ([SlicGenerator(scale=0.5)(image) for image in images], np.uint16),
        'labels, k-means': ([color_labels(image) for image in images], np.uint8),
        'labels, true classes': ([category for _, category in photos], np.uint8),
    }


def least_ms(calls: dict[str, Callable], repeats: int = REPEATS) -> dict[str, float]:
    """Least CPU time of each, which take turns."""
    times = dict.fromkeys(calls, np.inf)
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name] = min(times[name], 1e3 * (time.process_time() - start))
    return times


def measure(root: Path, arrays: list[np.ndarray], dtype: type) -> dict[str, dict[str, float]]:
    """Bytes and milliseconds of each form, by what is done, as means over maps."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(350, 900, 4000), rng.integers(0, 1600, 4000)
    crop = np.linspace(90, 800, 224).astype(int)[:, None], np.linspace(160, 1420, 416).astype(int)
    forms = {form: Folder(root / form, form, dtype) for form in FORMS} | {'blocks': Blocks(root, dtype)}
    found = {what: dict.fromkeys(forms, 0.0) for what in ('bytes', 'write', 'whole', 'pixels', 'crop')}
    for array in arrays:
        todo = {
            'write': {name: partial(form.write, array) for name, form in forms.items()},
            'whole': {name: form.read for name, form in forms.items()},
            'pixels': {name: partial(form.at, *pixels) for name, form in forms.items()},
            'crop': {name: partial(form.at, *crop) for name, form in forms.items()},
        }
        times = {what: least_ms(calls) for what, calls in todo.items()}
        times['bytes'] = {name: form.path.stat().st_size for name, form in forms.items()}
        for form in forms.values():
            assert np.array_equal(form.read(), array)
            assert np.array_equal(form.at(*crop), array[crop])
        for what, values in times.items():
            for name, value in values.items():
                found[what][name] += value / len(arrays)
    return found


def main() -> None:
    """Measure all kinds of maps, print numbers and ratios."""
    for kind, (arrays, dtype) in kinds_of_maps().items():
        print(f'\n{kind:30s}' + ''.join(f'{name:>10s}' for name in (*FORMS, 'blocks', 'PNG/runs')))
        with tempfile.TemporaryDirectory() as folder:
            for what, values in measure(Path(folder), arrays, dtype).items():
                row = ''.join(f'{value:10.0f}' if what == 'bytes' else f'{value:10.2f}' for value in values.values())
                print(f'  {what:28s}{row}{values[".png"] / values[".runs"]:10.2f}')


if __name__ == '__main__':
    main()

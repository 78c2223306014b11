import json
import os
from pathlib import Path

import numpy as np
import pytest
from peridot.errors import ConfigError, DataError
from peridot.labels import SlicGenerator, make_maps
from peridot.labels.convert_maps import convert_maps
from peridot.maps import MapFolder, write_map
from peridot.maps.manifest import DEFAULT_LAYOUT, PNG, RUNS
from PIL import Image

SIZE = (90, 160)


@pytest.fixture
def superpixels(job) -> MapFolder:
    """Maps of 8 images as PNG files."""
    return make_maps(SlicGenerator(n_segments=20), job('sp'), layout=DEFAULT_LAYOUT)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


@pytest.mark.parametrize('workers', [1, 2])
def test_there_and_back(superpixels, job, workers):
    before, arrays = content(superpixels.folder), [superpixels.read(s.path, SIZE) for s in job('sp').images]
    made = convert_maps(superpixels.folder, RUNS, workers)
    assert made.manifest.layout == '{relative_stem}.runs' and made.manifest.hash == superpixels.manifest.hash
    assert names(made.folder) == {name.replace('.png', '.runs') for name in before}
    for source, array in zip(job('sp').images, arrays):
        found = job('sp').maps().read(source.path, SIZE)
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, array)
    assert sum(map(len, content(made.folder).values())) < sum(map(len, before.values()))
    # the generator keeps them
    runs = content(made.folder)
    assert make_maps(SlicGenerator(n_segments=20), job('sp')).manifest == made.manifest
    assert content(made.folder) == runs
    convert_maps(superpixels.folder, PNG, workers)
    assert content(superpixels.folder) == before


def test_a_folder_of_images_is_continued_in_its_form(superpixels, job):
    lost = superpixels.path_for(job('sp').images[3].path)
    before = lost.read_bytes()
    lost.unlink()
    maps = make_maps(SlicGenerator(n_segments=20), job('sp'))
    assert lost.read_bytes() == before and maps.manifest == superpixels.manifest
    # made anew, it has the usual form
    maps = make_maps(SlicGenerator(n_segments=10), job('sp'), overwrite=True)
    assert {Path(name).suffix for name in names(maps.folder)} == {'.runs', '.json'}


def test_maps_of_other_programs(tmp_path, run_tool):
    folder = tmp_path / 'theirs'
    folder.mkdir()
    text = json.dumps({'kind': 'labels', 'layout': '{token}.png', 'classes': ['a', 'b'], 'ignore': 9, 'comment': 'us'})
    (folder / 'manifest.json').write_text(text)
    array = np.array([[0, 1, 9], [0, 0, 1]], np.uint8)
    palette = Image.fromarray(array, mode='P')
    palette.putpalette(range(30))
    palette.save(folder / 'one.png')
    write_map(folder / 'two.png', array, np.uint16)
    run_tool('convert_maps', folder)
    assert json.loads((folder / 'manifest.json').read_text()) == {**json.loads(text), 'layout': '{token}.runs'}
    for token in ('one', 'two'):
        np.testing.assert_array_equal(MapFolder(folder).read('x.jpg', (2, 3), token), array)
    run_tool('convert_maps', folder, '--to', 'png', '--workers', 1)
    assert names(folder) == {'manifest.json', 'one.png', 'two.png'}
    with Image.open(folder / 'one.png') as image:
        np.testing.assert_array_equal(np.asarray(image), array)
    with pytest.raises(SystemExit, match=r'^error: .*nowhere does not exist: make maps with .*'):
        run_tool('convert_maps', tmp_path / 'nowhere')


def stop_at(call: int, function):
    calls = []

    def stopping(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    return stopping


def test_an_interrupted_conversion_leaves_the_old_form_and_continues(superpixels, monkeypatch):
    before = content(superpixels.folder)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, 'replace', stop_at(4, os.replace))
        convert_maps(superpixels.folder, RUNS)
    assert {name: (superpixels.folder / name).read_bytes() for name in before} == before
    done = {path: path.stat().st_mtime_ns for path in superpixels.folder.rglob('*.runs')}
    assert len(done) == 3
    made = convert_maps(superpixels.folder, RUNS)
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert names(made.folder) == {name.replace('.png', '.runs') for name in before}


def test_an_interrupted_removal_leaves_the_new_form_and_continues(superpixels, job, monkeypatch):
    before = names(superpixels.folder)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, 'unlink', stop_at(4, Path.unlink))
        convert_maps(superpixels.folder, RUNS)
    maps = job('sp').maps()
    assert len(list(maps.folder.rglob('*.png'))) == 5
    assert not maps.missing([(source.path, None) for source in job('sp').images])
    convert_maps(maps.folder, RUNS)
    assert names(maps.folder) == {name.replace('.png', '.runs') for name in before}


def test_files_of_an_earlier_conversion_are_not_trusted(superpixels, job):
    first, second = (superpixels.path_for(source.path) for source in job('sp').images[:2])
    write_map(first.with_suffix('.runs'), np.zeros(SIZE, int), np.uint16)
    second.with_suffix('.runs').write_bytes(b'half')
    expected = [superpixels.read_file(path) for path in (first, second)]
    made = convert_maps(superpixels.folder, RUNS)
    for path, array in zip((first, second), expected):
        np.testing.assert_array_equal(made.read_file(path.with_suffix('.runs')), array)


def test_a_damaged_map_is_named_and_the_folder_keeps_its_form(superpixels, job):
    paths = [superpixels.path_for(source.path) for source in job('sp').images[:2]]
    paths[0].write_bytes(paths[0].read_bytes()[:80])
    write_map(paths[1], np.full(SIZE, 20), np.uint16)
    with pytest.raises(DataError, match=r'\(and 1 more of 8 images\); the other maps are done') as error:
        convert_maps(superpixels.folder, RUNS)
    assert '\n' not in str(error.value) and '`python tools/make_superpixels.py' in str(error.value)
    assert job('sp').maps().manifest == superpixels.manifest
    assert len(list(superpixels.folder.rglob('*.runs'))) == 6 and len(list(superpixels.folder.rglob('*.png'))) == 8


@pytest.mark.parametrize('suffix', ['.png', '.runs'])
def test_maps_of_either_form_without_a_manifest_are_not_overwritten(superpixels, job, suffix):
    convert_maps(superpixels.folder, suffix)
    (superpixels.folder / 'manifest.json').unlink()
    with pytest.raises(ConfigError, match=rf'holds maps \(.*\{suffix}, \.\.\.\) but no manifest\.json'):
        make_maps(SlicGenerator(n_segments=20), job('sp'))

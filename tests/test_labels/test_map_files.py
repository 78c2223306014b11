from pathlib import Path

import numpy as np
import pytest
from peridot.errors import ConfigError, DataError
from peridot.labels import LabelFilesGenerator, SuperpixelFilesGenerator, make_maps
from peridot.labels.map_files import OLIVINE_CLASSES
from peridot.maps import MapFolder
from PIL import Image

REPO = Path(__file__).resolve().parents[2]

SIZE = (90, 160)


@pytest.fixture
def foreign(street, job):
    """Writes 8-bit maps as someone else would: `foreign(layout, top)` gives the folder and the maps by image."""

    def write(layout: str, top: int, folder: str = 'theirs') -> tuple[Path, dict[str, np.ndarray]]:
        rng, maps = np.random.default_rng(0), {}
        for source in job('').images:
            path = Path(source.path)
            name = layout.format(token=source.token, parent=path.parent.name, stem=path.stem)
            maps[source.path] = rng.integers(0, top, SIZE).astype(np.uint8)
            (street / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(maps[source.path]).save(street / folder / name)
        return street / folder, maps

    return write


def one_line(error) -> str:
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(('preset', 'num_ids'), [('slidr', 150), ('seal', 256), ('superflow', 256), (None, 256)])
def test_superpixels_of_others(foreign, job, street, preset, num_ids):
    _, expected = foreign('{token}.png', num_ids)
    layout = None if preset else '{token}.png'
    make_maps(SuperpixelFilesGenerator('theirs', preset, layout), job('superpixels/files'))
    maps = MapFolder('superpixels/files', street, kind='superpixels', generator='files')
    assert (maps.num_ids, maps.ignore) == (num_ids, None)
    for path, ids in expected.items():
        np.testing.assert_array_equal(maps.read(path, SIZE), ids)
        assert maps.path_for(path).suffix == '.runs'
    assert maps.manifest.parameters == {'source': 'theirs', 'layout': '{token}.png', 'ignore_value': None}


@pytest.mark.parametrize('ignore_value', [None, 0])
def test_labels_of_olivine(foreign, job, ignore_value):
    _, expected = foreign('{parent}/{stem}.png', 17, 'camseg')
    maps = make_maps(LabelFilesGenerator('camseg', 'olivine', ignore_value=ignore_value), job('weak_labels/files'))
    assert maps.manifest.classes == list(OLIVINE_CLASSES) and maps.num_classes == 17
    assert (OLIVINE_CLASSES[0], OLIVINE_CLASSES[10], OLIVINE_CLASSES[16]) == ('barrier', 'road', 'background')
    assert maps.ignore == (None if ignore_value is None else 255)
    for path, labels in expected.items():
        if ignore_value == 0:
            labels = np.where(labels == 0, 255, labels)
        np.testing.assert_array_equal(maps.read(path, SIZE), labels)


def test_settings_go_before_the_preset(foreign, job):
    _, expected = foreign('x/{token}.png', 30)
    generator = SuperpixelFilesGenerator('theirs', 'slidr', layout='x/{token}.png', num_ids=30, ignore_value=7)
    maps = make_maps(generator, job('superpixels/files'))
    assert (maps.num_ids, maps.ignore) == (30, 65535)
    for path, ids in expected.items():
        np.testing.assert_array_equal(maps.read(path, SIZE), np.where(ids == 7, 65535, ids))


def test_missing_maps_are_counted_and_listed(foreign, job, log):
    folder, _ = foreign('{token}.png', 150)
    for token in ('CAM_FRONT-1', 'CAM_BACK-2'):
        (folder / f'{token}.png').unlink()
    (folder / 'CAM_BACK-3.png').write_bytes(b'')
    with pytest.raises(DataError, match=r'superpixels map .* \(and 2 more of 8 images\); the other maps are done'):
        make_maps(SuperpixelFilesGenerator('theirs', 'slidr'), job('superpixels/files'))
    assert '2 of 8 maps are missing in' in log.text and 'theirs: CAM_BACK-2.png, CAM_FRONT-1.png\n' in log.text
    out = job('superpixels/files').out
    assert len(list(out.rglob('*.runs'))) == 5 and not list(out.rglob('.*.part'))
    assert job('superpixels/files').maps().manifest.hash is None


def test_no_map_at_all_writes_nothing(foreign, job):
    foreign('{token}.png', 150)
    with pytest.raises(DataError, match=r'8 of 8 maps are missing in .*check --options source=DIR') as error:
        make_maps(LabelFilesGenerator('theirs', 'olivine'), job('weak_labels/files'))
    assert 'CAM_BACK/0.png' in one_line(error)
    with pytest.raises(DataError, match=r'the folder .*absent does not exist') as error:
        make_maps(SuperpixelFilesGenerator('absent', 'slidr'), job('weak_labels/files'))
    one_line(error)
    assert not job('weak_labels/files').out.exists()


@pytest.mark.parametrize(
    ('make', 'problem'),
    [
        (lambda: SuperpixelFilesGenerator('theirs', 'slidr', num_ids=9), 'declares 9 superpixel ids.* num_ids=N'),
        (lambda: LabelFilesGenerator('theirs', None, '{token}.png', ['a', 'b']), 'declares 2 classes: .*classes=NAME'),
    ],
)
def test_values_outside_what_is_declared(foreign, job, make, problem):
    foreign('{token}.png', 40)
    with pytest.raises(DataError, match=rf'theirs/CAM_FRONT-0\.png holds value \d+, the manifest {problem}') as error:
        make_maps(make(), job('x'))
    assert 'and 7 more of 8 images' in one_line(error)
    assert [path.name for path in job('x').out.rglob('*')] == ['manifest.json']


def test_a_map_of_another_size_names_the_source(foreign, job):
    folder, _ = foreign('{token}.png', 40)
    Image.new('L', (3, 3)).save(folder / 'CAM_FRONT-0.png')
    with pytest.raises(
        DataError, match=r'theirs/CAM_FRONT-0\.png has 3x3 pixels, its image has 90x160.*get the file again'
    ):
        make_maps(SuperpixelFilesGenerator('theirs', 'slidr'), job('x'))


@pytest.mark.parametrize(
    ('classes', 'problem'),
    [
        ([], 'is empty'),
        (None, 'is empty'),
        (['car', 'bus', 'car'], "names 'car' twice"),
        (['car', 3], 'holds 3, which is not a name'),
        (['car', ' '], "holds ' ', which is not a name"),
        ([str(number) for number in range(256)], 'has 256 names, 8-bit labels hold at most 255'),
    ],
)
def test_class_lists_that_cannot_be(classes, problem):
    with pytest.raises(ConfigError, match=f'files: the class list {problem}: give --options classes=') as error:
        LabelFilesGenerator('theirs', classes=classes)
    one_line(error)


def test_senseless_settings(foreign, job):
    with pytest.raises(ConfigError, match=r"preset='olivine' of superpixels: choose from slidr, seal, superflow"):
        SuperpixelFilesGenerator('theirs', 'olivine')
    with pytest.raises(ConfigError, match='files: num_ids=0 must lie between'):
        SuperpixelFilesGenerator('theirs', num_ids=0)
    foreign('{token}.png', 40)
    without_tokens = job('x')
    without_tokens.images = [type(source)(source.path, None, source.key) for source in without_tokens.images]
    with pytest.raises(ConfigError, match='needs camera tokens, which the images do not have'):
        make_maps(SuperpixelFilesGenerator('theirs', 'slidr'), without_tokens)


@pytest.mark.parametrize(('kind', 'folder'), [('superpixels', 'superpixels'), ('labels', 'weak_labels')])
def test_one_name_serves_both_kinds_on_the_command_line(foreign, street, run_tool, kind, folder):
    foreign('{parent}/{stem}.png', 17)
    preset, tool = {'superpixels': ('slidr', 'make_superpixels'), 'labels': ('olivine', 'make_weak_labels')}[kind]
    options = ['source=theirs', f'preset={preset}', 'layout={parent}/{stem}.png', 'ignore_value=0']
    run_tool(tool, street / 'config.py', '--generator', 'files', '--workers', 0, '--options', *options)
    assert MapFolder(f'{folder}/files', street, kind, 'files').manifest.hash

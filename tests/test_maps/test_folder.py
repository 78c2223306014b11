import hashlib
import json
import struct
import zlib

import numpy as np
import pytest
from peridot.errors import ConfigError, DataError
from peridot.maps import Manifest, MapFolder, content_hash, read_manifest, write_manifest, write_map
from peridot.maps.folder import pixel_crc
from peridot.maps.manifest import check_same_settings
from PIL import Image

SIZE = (20, 30)
IMAGE = 'samples/CAM_FRONT/a__b.jpg'


def superpixels(root, array, **fields):
    write_manifest_in(root, 'sp', Manifest(kind='superpixels', generator='slic', **{'num_ids': 300, **fields}))
    write_map(root / 'sp/samples/CAM_FRONT/a__b.png', array, np.uint16)
    return MapFolder('sp', root)


def labels(root, array, **fields):
    write_manifest_in(root, 'lb', Manifest(kind='labels', classes=['road', 'car'], **{'ignore': 255, **fields}))
    write_map(root / 'lb/samples/CAM_FRONT/a__b.png', array)
    return MapFolder('lb', root)


def write_manifest_in(root, folder, manifest):
    (root / folder).mkdir(exist_ok=True)
    write_manifest(root / folder, manifest)


def test_superpixels_are_kept_with_16_bits(tmp_path):
    ids = np.arange(600).reshape(SIZE) % 300
    maps = superpixels(tmp_path, ids)
    for path in (IMAGE, tmp_path / IMAGE):
        found = maps.read(path, SIZE)
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, ids)
    assert (maps.num_ids, maps.num_classes, maps.ignore) == (300, None, None)
    with Image.open(maps.path_for(IMAGE)) as image:
        assert image.mode == 'I;16'
    assert not list((tmp_path / 'sp').rglob('*.part'))


def test_labels_are_kept_with_8_bits(tmp_path):
    array = np.array([[0, 1, 255] * 10] * 20)
    maps = labels(tmp_path, array)
    found = maps.read(IMAGE, SIZE)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)
    assert (maps.num_ids, maps.num_classes, maps.ignore) == (None, 2, 255)


def test_palette_and_16_bit_labels_are_read(tmp_path):
    array = np.array([[0, 1] * 15] * 20)
    maps = labels(tmp_path, array)
    image = Image.fromarray(array.astype(np.uint8), mode='P')
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.save(maps.path_for(IMAGE))
    np.testing.assert_array_equal(maps.read(IMAGE, SIZE), array)
    write_map(maps.path_for(IMAGE), array, np.uint16)
    np.testing.assert_array_equal(maps.read(IMAGE, SIZE), array)


@pytest.mark.parametrize(
    ('layout', 'expected'),
    [
        ('{relative_stem}.png', 'samples/CAM_FRONT/a__b.png'),
        ('{parent}/{stem}.png', 'CAM_FRONT/a__b.png'),
        ('{token}.png', '0123.png'),
    ],
)
def test_layouts(tmp_path, layout, expected):
    write_manifest_in(tmp_path, 'sp', Manifest(kind='superpixels', num_ids=2, layout=layout))
    assert MapFolder('sp', tmp_path).path_for(IMAGE, token='0123') == tmp_path / 'sp' / expected


def test_a_samples_folder_above_the_data_root_stays(tmp_path):
    root = tmp_path / 'samples' / 'jpg.set'
    root.mkdir(parents=True)
    write_manifest_in(root, 'sp', Manifest(kind='superpixels', num_ids=2))
    assert MapFolder('sp', root).path_for(root / IMAGE) == root / 'sp/samples/CAM_FRONT/a__b.png'
    with pytest.raises(DataError, match='not below the data root'):
        MapFolder('sp', root).path_for(tmp_path / 'x.jpg')


def test_token_layout_without_token_is_an_error(tmp_path):
    write_manifest_in(tmp_path, 'sp', Manifest(kind='superpixels', num_ids=2, layout='{token}.png'))
    with pytest.raises(DataError, match='needs a camera token'):
        MapFolder('sp', tmp_path).path_for(IMAGE)


def one_line(error) -> str:
    assert '\n' not in str(error.value)
    return str(error.value)


def test_map_of_another_size(tmp_path):
    maps = superpixels(tmp_path, np.zeros((10, 30), int))
    with pytest.raises(DataError, match='has 10x30 pixels, its image has 20x30') as error:
        maps.read(IMAGE, SIZE)
    assert 'a__b.png' in one_line(error) and 'python tools/make_superpixels.py' in one_line(error)


def test_missing_map(tmp_path):
    maps = superpixels(tmp_path, np.zeros(SIZE, int))
    with pytest.raises(DataError, match=r'is missing: remake it with `python tools/make_superpixels\.py') as error:
        maps.read('samples/CAM_FRONT/other.jpg', SIZE)
    assert 'other.png' in one_line(error)


def test_superpixel_id_at_the_declared_maximum(tmp_path):
    with pytest.raises(DataError, match='holds value 300, the manifest declares 300 superpixel ids'):
        superpixels(tmp_path, np.full(SIZE, 300)).read(IMAGE, SIZE)


def test_label_outside_the_class_list(tmp_path):
    array = np.zeros(SIZE, int)
    array[3, 4] = 2
    with pytest.raises(DataError, match='holds value 2, the manifest declares 2 classes and ignore value 255'):
        labels(tmp_path, array).read(IMAGE, SIZE)
    with pytest.raises(DataError, match='holds value 255, the manifest declares 2 classes: fix'):
        labels(tmp_path, np.full(SIZE, 255), ignore=None).read(IMAGE, SIZE)


@pytest.mark.parametrize('keep', [0, 10, 60, 0.7, 0.95])
def test_truncated_png(tmp_path, keep):
    maps = superpixels(tmp_path, np.random.default_rng(0).integers(0, 300, SIZE), command='python remake')
    path = maps.path_for(IMAGE)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r'a__b.png cannot be decoded .*: remake it with `python remake`') as error:
        maps.read(IMAGE, SIZE)
    one_line(error)


def test_color_image_is_no_map(tmp_path):
    maps = superpixels(tmp_path, np.zeros(SIZE, int))
    Image.new('RGB', SIZE[::-1]).save(maps.path_for(IMAGE))
    with pytest.raises(DataError, match='is a RGB image, a map has one channel'):
        maps.read(IMAGE, SIZE)


def test_manifest_absent(tmp_path):
    with pytest.raises(DataError, match=r'does not exist: make maps with `python tools/make_superpixels\.py'):
        MapFolder('sp', tmp_path)
    (tmp_path / 'sp').mkdir()
    with pytest.raises(DataError, match=r'has no manifest\.json'):
        MapFolder('sp', tmp_path)


@pytest.mark.parametrize(
    ('folder', 'tool'),
    [
        ('drive_and_segment/proposals', 'make_proposals'),
        ('weak_labels/segment-kmeans', 'make_pseudo_labels'),
        ('weak_labels/segment-teacher', 'make_teacher_labels'),
    ],
)
def test_missing_folders_name_the_program_that_fills_them(tmp_path, folder, tool):
    with pytest.raises(DataError, match=rf'does not exist: make maps with `python tools/{tool}\.py`, or describe'):
        MapFolder(folder, tmp_path)


def test_asked_generators_with_a_program_of_their_own(tmp_path):
    write_manifest(tmp_path, Manifest('superpixels', 'slic', num_ids=9))
    with pytest.raises(
        DataError, match=r"generator 'slic', but 'lidar' is needed.*`python tools/make_proposals\.py"
    ) as error:
        MapFolder('.', tmp_path, generator='lidar')
    assert '--generator' not in one_line(error)


def test_manifest_of_another_kind_or_generator(tmp_path):
    superpixels(tmp_path, np.zeros(SIZE, int))
    with pytest.raises(DataError, match=r"kind 'superpixels', but 'labels' is needed.*make_weak_labels"):
        MapFolder('sp', tmp_path, kind='labels')
    with pytest.raises(DataError, match="generator 'slic', but 'sam' is needed"):
        MapFolder('sp', tmp_path, kind='superpixels', generator='sam')


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        ('{"kind": "labels", ', 'cannot be read'),
        ('[]', 'no field "kind"'),
        ('{"kind": "boxes"}', 'kind must be one of'),
        ('{"kind": "labels"}', 'classes must be a list'),
        ('{"kind": "superpixels", "num_ids": 0}', 'num_ids must be'),
        ('{"kind": "superpixels", "num_ids": 3, "ignore": "x"}', 'ignore must be'),
        ('{"kind": "superpixels", "num_ids": 3, "layout": "{camera}.png"}', 'layout'),
        ('{"kind": "superpixels", "num_ids": 3, "numids": 4}', r'unknown field\(s\) numids'),
    ],
)
def test_senseless_manifest(tmp_path, content, problem):
    (tmp_path / 'manifest.json').write_text(content)
    with pytest.raises(DataError, match=f'manifest.json.*{problem}') as error:
        MapFolder(tmp_path)
    assert 'docs/label_maps.md' in one_line(error)


def test_a_manifest_written_by_hand_is_enough(tmp_path):
    folder = tmp_path / 'camseg'
    (folder / 'CAM_FRONT').mkdir(parents=True)
    manifest = {'kind': 'labels', 'classes': ['road', 'car'], 'ignore': None, 'layout': '{parent}/{stem}.png'}
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    Image.new('L', SIZE[::-1], 1).save(folder / 'CAM_FRONT' / 'a__b.png')
    maps = MapFolder('camseg', tmp_path, kind='labels', generator='files')
    assert (maps.read(IMAGE, SIZE) == 1).all()


def test_write_map_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match='do not fit uint8'):
        write_map(tmp_path / 'x.png', np.full(SIZE, 256))
    with pytest.raises(ValueError, match='do not fit uint16'):
        write_map(tmp_path / 'x.png', np.full(SIZE, -1), np.uint16)
    with pytest.raises(ValueError, match='two dimensions'):
        write_map(tmp_path / 'x.png', np.zeros((2, 2, 3)))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_map(tmp_path / 'x.png', np.zeros(SIZE, int))
    before = (tmp_path / 'x.png').read_bytes()

    def interrupted(image, path, **options):
        path.write_bytes(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_map(tmp_path / 'x.png', np.ones(SIZE, int))
    assert [path.name for path in tmp_path.iterdir()] == ['x.png']
    assert (tmp_path / 'x.png').read_bytes() == before


def test_hash_depends_on_names_and_content_alone(tmp_path):
    crcs = {tmp_path / f'{name}.png': pixel_crc(np.full(SIZE, value)) for name, value in (('a', 0), ('b/c', 1))}
    first = content_hash(tmp_path, crcs)
    line = struct.pack('<600H', *[1] * 600)
    lines = f'a {zlib.crc32(bytes(1200)):08x}\nb/c {zlib.crc32(line):08x}\n'
    assert first == 'sha256:' + hashlib.sha256(lines.encode()).hexdigest()
    assert content_hash(tmp_path, dict(reversed(crcs.items()))) == first
    assert content_hash(tmp_path, {path.with_suffix('.runs'): crc for path, crc in crcs.items()}) == first
    assert content_hash(tmp_path, {**crcs, tmp_path / 'a.png': pixel_crc(np.full(SIZE, 7))}) != first
    assert content_hash(tmp_path, {path.with_name(f'_{path.name}'): crc for path, crc in crcs.items()}) != first


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32, np.int64])
def test_the_type_of_a_map_does_not_change_its_hash(dtype):
    assert pixel_crc(np.arange(6, dtype=dtype).reshape(2, 3)[:, ::-1]) == zlib.crc32(
        struct.pack('<6H', 2, 1, 0, 5, 4, 3)
    )


def test_settings_must_be_the_same(tmp_path):
    old = Manifest(kind='superpixels', generator='slic', num_ids=9, parameters={'sigma': 3.0, 'size': (1, 2)})
    write_manifest(tmp_path, old)
    found = read_manifest(tmp_path)
    check_same_settings(tmp_path, found.settings, old.settings)
    assert found.parameters['size'] == [1, 2]
    new = Manifest(kind='superpixels', generator='slic', num_ids=9, parameters={'sigma': 1.0, 'size': (1, 2)})
    with pytest.raises(ConfigError, match=r'sigma=3.0, now it is 1.0: write elsewhere with --out DIR or .*--over'):
        check_same_settings(tmp_path, found.settings, new.settings)


def test_a_map_that_is_too_wide_for_runs_is_named(tmp_path):
    with pytest.raises(DataError, match=r'wide\.runs: maps of runs are at most 65535 pixels wide, this has 70000'):
        write_map(tmp_path / 'wide.runs', np.zeros((1, 70000), np.uint8))

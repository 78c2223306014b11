"""Points and labels of every kind of file, and damaged ones."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.recfunctions import repack_fields
from peridot.datasets.recordings.calibration import PointFormat
from peridot.datasets.recordings.point_files import keeps_bytes, read_labels, read_points
from peridot.errors import DataError
from plyfile import PlyData, PlyElement
from pypcd4 import Encoding, PointCloud

NAMES = ('x', 'y', 'z', 'intensity', 'ring')
TYPES = (np.float32, np.float32, np.float32, np.uint8, np.uint16)
ROW = np.dtype(list(zip(NAMES, TYPES)))
TABLE = np.zeros(5000, ROW)
RNG = np.random.default_rng(0)
for name in 'xyz':
    TABLE[name] = RNG.uniform(-50, 50, len(TABLE)).round(3)
TABLE['intensity'], TABLE['ring'] = RNG.integers(0, 256, len(TABLE)), RNG.integers(0, 64, len(TABLE))
EXPECTED = np.stack([*(TABLE[name] for name in 'xyz'), TABLE['intensity'] / np.float32(255)], 1).astype(np.float32)


def form(**changes) -> PointFormat:
    return PointFormat(
        **{'columns': NAMES, 'row': ROW, 'intensity': 'intensity', 'intensity_range': (0, 255), 'unit': 1.0, **changes}
    )


def write_bin(path: Path) -> None:
    TABLE.tofile(path)


def write_rows(path: Path) -> None:
    np.save(path, np.stack([TABLE[name].astype(np.float32) for name in NAMES], 1))


def write_named(path: Path) -> None:
    np.save(path, repack_fields(TABLE[['ring', 'intensity', 'z', 'y', 'x']]))


def write_pcd(encoding: Encoding):
    def write(path: Path) -> None:
        PointCloud.from_points([TABLE[name] for name in NAMES], NAMES, TYPES).save(path, encoding)

    return write


def write_ply(**options):
    return lambda path: PlyData([PlyElement.describe(TABLE, 'vertex')], **options).write(str(path))


WRITERS = {
    'bin': ('.bin', write_bin),
    'npy': ('.npy', write_rows),
    'npy-named': ('.npy', write_named),
    'pcd-ascii': ('.pcd', write_pcd(Encoding.ASCII)),
    'pcd-binary': ('.pcd', write_pcd(Encoding.BINARY)),
    'pcd-compressed': ('.PCD', write_pcd(Encoding.BINARY_COMPRESSED)),
    'ply-ascii': ('.ply', write_ply(text=True)),
    'ply-binary': ('.ply', write_ply(text=False)),
    'ply-big-endian': ('.ply', write_ply(text=False, byte_order='>')),
}


@pytest.mark.parametrize('suffix, write', WRITERS.values(), ids=WRITERS)
def test_all_files_hold_the_same_points(suffix, write, tmp_path):
    path = tmp_path / f'scan{suffix}'
    write(path)
    points = read_points(path, form())
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, EXPECTED, atol=1e-5)


@pytest.mark.parametrize('suffix, write', WRITERS.values(), ids=WRITERS)
def test_a_file_that_is_cut_off_is_one_line(suffix, write, tmp_path):
    path = tmp_path / f'scan{suffix}'
    write(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 - 5])
    with pytest.raises(DataError, match='scan') as error:
        read_points(path, form())
    assert '\n' not in str(error.value) and str(path) in str(error.value)
    path.unlink()
    with pytest.raises(DataError, match=r'is missing|cannot be read'):
        read_points(path, form())


def test_a_binary_pcd_that_ends_with_a_whole_point_is_cut_off_too(tmp_path):
    path = tmp_path / 'scan.pcd'
    write_pcd(Encoding.BINARY)(path)
    path.write_bytes(path.read_bytes()[: -100 * ROW.itemsize])
    with pytest.raises(DataError, match=r'scan.pcd is cut off \(4900 of 5000 points\)'):
        read_points(path, form())


@pytest.mark.parametrize('unit', [0.001, 0.01])
def test_units_become_meters(unit, tmp_path):
    table = TABLE.astype([(name, np.float64) for name in NAMES])
    for name in 'xyz':
        table[name] /= unit
    np.save(tmp_path / 'scan.npy', table)
    np.testing.assert_allclose(read_points(tmp_path / 'scan.npy', form(unit=unit)), EXPECTED, atol=1e-5)


def test_intensities_are_those_of_their_range_or_zero(tmp_path):
    write_bin(tmp_path / 'scan.bin')
    found = read_points(tmp_path / 'scan.bin', form(intensity_range=(-100, 400)))[:, 3]
    np.testing.assert_allclose(found, (TABLE['intensity'] + 100.0) / 500, atol=1e-6)
    assert not read_points(tmp_path / 'scan.bin', form(intensity=None))[:, 3].any()


def test_which_files_need_no_conversion():
    names = NAMES[:4]
    plain = dict(columns=names, row=np.dtype([(name, '<f4') for name in names]), intensity_range=(0.0, 1.0))
    assert keeps_bytes(Path('a.bin'), form(**plain)) and not keeps_bytes(Path('a.npy'), form(**plain))
    double = np.dtype([(name, '<f8') for name in names])
    for other in ({'unit': 0.001}, {'intensity_range': (0, 255)}, {'intensity': None}, {'row': double}):
        assert not keeps_bytes(Path('a.bin'), form(**{**plain, **other}))


class Evil:
    def __reduce__(self):
        return Path.touch, (Path('made-by-a-pickle'),)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save('scan.npy', np.array([Evil()], dtype=object))
    Path('pickle.npy').write_bytes(pickle.dumps(Evil()))
    for name in ('scan.npy', 'pickle.npy'):
        with pytest.raises(DataError, match=rf'{name} cannot be read \(.*pickle'):
            read_points(Path(name), form())
        with pytest.raises(DataError, match=rf'{name} cannot be read \(.*pickle'):
            read_labels(Path(name), 1)
    assert not Path('made-by-a-pickle').exists()


BAD_ARRAYS = [
    (np.zeros((0, 5), np.float32), 'holds no point'),
    (np.zeros((9, 4), np.float32), r'holds float32 \(9, 4\), but calibration.json declares 5 columns'),
    (np.zeros((9, 5), complex), 'holds complex128'),
    (np.zeros(9, np.float32), r'holds float32 \(9,\)'),
    (repack_fields(TABLE[['x', 'y', 'z']]), r'has no column intensity \(it has x, y, z\)'),
    (repack_fields(TABLE[['x', 'y', 'ring']]), r'has no column z'),
]


TEXTS = TABLE.astype([(name, 'U3' if name == 'y' else np.float32) for name in NAMES])
TRIPLES = np.zeros(9, [('x', np.float32, 3), ('y', np.float32), ('z', np.float32), ('intensity', np.uint8)])
BAD_ARRAYS += [
    (TEXTS, r': the column y holds <U3 \(5000,\): store one number a point'),
    (TRIPLES, r': the column x holds float32 \(9, 3\): store one number a point'),
]


@pytest.mark.parametrize('array, message', BAD_ARRAYS, ids=[message[:20] for _, message in BAD_ARRAYS])
def test_other_arrays(array, message, tmp_path):
    np.save(tmp_path / 'scan.npy', array)
    with pytest.raises(DataError, match=f'scan.npy ?{message}'):
        read_points(tmp_path / 'scan.npy', form())


def test_a_bin_of_other_columns(tmp_path):
    (tmp_path / 'scan.bin').write_bytes(bytes(16 * 7))
    with pytest.raises(DataError, match=r'has 112 bytes, no multiple of 15 \(5 columns\)'):
        read_points(tmp_path / 'scan.bin', form())


LABELS = np.array([0, 5, 40, 255, 1], np.int64)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.uint32])
def test_labels_of_any_width(dtype, tmp_path):
    LABELS.astype(dtype).tofile(tmp_path / 'a.label')
    np.save(tmp_path / 'a.npy', LABELS.astype(dtype))
    np.save(tmp_path / 'b.npy', LABELS[:, None])
    for name in ('a.label', 'a.npy', 'b.npy'):
        found = read_labels(tmp_path / name, 5)
        assert found.dtype == np.uint32 and found.tolist() == LABELS.tolist()


def test_labels_that_do_not_fit(tmp_path):
    LABELS.astype(np.uint32).tofile(tmp_path / 'a.label')
    np.save(tmp_path / 'a.npy', LABELS)
    np.save(tmp_path / 'float.npy', LABELS / 2)
    np.save(tmp_path / 'negative.npy', -LABELS)
    for name, count, message in (
        ('a.label', 6, 'has 20 bytes, but the scan has 6 points'),
        ('a.label', 0, 'has 20 bytes, but the scan has 0 points'),
        ('a.npy', 4, 'has 5 labels, but the scan has 4 points'),
        ('float.npy', 5, r'holds float64 \(5,\): write an array of one integer'),
        ('negative.npy', 5, r'holds int64 \(5,\): write an array of one integer'),
        ('none.label', 5, 'cannot be read'),
    ):
        with pytest.raises(DataError, match=f'{name} {message}'):
            read_labels(tmp_path / name, count)

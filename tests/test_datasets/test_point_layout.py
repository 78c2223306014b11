"""How many numbers a point has, and of which type, told from the values of made-up and of real scans."""

import os
from pathlib import Path

import numpy as np
import pytest
from peridot.datasets.point_layout import likely_layout

KITTI = Path(os.environ.get('PERIDOT_KITTI', 'data/kitti'))
rng = np.random.default_rng(0)
COUNT = 8 * 840


def xyz(count: int = COUNT) -> np.ndarray:
    """Returns of a sensor 1.8 m above a plain with walls, in the order of its columns."""
    angle, ring = np.divmod(np.arange(count), 32)
    slope, turn = np.deg2rad(-25 + ring), angle / (count / 32) * 2 * np.pi
    reach = np.where(slope < -0.02, np.minimum(1.8 / np.abs(np.tan(slope - 1e-3)), 40), 40) * rng.uniform(0.7, 1, count)
    return np.stack([reach * np.cos(turn), reach * np.sin(turn), reach * np.tan(slope)], 1)


def columns(*others) -> np.ndarray:
    return np.column_stack([xyz(), *(np.broadcast_to(other, COUNT) for other in others)])


RING = np.arange(COUNT) % 32
INTENSITY = rng.integers(0, 256, COUNT)
LOST = rng.random((COUNT, 1)) < 0.3
VALID = {
    'x y z': xyz(),
    'intensity 0 to 1': columns(INTENSITY / 255),
    'intensity 0 to 255': columns(INTENSITY),
    'intensity 0 to 65535': columns(INTENSITY * 257),
    'no intensity': columns(0),
    'ring': columns(INTENSITY, RING),
    'ring and time': columns(INTENSITY, RING, np.linspace(0, 0.1, COUNT)),
    'seconds since 1970': columns(INTENSITY, 1.6e9),
    'nanoseconds since 1970': columns(INTENSITY, RING, 1.6e18),
    'two returns by turns': np.repeat(columns(INTENSITY), 2, 0) * np.tile([[1], [1.2]], (COUNT, 1)) ** [1, 1, 1, 0],
    'lost returns at 0': np.where(LOST, 0, columns(INTENSITY)),
    'lost returns not finite': np.where(LOST, np.nan, columns(INTENSITY)),
    'one plane': xyz() * [1, 1, 0],
    'coordinates of a map': columns(INTENSITY) + [4e5, 5.4e6, 200, 0],
    'eight': columns(INTENSITY, RING, 0.1, 0, 1),
    'all zero': np.zeros((COUNT, 4)),
    'noise in a cube': rng.normal(size=(COUNT, 4)),
    'tiny after a turn': columns(INTENSITY) @ np.diag([1, 6e-17, 1, 1]),
    'few': columns(INTENSITY)[:400],
}
# nothing tells their columns apart
NAMELESS = ('all zero', 'noise in a cube', 'few')


@pytest.mark.parametrize('name', VALID)
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_valid_files_are_not_doubted(name, dtype):
    cloud = VALID[name]
    assert likely_layout(cloud.astype(dtype).tobytes(), cloud.shape[1], dtype) is None


@pytest.mark.parametrize('name', [name for name in VALID if name not in NAMELESS])
@pytest.mark.parametrize('assumed', range(3, 9))
def test_other_numbers_of_columns_are_found(name, assumed):
    cloud = VALID[name]
    right = cloud.shape[1]
    if assumed % right:
        assert likely_layout(cloud.astype(np.float32).tobytes(), assumed, 'float32') == (right, 'float32')


@pytest.mark.parametrize('name', [name for name in VALID if name not in ('all zero', 'few')])
def test_double_precision_is_found(name):
    cloud = VALID[name]
    for data in (cloud.astype(np.float32).astype(np.float64), cloud * (1 + 1e-12 * rng.random(cloud.shape))):
        assert likely_layout(data.tobytes(), cloud.shape[1], 'float32') == (cloud.shape[1], 'float64')


@pytest.mark.parametrize('name', ['x y z', 'intensity 0 to 1', 'intensity 0 to 255', 'ring', 'ring and time'])
def test_single_precision_is_found(name):
    cloud = VALID[name].astype(np.float32)
    assert likely_layout(cloud.tobytes(), cloud.shape[1], 'float64') == (cloud.shape[1], 'float32')


def test_real_scans():
    for path in sorted((KITTI / 'training/velodyne').glob('*.bin')) or pytest.skip(f'{KITTI} is absent'):
        cloud = np.fromfile(path, np.float32).reshape(-1, 4)
        cloud = cloud[: len(cloud) // 840 * 840]
        assert likely_layout(cloud.tobytes(), 4, 'float32') is None
        for assumed in (3, 5, 6, 7):
            assert likely_layout(cloud.tobytes(), assumed, 'float32') == (4, 'float32')
        assert likely_layout(cloud.astype(np.float64).tobytes(), 4, 'float32') == (4, 'float64')
        assert likely_layout(cloud.astype(np.float64).tobytes(), 5, 'float32') == (4, 'float64')
        assert likely_layout(cloud.tobytes(), 4, 'float64') == (4, 'float32')

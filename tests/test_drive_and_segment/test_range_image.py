import numpy as np
import pytest
from made_up_sweeps import ELEVATIONS, random_image, scan, wall
from peridot.drive_and_segment.proposals import Sensor, fill_gaps, make_range_image
from peridot.errors import ConfigError, DataError


def test_cells_of_points(sensor):
    """Highest beam first, azimuth falls from +180 degrees, by a loop over the points."""
    points = scan([wall(8, -2, 2, 1)]).points
    image = make_range_image(points, sensor)
    # beams without any return have no row
    first = int(points[:, 4].min())
    assert first == 3 and image.range.shape == (29, 540) and (np.diff(image.elevation) < 0).all()
    for index in range(0, len(points), 97):
        x, y, z, _, ring = points[index]
        column = int(np.floor((180 - np.rad2deg(np.arctan2(y, x))) / 360 * 540)) % 540
        assert image.cell[index] == (ring - first) * 540 + column
        assert image.range[int(ring) - first, column] == pytest.approx(np.sqrt(x * x + y * y + z * z))
        direction = image.directions(image.cell[index : index + 1])[0]
        np.testing.assert_allclose(direction * np.linalg.norm([x, y, z]), [x, y, z], atol=1e-6)


def test_numbering_of_beams_does_not_matter(sensor):
    points = scan([wall(8, -2, 2, 1)]).points
    image = make_range_image(points, sensor)
    for order in (np.arange(32)[::-1], np.random.default_rng(0).permutation(32)):
        renamed = points.copy()
        renamed[:, 4] = order[points[:, 4].astype(int)]
        np.testing.assert_array_equal(make_range_image(renamed, sensor).range, image.range)


def test_beams_without_any_return_have_an_empty_row():
    points = scan([wall(8, -2, 2, 1)]).points
    points = points[points[:, 4] != 20]
    elevations = np.random.default_rng(0).permutation(ELEVATIONS)
    image = make_range_image(points, Sensor(columns=540, ring_column=4, elevations=elevations))
    np.testing.assert_allclose(image.elevation, np.deg2rad(ELEVATIONS))
    assert np.flatnonzero(~image.range.any(1)).tolist() == [0, 1, 2, 20]
    assert (image.cell // 540 == points[:, 4]).all()


def test_elevation_gives_the_same_rows_as_the_ring(sensor):
    points = scan([wall(8, -2, 2, 1)]).points
    by_table = make_range_image(points[:, :4], Sensor(columns=540, elevations=ELEVATIONS[::-1]))
    np.testing.assert_array_equal(by_table.range[3:], make_range_image(points, sensor).range)
    np.testing.assert_allclose(by_table.elevation, np.deg2rad(ELEVATIONS))


def test_points_beside_the_beams_have_no_cell():
    angles = np.deg2rad([0, 0.9, 1.1, 2.9, 3.1, -0.9, -1.1, 0.6])
    points = 10 * np.stack([np.cos(angles), 0 * angles, np.sin(angles)], 1)
    image = make_range_image(points, Sensor(columns=8, elevations=[0, 2]))
    assert (image.cell // 8).tolist() == [1, 1, 0, 0, -1, 1, -1, 1]
    image = make_range_image(points, Sensor(columns=8, elevations=[0, 2], max_residual=0.25))
    assert (image.cell >= 0).tolist() == [True] + 7 * [False]


def test_the_nearest_point_is_shown_and_all_get_the_label():
    points = np.array([[9.0, 0.001, 0], [7, 0.001, 0], [8, 0.001, 0], [0.5, 0, 0], [np.nan, 0, 0]])
    image = make_range_image(points, Sensor(columns=4, elevations=[0, -2]))
    assert image.range.max() == pytest.approx(7) and image.nearest.max() == 1
    labels = np.where(image.range > 0, 5, 3)
    assert image.of_points(labels).tolist() == [5, 5, 5, 0, 0]


def test_straight_behind_is_one_column():
    """atan2 gives +180 or -180 degrees there."""
    image = make_range_image(np.array([[-5.0, 0.0, 0], [-5, -0.0, 0]]), Sensor(columns=8, elevations=[0, -2]))
    assert image.cell.tolist() == [0, 0]


def test_the_sensor_may_stand_elsewhere():
    points = scan([wall(8, -2, 2, 1)]).points
    table = dict(columns=540, elevations=ELEVATIONS)
    moved = points + [1.4, 0, 2, 0, 0]
    found = make_range_image(moved, Sensor(**table, origin=(1.4, 0, 2))).range
    np.testing.assert_allclose(found, make_range_image(points, Sensor(**table)).range, atol=1e-9)


@pytest.mark.parametrize('seed', range(3))
def test_gaps_equal_a_loop_over_cells(seed):
    image = random_image(seed)
    filled = fill_gaps(image, reach=3, tolerance=0.5)
    rows, columns = image.range.shape
    for row in range(rows):
        for column in range(columns):
            if image.range[row, column] > 0:
                assert filled.range[row, column] == image.range[row, column]
                continue
            values = []
            pairs = [((row - i, column), (row + j, column)) for i in (1, 2, 3) for j in (1, 2, 3)]
            pairs.append(((row, (column - 1) % columns), (row, (column + 1) % columns)))
            for (up, left), (down, right) in pairs:
                if up >= 0 and down < rows:
                    first, second = image.range[up, left], image.range[down, right]
                    if first and second and abs(first - second) < 0.5:
                        values += [first, second]
            assert filled.range[row, column] == pytest.approx(np.mean(values) if values else 0)
            assert filled.repaired[row, column] == bool(values)


def test_a_sweep_without_ring(sensor):
    points = scan([]).points
    with pytest.raises(DataError, match=r'points of 4 columns have no ring in column 4: .*use_dim'):
        make_range_image(points[:, :4], sensor)
    points[7, 4] = 0.05
    with pytest.raises(DataError, match=r'column 4 holds 0\.05, which is not a beam: .*to None'):
        make_range_image(points, sensor)
    points[:, 4] = 0
    with pytest.raises(DataError, match='column 4 holds numbers that several beams share'):
        make_range_image(points, sensor)


@pytest.mark.parametrize(
    ('settings', 'problem'),
    [
        ({}, 'elevations must list'),
        ({'elevations': [1]}, 'elevations'),
        ({'columns': 2, 'ring_column': 4}, 'columns=2'),
    ],
)
def test_settings_that_make_no_sense(settings, problem):
    with pytest.raises(ConfigError, match=problem):
        Sensor(**{'columns': 100, **settings})

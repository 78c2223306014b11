from collections import deque

import numpy as np
import pytest
from made_up_sweeps import ELEVATIONS, HEIGHT, random_image, scan, wall
from oracles import surface_angle
from peridot.drive_and_segment.proposals import LidarProposals, grid_components
from peridot.drive_and_segment.proposals.clusters import same_surface
from peridot.drive_and_segment.proposals.ground import GroundRule, find_ground, fit_plane, inclinations
from peridot.drive_and_segment.proposals.range_image import Sensor, fill_gaps, make_range_image
from scipy.spatial.transform import Rotation

THREE = [wall(10, -3, 0, 1.5), wall(20, 3, 6, 2), wall(30, -20, -17, 3)]


def segment(points, columns=540, **settings) -> np.ndarray:
    return LidarProposals(sensor=dict(columns=columns, ring_column=4), **settings).segment(points).ids


def ids_of(found, world) -> list[set]:
    """Ids of the points of every thing; those at its very foot are ground."""
    return [set(found[(world.thing == number) & (world.above > 0.15)]) for number in range(1, world.thing.max() + 1)]


@pytest.mark.parametrize(
    ('first', 'second', 'step', 'beta'),
    [
        (10, 10, 1.25, 89.375),
        (10.2, 10, 0.2, 9.8973),
        (10.5, 10, 0.2, 3.9930),
        (11, 10, 1.25, 12.2779),
        (30.5, 30, 0.35, 20.108),
        (31, 30, 0.35, 10.379),
    ],
)
def test_angle_of_the_description(first, second, step, beta):
    assert np.rad2deg(surface_angle(first, second, np.deg2rad(step))) == pytest.approx(beta, abs=1e-3)
    assert surface_angle(first, second, np.deg2rad(step)) == surface_angle(second, first, np.deg2rad(step))


def test_angle_between_equal_ranges():
    step = np.deg2rad(np.linspace(0.05, 5, 40))
    np.testing.assert_allclose(surface_angle(7.0, 7.0, step), np.pi / 2 - step / 2)


def test_links_are_where_the_angle_is_larger():
    image = random_image(columns=30, holes=0)
    image.range[:] = np.random.default_rng(0).uniform(5, 9, image.range.shape)
    right, down = same_surface(image, 10)
    for row in range(12):
        for column in range(30):
            here = image.range[row, column]
            angle = surface_angle(here, image.range[row, (column + 1) % 30], 2 * np.pi / 30)
            assert right[row, column] == (angle > np.deg2rad(10))
            if row < 11:
                step = image.elevation[row] - image.elevation[row + 1]
                assert down[row, column] == (surface_angle(here, image.range[row + 1, column], step) > np.deg2rad(10))


@pytest.mark.parametrize('seed', range(4))
def test_components_equal_a_search(seed):
    image = random_image(seed, rows=16, columns=24)
    inside, (right, down) = image.range > 0, same_surface(image, 60)
    component, count = np.full(inside.shape, -1), 0
    for start in zip(*np.nonzero(inside)):
        if component[start] >= 0:
            continue
        component[start], waiting = count, deque([start])
        while waiting:
            row, column = waiting.popleft()
            before, after = (column - 1) % 24, (column + 1) % 24
            options = [((row, after), right[row, column]), ((row, before), right[row, before])]
            options += [((row + 1, column), down[row, column])] if row < 15 else []
            options += [((row - 1, column), down[row - 1, column])] if row else []
            for cell, linked in options:
                if linked and inside[cell] and component[cell] < 0:
                    component[cell] = count
                    waiting.append(cell)
        count += 1
    assert 10 < count < inside.sum()
    np.testing.assert_array_equal(grid_components(inside, right, down), component)


@pytest.mark.parametrize('height', [0.8, 1.8, 3.0])
def test_flat_ground_is_ground(height, sensor):
    points = scan([], height=height).points
    image = fill_gaps(make_range_image(points, sensor))
    assert abs(inclinations(image.positions(), image.range > 0)).max() < 1e-9
    below = np.flatnonzero(image.range[:, 0] > 0)
    beta = surface_angle(image.range[below[:-1], 0], image.range[below[1:], 0], -np.diff(image.elevation[below]))
    np.testing.assert_allclose(beta, -image.elevation[below[:-1]], atol=1e-9)
    assert (segment(points) == 1).all()


def test_three_walls_are_three_objects():
    world = scan(THREE)
    found = segment(world.points)
    assert ids_of(found, world) == [{2}, {3}, {4}] and set(found[world.thing == 0]) == {1}
    assert (found[(world.thing > 0) & (world.above < 0.1)] == 1).all()
    assert (np.diff(np.bincount(found)[2:]) <= 0).all()


@pytest.mark.parametrize('turn', [0.4, 90, 170, 180, 188.3, -77.7])
def test_turning_changes_nothing(turn):
    world, turned = scan(THREE), scan(THREE, turn=turn)
    np.testing.assert_array_equal(segment(turned.points), segment(world.points))


def test_an_object_behind_the_seam_is_one():
    low, high = wall(9, -2, 2, 1)
    world = scan([((-high[0], low[1], low[2]), (-low[0], high[1], high[2]))])
    found = segment(world.points)
    columns = make_range_image(world.points, Sensor(columns=540, ring_column=4)).cell[world.thing == 1] % 540
    assert columns.min() == 0 and columns.max() == 539
    assert ids_of(found, world) == [{2}]


def test_walls_that_touch_are_one():
    touching = scan([wall(10, -3, 0, 1.5), wall(10.1, 0, 3, 1.5)])
    assert ids_of(segment(touching.points), touching) == [{2}, {2}]
    apart = scan([wall(10, -3, 0, 1.5), wall(14, 0, 4, 1.5)])
    assert ids_of(segment(apart.points), apart) == [{2}, {3}]
    assert ids_of(segment(apart.points, clusters=dict(angle=0.01)), apart) == [{2}, {2}]


@pytest.mark.parametrize(('axis', 'angle'), [('x', 5), ('y', 5), ('y', -4), ('x', 2)])
def test_a_tilted_world_has_the_same_objects(axis, angle):
    world = scan(THREE, tilt=Rotation.from_euler(axis, angle, degrees=True).as_matrix())
    found = segment(world.points)
    assert sorted(ids_of(found, world), key=min) == [{2}, {3}, {4}]
    assert (found[world.thing == 0] == 1).mean() > 0.99


@pytest.mark.parametrize(('height', 'fraction'), [(0.12, 0.95), (0.2, 0.88)])
def test_a_curb_is_ground_and_a_box_is_not(height, fraction):
    curb, box = ((6, -20, -HEIGHT), (12, -3, -HEIGHT + height)), ((6, 1, -HEIGHT), (6.6, 3, -HEIGHT + 0.5))
    world = scan([curb, box])
    found = segment(world.points, clusters=dict(min_points=5))
    assert (found[world.thing == 1] == 1).mean() > fraction
    assert (found[world.thing == 2] >= 2).mean() > 0.75 and len(set(found[world.thing == 2]) - {1}) == 1
    assert (found[world.thing == 0] == 1).all()


def test_level_ground_behind_walls_is_ground():
    """A raised lawn that can be reached over walls alone."""
    sides = [((-5.3, y, -HEIGHT), (5.3, y + 0.3, -1.1)) for y in (-5.3, 5)]
    sides += [((x, -5.3, -HEIGHT), (x + 0.3, 5.3, -1.1)) for x in (-5.3, 5)]
    world = scan([*sides, ((7, -8, -HEIGHT), (30, 8, -HEIGHT + 0.2))])
    found = segment(world.points, clusters=dict(max_fraction=1))
    assert (world.thing == 5).sum() > 100 and (found[world.thing == 5] == 1).mean() > 0.9
    assert (found[(world.thing > 0) & (world.thing < 5) & (world.above > 0.32)] == 2).all()


def test_sizes_and_numbers():
    world = scan(THREE)
    sizes = np.bincount(world.thing[world.above > 0.1])[1:]
    assert sizes[0] > sizes[1] > sizes[2]
    found = segment(world.points, clusters=dict(min_points=int(sizes[2]) + 1))
    assert ids_of(found, world) == [{2}, {3}, {0}]
    fraction = (sizes[0] - 1) / len(world.points)
    assert ids_of(segment(world.points, clusters=dict(max_fraction=fraction)), world) == [{0}, {2}, {3}]


def test_empty_cells_between_ground_are_ground(sensor):
    points = scan([]).points
    hole = (points[:, 4] == 25) & (np.hypot(points[:, 0], points[:, 1]) > 0)
    image = make_range_image(points[~hole | (np.arange(len(points)) % 2 == 0)], sensor)
    ground = find_ground(image, GroundRule())
    row = np.flatnonzero((image.range == 0).any(1) & (image.elevation < -0.1))
    assert len(row) == 1 and ground[row[0]].all()


def test_plane_through_points_with_outliers():
    rng = np.random.default_rng(0)
    ground = np.column_stack([rng.uniform(-30, 30, (400, 2)), np.zeros(400)])
    ground[:, 2] = 0.05 * ground[:, 0] - 0.02 * ground[:, 1] - 1.7 + rng.normal(0, 0.01, 400)
    cloud = np.concatenate([ground, rng.uniform((-30, -30, -1), (30, 30, 5), (250, 3))])
    plane = fit_plane(cloud, GroundRule())
    normal = np.array([-0.05, 0.02, 1]) / np.linalg.norm([0.05, 0.02, 1])
    np.testing.assert_allclose(plane, [*normal, 1.7 * normal[2]], atol=5e-3)
    assert fit_plane(cloud[:2], GroundRule()) is None
    assert fit_plane(np.column_stack([np.zeros((9, 2)), np.arange(9)]), GroundRule()) is None


def test_nothing_in_nothing_out():
    empty = LidarProposals(sensor=dict(columns=540, ring_column=4)).segment(np.zeros((0, 5), np.float32))
    assert empty.ids.shape == (0,)
    near = LidarProposals(sensor=dict(columns=540, elevations=ELEVATIONS)).segment(np.full((5, 4), 0.1))
    assert near.ids.tolist() == [0] * 5

import numpy as np
import pytest
import torch
from made_up_sweeps import ELEVATIONS, HEIGHT, scan, wall
from peridot.datasets.projection import lidar_to_image, project_to_cameras
from peridot.drive_and_segment.proposals import LidarProposals, RegionRule, grow_regions
from peridot.drive_and_segment.proposals.projection import ProjectedPoints, beam_pitch, project, visible
from peridot.drive_and_segment.proposals.region_growing import drop_small, keep_large_parts, nearest_filled
from peridot.errors import ConfigError
from scipy.spatial import cKDTree

SIZE = (450, 800)
FOCAL = 633.0
CAM2IMG = np.array([[FOCAL, 0, 400, 0], [0, FOCAL, 225, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
# x forward, y left, z up to x right, y down, z forward; the camera hangs 0.3 m below the lidar
LIDAR2CAM = np.array([[0, -1, 0, 0], [0, 0, -1, -0.3], [1, 0, 0, 0], [0, 0, 0, 1.0]])
PITCH = np.array([4.0, 15.0])


def make(**settings) -> LidarProposals:
    return LidarProposals(sensor=dict(columns=1085, ring_column=4, elevations=ELEVATIONS), **settings)


def silhouette(low, high) -> np.ndarray:
    """Pixels of a box that faces the camera, by the corners of its front."""
    (left, bottom), (right, top) = (
        (400 - FOCAL * y / low[0], 225 - FOCAL * (z + 0.3) / low[0]) for y, z in ((high[1], low[2]), (low[1], high[2]))
    )
    v, u = np.indices(SIZE)
    return (u >= left) & (u <= right) & (v >= top) & (v <= bottom)


@pytest.mark.parametrize('distance', [8, 15])
def test_region_of_a_box_covers_its_silhouette(distance):
    box = wall(distance, -2.5, 1, 0.4, depth=2)
    (ids,) = make()(scan([box], columns=1085).points, LIDAR2CAM[None], CAM2IMG[None], [SIZE])
    assert ids.dtype == np.uint16 and set(np.unique(ids)) == {0, 1, 2}
    expected = silhouette(*box)
    assert ((ids == 2) & expected).sum() / ((ids == 2) | expected).sum() >= 0.85
    # nothing of the empty world above the horizon is labeled
    (empty,) = make()(scan([], columns=1085).points, LIDAR2CAM[None], CAM2IMG[None], [SIZE])
    assert not empty[:225].any() and (empty[330:] == 1).mean() > 0.99


def test_an_object_has_one_id_in_all_cameras():
    behind = np.diag([-1.0, -1, 1, 1])
    world = scan([wall(8, -2, 2, 1), *(((-8, y, -HEIGHT), (-7, y + 2, 0.5)) for y in (-5, 4))], columns=1085)
    cameras = np.stack([LIDAR2CAM, LIDAR2CAM @ behind])
    front, back = make()(world.points, cameras, np.stack([CAM2IMG] * 2), [SIZE] * 2)
    assert set(np.unique(front)) == {0, 1, 2} and set(np.unique(back)) == {0, 1, 3, 4}


def test_a_camera_without_lidar_and_an_empty_sweep():
    up = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    (ids,) = make()(scan([wall(8, -2, 2, 1)]).points, up[None], CAM2IMG[None], [SIZE])
    assert ids.shape == SIZE and not ids.any()
    (ids,) = make()(np.zeros((0, 5), np.float32), LIDAR2CAM[None], CAM2IMG[None], [SIZE])
    assert ids.shape == SIZE and not ids.any()


def test_the_origin_of_the_sensor_is_part_of_the_projection():
    world = scan([wall(8, -2, 2, 1)], columns=1085)
    (ids,) = make()(world.points, LIDAR2CAM[None], CAM2IMG[None], [SIZE])
    shift = np.eye(4)
    shift[:3, 3] = -1.4, -0.1, -2
    moved = LidarProposals(sensor=dict(columns=1085, ring_column=4, elevations=ELEVATIONS, origin=(1.4, 0.1, 2)))
    points = world.points + [1.4, 0.1, 2, 0, 0]
    (other,) = moved(points, (LIDAR2CAM @ shift)[None], CAM2IMG[None], [SIZE])
    assert (other == ids).mean() > 0.9999


def test_projection_keeps_what_the_paired_datasets_keep():
    rng = np.random.default_rng(0)
    points = rng.uniform(-30, 30, (500, 3))
    seen = project(points, lidar_to_image(LIDAR2CAM[None], CAM2IMG[None])[0], SIZE)
    pairs = project_to_cameras(points, LIDAR2CAM[None], CAM2IMG[None], np.array([SIZE]))
    np.testing.assert_array_equal(seen.index, pairs.point)
    np.testing.assert_allclose(seen.position[:, ::-1], pairs.position, atol=1e-2)
    np.testing.assert_allclose(seen.depth, points[seen.index, 0])
    assert isinstance(pairs.point, torch.Tensor)


def test_pitch_of_the_beams():
    elevation = np.deg2rad(10.67 - 1.3335 * np.arange(32))
    intrinsic = np.diag([1266.0, 1266, 1])
    np.testing.assert_allclose(beam_pitch(intrinsic, 2 * np.pi / 1085, elevation), [7.33, 29.46], atol=0.01)
    assert (beam_pitch(intrinsic, 0.01, elevation[:1]) > 0).all()


def test_visible_points_equal_a_loop():
    rng = np.random.default_rng(0)
    position = rng.integers(0, 60, (200, 2)).astype(float)
    depth = rng.uniform(2, 30, 200)
    seen = ProjectedPoints(position, depth, np.arange(200))
    expected = []
    for (u, v), own in zip(position, depth):
        around = (abs(position[:, 0] - u) <= 3) & (abs(position[:, 1] - v) <= 6)
        expected.append(not (own - depth[around] > max(1, 0.1 * own)).any())
    found = visible(seen, seen, (61, 61), (3.0, 6.0))
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < 200


def test_nearest_filled_cells_equal_a_search_tree():
    rng = np.random.default_rng(0)
    index = np.full((60, 90), -1)
    cells = rng.choice(index.size, 120, replace=False)
    index.flat[cells] = np.arange(120)
    distance, nearest = nearest_filled(index)
    places = np.stack(np.divmod(cells, 90), 1)
    exact = cKDTree(places).query(np.indices(index.shape).reshape(2, -1).T)[0].reshape(index.shape)
    np.testing.assert_allclose(distance, exact, rtol=0.025)
    to_found = np.linalg.norm(np.indices(index.shape).transpose(1, 2, 0) - places[nearest], axis=-1)
    assert (to_found <= 1.06 * exact).all()


def test_regions_end_at_the_reach_and_between_objects():
    """Two rows of points: pixels near a row have its id, those in the middle are unreliable where depth jumps."""
    u = np.arange(10, 190, 4.0)
    position = np.concatenate([np.column_stack([u, np.full(len(u), v)]) for v in (50.0, 65.0)])
    ids = np.repeat([3, 7], len(u))
    for depths, border in (((10, 10.5), False), ((10, 14), True)):
        regions = grow_regions(position, np.repeat(depths, len(u)), ids, (120, 200), PITCH, RegionRule())
        assert (regions[40:52, 20:180] == 3).all() and (regions[63:75, 20:180] == 7).all()
        assert (regions[56:59, 20:180] == 0).all() == border
        assert not regions[:32].any() and not regions[84:].any()


def test_a_foreground_does_not_grow_beyond_its_points():
    v, u = np.mgrid[5:200:15, 5:300:4].reshape(2, -1).astype(float)
    front = (u > 100) & (u < 180) & (v > 40) & (v < 140)
    regions = grow_regions(
        np.column_stack([u, v]), np.where(front, 8.0, 30.0), np.where(front, 2, 3), (200, 300), PITCH, RegionRule()
    )
    rows, columns = np.nonzero(regions == 2)
    assert len(rows) and columns.min() >= u[front].min() - 4 and columns.max() <= u[front].max() + 4
    assert rows.min() >= v[front].min() - 15 and rows.max() <= v[front].max() + 15


def test_small_parts_go():
    regions = np.zeros((20, 40), np.uint16)
    regions[2:12, 2:12] = 5  # 100 cells
    regions[2:12, 20:22] = 5  # 20: not more than a fifth
    regions[2:13, 30:32] = 5  # 22
    regions[15, 2:4] = 1
    regions[15, 8:30] = 1
    kept = keep_large_parts(regions, 0.2)
    expected = regions.copy()
    expected[2:12, 20:22] = 0
    np.testing.assert_array_equal(kept, expected)
    assert not keep_large_parts(np.zeros((4, 4), np.uint16), 0.2).any()


def test_small_segments_go():
    regions = np.zeros((60, 80), np.uint16)
    regions[0:10, 0:10] = 2
    regions[0:10, 20:29] = 3  # 90 pixels
    regions[20:27, 0:30] = 4  # 7 pixels high
    regions[40:50, 0:10] = 5  # four points
    regions[40:60, 40:80] = 1
    kept = drop_small(regions, np.array([0, 50, 5, 5, 5, 4]), RegionRule())
    np.testing.assert_array_equal(kept, np.where(np.isin(regions, (1, 2)), regions, 0))


def test_a_hidden_wall_is_not_seen_through_a_near_one():
    """The camera far below the lidar: the lidar sees the far wall over the near one, the camera does not."""
    low = LIDAR2CAM.copy()
    low[1, 3] = -1.3
    near, far = wall(6, -3, 3, -0.6), wall(14, -3, 3, 1.5)
    (ids,) = make()(scan([near, far], columns=1085).points, low[None], CAM2IMG[None], [SIZE])
    v, u = np.indices(SIZE)
    inside = (abs(u - 400) < 200) & (v > 225 - FOCAL * 0.7 / 6 + 18) & (v < 225)
    assert (ids[inside] == ids[210, 400]).mean() > 0.97


@pytest.mark.parametrize(
    ('part', 'settings', 'problem'),
    [
        ('clusters', {'theta': 3}, "unexpected keyword argument 'theta'; it takes angle, min_points, max_fraction"),
        ('regions', {'cap': 3}, "unexpected keyword argument 'cap'; it takes occlusion"),
        ('ground', {'plane': 3}, "unexpected keyword argument 'plane'; it takes seed_angle"),
    ],
)
def test_unknown_settings(part, settings, problem):
    with pytest.raises(ConfigError, match=rf'proposals\.{part}: .*{problem}'):
        make(**{part: settings})

"""The ray-cast world itself: what cameras and lidar see agrees, and agrees with the boxes."""

import numpy as np
import pytest
from streets.camera import shade, take_photo
from streets.frame import in_image, inside_box, visible_shares
from streets.lidar import take_sweep
from streets.mesh import Material, box, cylinder, frustum
from streets.raycast import Caster
from streets.rig import BEAMS, make_cameras, make_lidar
from streets.taxonomy import CATEGORIES, INDEX, visibility_token
from streets.world import make_world

SIZE = (198, 352)


@pytest.fixture(scope='module')
def worlds():
    return [make_world(0, number) for number in range(10)]


@pytest.fixture(scope='module')
def caster(worlds):
    return Caster(worlds[2])


@pytest.fixture(scope='module')
def sweep(caster):
    return take_sweep(caster.at(0.0), np.random.default_rng(5))


def world_points(world, sweep):
    position, rotation = make_lidar().world_pose(world.ego_pose(0.0))
    return sweep.points[:, :3].astype(float) @ rotation.T + position


@pytest.mark.parametrize(
    'mesh',
    [
        box((1, 2, 3), (0.5, 0, 0), Material.PAINT, (1, 0, 0)),
        frustum((-1, 1), (-1, 1), (0, 1), Material.WINDOW, (1, 0, 0), top_x=(-0.5, 0.5)),
        cylinder((1, 0.5), (0, 2), Material.PAINT, (1, 0, 0)),
        cylinder((0.4, 0.4), (-0.1, 0.1), Material.RUBBER, (1, 0, 0), at=(1, 0.4), axis='y'),
    ],
)
def test_primitives_are_closed_and_face_outwards(mesh):
    corner = mesh.vertices.astype(float)
    volume = np.einsum('fi,fi->f', corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]).sum(0)
    assert volume > 0  # outward winding
    assert np.allclose(area, 0, atol=1e-5)  # closed surface
    outwards = ((corner.mean(1) - corner.mean((0, 1))) * mesh.normal).sum(1)
    assert (outwards > 0).all()


def test_boxes_fit_their_meshes_exactly(caster):
    for thing in caster.world.things:
        low, high = thing.mesh.bounds()
        width, length, height = thing.size
        assert np.allclose(low, (-length / 2, -width / 2, 0), atol=1e-4)
        assert np.allclose(high, (length / 2, width / 2, height), atol=1e-4)


def test_every_scene_has_a_road_and_all_scenes_have_the_usual_classes(worlds):
    seen = set()
    for world in worlds:
        seen |= {thing.category for thing in world.things} | {CATEGORIES[c] for c in np.unique(world.static.category)}
        assert INDEX['flat.driveable_surface'] in world.static.category
    wanted = {'car', 'truck', 'bus.rigid', 'trailer', 'construction', 'motorcycle', 'bicycle'}
    wanted = {f'vehicle.{name}' for name in wanted} | {'movable_object.barrier', 'movable_object.trafficcone'}
    wanted |= {'human.pedestrian.adult', 'human.pedestrian.child', 'flat.other', 'flat.sidewalk', 'flat.terrain'}
    wanted |= {'static.manmade', 'static.vegetation'}
    assert wanted <= seen, wanted - seen


def test_vehicles_of_a_lane_never_meet(worlds):
    for number, world in enumerate(worlds):
        for time in (0.0, 3.5):
            ego = world.ego_pose(time)[0]
            for thing in world.moving():
                place, yaw = thing.pose(world.layout, time)
                if thing.category.startswith('vehicle') and np.hypot(*(place - ego)[:2]) < 30:
                    assert not inside_box(ego[None] + (1.4, 0, 1.0), thing, place, yaw).any(), (number, thing.category)


def test_sweep_is_a_32_beam_scan(sweep):
    points = sweep.points
    assert points.dtype == np.float32 and points.shape[1] == 5 and 15_000 < len(points) <= 1084 * BEAMS
    assert np.array_equal(np.unique(points[:, 4]), np.arange(BEAMS))
    assert points[:, 3].min() >= 0 and points[:, 3].max() <= 255 and np.array_equal(points[:, 3], np.rint(points[:, 3]))
    elevation = np.arcsin(points[:, 2] / np.linalg.norm(points[:, :3], axis=1))
    for ring in (0, 12, 31):
        assert np.rad2deg(np.ptp(elevation[points[:, 4] == ring])) < 0.01


def test_noise_and_dropouts_depend_on_the_generator(caster, sweep):
    again = take_sweep(caster.at(0.0), np.random.default_rng(5))
    other = take_sweep(caster.at(0.0), np.random.default_rng(6))
    assert np.array_equal(again.points, sweep.points) and np.array_equal(again.category, sweep.category)
    assert len(other.points) != len(sweep.points)


def test_intensity_alone_does_not_separate_classes(sweep):
    """The best single threshold between any two common classes leaves many points on the wrong side."""
    names = ['static.manmade', 'static.vegetation', 'vehicle.car', 'flat.sidewalk']
    values = [sweep.points[sweep.category == INDEX[name], 3] for name in names]
    for i, first in enumerate(values):
        for second in values[i + 1 :]:
            cuts = np.arange(0, 256, 2)
            accuracy = [((first <= c).mean() + (second > c).mean()) / 2 for c in cuts]
            assert 0.12 < min(max(accuracy), 1 - min(accuracy)) < 0.85


def test_points_in_a_box_carry_its_class(caster, sweep):
    world = caster.world
    points, wrong, total = world_points(world, sweep), 0, 0
    for thing in world.things:
        place, yaw = thing.pose(world.layout, 0.0)
        inside = inside_box(points, thing, place, yaw, margin=0.06)
        labels = sweep.category[inside]
        labels = labels[labels != INDEX['noise']]
        total += len(labels)
        wrong += (labels != INDEX[thing.category]).sum()
    assert total > 1000 and wrong / total < 0.03


def test_points_of_an_object_lie_in_its_box(caster, sweep):
    world, points = caster.world, world_points(caster.world, sweep)
    for thing in world.things:
        own = sweep.instance == thing.number
        place, yaw = thing.pose(world.layout, 0.0)
        assert (sweep.category[own] == INDEX[thing.category]).all()
        assert inside_box(points[own], thing, place, yaw, margin=-0.12).all()


def test_lidar_points_hit_what_the_camera_shows(caster, sweep):
    """Occlusion: a point that projects to a pixel at the pixel's depth is the pixel's object."""
    snapshot, world = caster.at(0.0), caster.world
    points, agree, total = world_points(world, sweep), 0, 0
    for camera in make_cameras(SIZE).values():
        photo = take_photo(snapshot, camera)
        position, rotation = camera.world_pose(world.ego_pose(0.0))
        local = (points - position) @ rotation
        keep = in_image(points, camera, position, rotation) & (local[:, 2] > 1)
        pixel = local[keep] @ camera.intrinsic.T
        column, row = np.rint(pixel[:, :2] / pixel[:, 2:]).astype(int).T
        depth = photo.depth[row, column]
        near = abs(depth - local[keep, 2]) < 0.03 * depth
        assert near.mean() > 0.6  # the rest is hidden from the camera, or beside a border
        total += near.sum()
        agree += (photo.category[row, column] == sweep.category[keep])[near].sum()
        # points in front of everything the camera sees there cannot exist, but for borders and noise
        assert (local[keep, 2] < 0.9 * depth).mean() < 0.08
    assert total > 5000 and agree / total > 0.95


def test_projected_boxes_cover_their_objects_pixels(caster):
    world = caster.world
    checked = 0
    for name, camera in make_cameras(SIZE).items():
        time = camera.delay
        photo = take_photo(caster.at(time), camera)
        position, rotation = camera.world_pose(world.ego_pose(time))
        for thing in world.things:
            rows, columns = np.nonzero(photo.instance == thing.number)
            place, yaw = thing.pose(world.layout, time)
            corners = box_corners(thing, place, yaw)
            local = (corners - position) @ rotation
            if len(rows) < 6 or (local[:, 2] < 0.1).any():
                continue
            pixel = local @ camera.intrinsic.T
            u, v = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
            assert u.min() - 1 <= columns.min() and columns.max() <= u.max() + 1, (name, thing.category)
            assert v.min() - 1 <= rows.min() and rows.max() <= v.max() + 1, (name, thing.category)
            checked += 1
    assert checked > 30


def box_corners(thing, place, yaw):
    width, length, height = thing.size
    grid = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)])
    c, s = np.cos(yaw), np.sin(yaw)
    return (grid * (length, width, height)) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + place


def test_visible_share_agrees_with_the_pixels(caster):
    """Objects without any pixel are invisible; the most visible ones have many."""
    world = caster.world
    cameras = make_cameras(SIZE)
    views = [(camera, caster.at(camera.delay)) for camera in cameras.values()]
    near = [t for t in world.things if np.hypot(*(t.pose(world.layout, 0.0)[0] - world.ego_pose(0.0)[0])[:2]) < 60]
    share = visible_shares(near, views)
    counts = np.zeros(len(world.things) + 1, int)
    for camera, snapshot in views:
        counts += np.bincount(take_photo(snapshot, camera).instance.ravel(), minlength=len(counts))
    pixels = counts[[thing.number for thing in near]]
    assert (share[pixels == 0] < 0.15).all()
    assert (pixels[share > 0.8] > 0).all()
    assert (share > 0.8).sum() > 0 and (share < 0.4).any()
    assert visible_shares([], views).shape == (0,)


def test_visibility_levels():
    assert [visibility_token(share) for share in (0.0, 0.39, 0.4, 0.6, 0.79, 0.8, 1.0)] == list('1123344')


def test_images_show_shadow_sky_and_texture(caster):
    camera = make_cameras(SIZE)['CAM_FRONT']
    photo = take_photo(caster.at(0.0), camera, np.random.default_rng(0))
    image = photo.image.astype(float)
    road = image[photo.category == INDEX['flat.driveable_surface']].mean(1)
    assert photo.image.dtype == np.uint8 and photo.image.shape == (*SIZE, 3)
    assert np.percentile(road, 95) > 1.5 * np.percentile(road, 5)
    sky, ground = image[photo.category == 0].mean(0), road.mean()
    assert sky.mean() > ground + 20
    assert np.isinf(photo.depth[photo.category == 0]).all()


def test_views_without_sky_or_without_ground_can_be_shaded(caster):
    snapshot = caster.at(0.0)
    for direction in ((0.0, 0.0, -1.0), (0.0, 0.0, 1.0)):
        rays = np.tile(np.float32(direction), (4, 1))
        hits = snapshot.hit(np.array([0.0, 0.0, 40.0]), rays)
        light = shade(snapshot, hits, np.float32([0, 0, 40]), rays, 0.001)
        assert hits.found.all() == (direction[2] < 0) and np.isfinite(light).all() and (light > 0).all()

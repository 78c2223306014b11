import numpy as np
from streets.camera import take_photo
from streets.frame import in_image, inside_box
from streets.lidar import take_sweep
from streets.rig import BEAMS, make_cameras, make_lidar
from streets.taxonomy import INDEX

SIZE = (198, 352)


def world_points(world, sweep):
    position, rotation = make_lidar().world_pose(world.ego_pose(0.0))
    return sweep.points[:, :3].astype(float) @ rotation.T + position


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
        if thing.category == 'vehicle.construction':
            # an excavator's box reaches over the curb, with grass and bushes below the arm
            labels = labels[~np.isin(labels, (INDEX['flat.terrain'], INDEX['static.vegetation']))]
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

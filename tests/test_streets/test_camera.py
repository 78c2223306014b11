import numpy as np
from streets.camera import shade, take_photo
from streets.rig import make_cameras
from streets.taxonomy import INDEX

SIZE = (198, 352)


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

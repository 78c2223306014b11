import numpy as np
import pytest
from streets.frame import inside_box
from streets.scene import make_world
from streets.taxonomy import CATEGORIES, INDEX


@pytest.fixture(scope='module')
def worlds():
    return [make_world(0, number) for number in range(10)]


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

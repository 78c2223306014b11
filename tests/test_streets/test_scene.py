import itertools

import numpy as np
import pytest
from peridot.catalog import CATALOG
from streets.frame import inside_box
from streets.lidar import take_sweep
from streets.raycast import Caster
from streets.scene import make_world
from streets.taxonomy import CATEGORIES, INDEX, SCENES, VAL_SCENES


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


def test_all_classes_are_seen_in_training_and_in_validation_scenes(worlds):
    """Half a percent of the labeled points of either set, and of at least four and two scenes."""
    classes = CATALOG['nuscenes'].classes
    counts = np.zeros((len(worlds), len(classes)))
    for number, world in enumerate(worlds):
        caster, rng = Caster(world), np.random.default_rng(number)
        category = np.concatenate([take_sweep(caster.at(time), rng).category for time in (0.0, 1.5, 3.0)])
        counts[number] = [np.isin(category, item.raw_ids).sum() for item in classes]
    validation = np.isin(SCENES, VAL_SCENES)
    for chosen, scenes in ((~validation, 4), (validation, 2)):
        share = counts[chosen].sum(0) / counts[chosen].sum()
        seen_in = (counts[chosen] > 0.005 * counts[chosen].sum(1, keepdims=True)).sum(0)
        for item, part, number in zip(classes, share, seen_in):
            assert part >= 0.005 and number >= scenes, (item.name, part, number)


def test_bays_are_not_parked_on(worlds):
    """Parked vehicles do not stand in each other."""
    for number, world in enumerate(worlds):
        parked = [t for t in world.things if t.category.startswith('vehicle') and not t.moves and abs(t.turn) % 3 < 0.2]
        for one, two in itertools.combinations(parked, 2):
            apart = np.hypot(*(one.pose(world.layout, 0)[0] - two.pose(world.layout, 0)[0])[:2])
            if abs(one.d - two.d) < 1.0:
                assert apart > (one.size[1] + two.size[1]) / 2 - 0.3, (number, one.category, two.category, one.s, two.s)


def test_vehicles_of_a_lane_never_meet(worlds):
    for number, world in enumerate(worlds):
        for time in (0.0, 3.5):
            ego = world.ego_pose(time)[0]
            for thing in world.moving():
                place, yaw = thing.pose(world.layout, time)
                if thing.category.startswith('vehicle') and np.hypot(*(place - ego)[:2]) < 30:
                    assert not inside_box(ego[None] + (1.4, 0, 1.0), thing, place, yaw).any(), (number, thing.category)

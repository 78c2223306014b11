import numpy as np
import pytest
from streets.world import choose, poses


@pytest.mark.parametrize('draw, row', [(0.0, ('tree',)), (0.19, ('tree',)), (0.21, ('sign', 2)), (0.49, ('sign', 2))])
def test_rows_are_chosen_by_their_ratio(draw, row):
    table = ((0.2, 'tree'), (0.3, 'sign', 2))
    assert choose(draw, table) == row
    assert choose(0.51, table) is None


def test_poses_at_once_are_those_of_each_object(caster):
    world = caster.world
    places, yaws = poses(world.things, world.layout, 1.5)
    one_by_one = [thing.pose(world.layout, 1.5) for thing in world.things]
    np.testing.assert_allclose(places, [place for place, _ in one_by_one], atol=1e-9)
    np.testing.assert_allclose(yaws, [yaw for _, yaw in one_by_one], atol=1e-9)
    assert any(thing.moves for thing in world.things)

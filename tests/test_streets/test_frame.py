import numpy as np
from streets.camera import take_photo
from streets.frame import visible_fractions
from streets.rig import make_cameras


def test_visible_fraction_agrees_with_the_pixels(caster):
    """Objects without any pixel are invisible; the most visible ones have many."""
    world = caster.world
    cameras = make_cameras((198, 352))
    views = [(camera, caster.at(camera.delay)) for camera in cameras.values()]
    near = [t for t in world.things if np.hypot(*(t.pose(world.layout, 0.0)[0] - world.ego_pose(0.0)[0])[:2]) < 60]
    fraction = visible_fractions(near, views)
    counts = np.zeros(len(world.things) + 1, int)
    for camera, snapshot in views:
        counts += np.bincount(take_photo(snapshot, camera).instance.ravel(), minlength=len(counts))
    pixels = counts[[thing.number for thing in near]]
    assert (fraction[pixels == 0] < 0.15).all()
    assert (pixels[fraction > 0.8] > 0).all()
    assert (fraction > 0.8).sum() > 0 and (fraction < 0.4).any()
    assert visible_fractions([], views).shape == (0,)

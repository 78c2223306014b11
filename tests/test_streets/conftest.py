"""One synthetic world and what is written of it, shared by the tests of the package."""

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from streets.frame import VERSION
from streets.lidar import take_sweep
from streets.raycast import Caster
from streets.scene import make_world


@pytest.fixture(scope='session')
def nusc(demo_root):
    """nuscenes-devkit's view of the demo dataset."""
    return NuScenes(version=VERSION, dataroot=str(demo_root), verbose=False)


@pytest.fixture(scope='session')
def caster():
    """The third scene, ready for rays."""
    return Caster(make_world(0, 2))


@pytest.fixture(scope='session')
def sweep(caster):
    """A sweep of its first moment."""
    return take_sweep(caster.at(0.0), np.random.default_rng(5))

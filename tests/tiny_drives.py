"""What a few keyframes are made of: made-up boxes on a plane, and poses of a lidar."""

import numpy as np

# drive and seconds of each keyframe: one of three, one of two with a gap before a third, one of a single keyframe
KEYFRAMES = [('a', 0.0), ('a', 0.5), ('a', 1.0), ('b', 0.0), ('b', 0.5), ('b', 4.0), ('c', 0.0)]
BOXES = np.array([[8.0, 2, 0], [-6, 5, 0], [3, -9, 0]])


def box(center: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points of a box of 2 x 1 x 1.5 m that stands 0.4 m above z = `center[2]`."""
    return center + rng.uniform([-1, -0.5, 0.4], [1, 0.5, 1.9], (count, 3))


def street(rng: np.random.Generator, counts=(120, 80, 60)) -> np.ndarray:
    """Points Float64 (N, 3) of ground and boxes, in the world."""
    ground = rng.uniform([-20, -20, -0.03], [20, 20, 0.03], (600, 3))
    return np.concatenate([ground, *(box(center, count, rng) for center, count in zip(BOXES, counts))])


def pose(number: int) -> np.ndarray:
    """Lidar to world: it drives and turns."""
    matrix = np.eye(4)
    cos, sin = np.cos(number), np.sin(number)
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    matrix[:3, 3] = 4 * number, 2 * number, 1.8
    return matrix

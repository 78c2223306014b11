"""Cars, trucks, buses, trailers and excavators."""

from __future__ import annotations

import numpy as np

from streets.mesh import Material as M
from streets.mesh import Mesh, merge
from streets.objects.parts import CAR_COLORS, CHROME, DARK, TAILLIGHT, lights, pick, wheels
from streets.shapes import box, cylinder, frustum


def car(rng: np.random.Generator) -> Mesh:
    """A sedan, hatchback, station wagon or SUV."""
    style = rng.choice(['sedan', 'hatch', 'suv', 'wagon'])
    length, width = rng.uniform(4.0, 4.9), rng.uniform(1.7, 1.95)
    height = rng.uniform(1.62, 1.85) if style == 'suv' else rng.uniform(1.4, 1.56)
    clear, belt = (0.3 if style == 'suv' else 0.2), height * 0.6
    front, back, half = length / 2, -length / 2, width / 2
    color = pick(rng, CAR_COLORS)
    hood = {'sedan': 0.27, 'hatch': 0.24, 'suv': 0.25, 'wagon': 0.26}[style] * length
    trunk = {'sedan': 0.16, 'hatch': 0.03, 'suv': 0.03, 'wagon': 0.02}[style] * length
    rake = rng.uniform(0.45, 0.75)
    rear_rake = {'sedan': 0.55, 'hatch': 0.4, 'suv': 0.2, 'wagon': 0.3}[style]
    glass = (M.WINDOW, color * 0.9)
    parts = [
        frustum((back + 0.05, front - 0.03), (-half + 0.06, half - 0.06), (clear, clear + 0.2), M.PAINT, DARK),
        frustum(
            (back, front),
            (-half, half),
            (clear + 0.12, belt * 0.8),
            M.PAINT,
            color,
            sides={'front': (M.METAL, color * 0.8)},
        ),
        frustum(
            (back, front),
            (-half, half),
            (belt * 0.8, belt),
            M.PAINT,
            color,
            top_x=(back + 0.06, front - 0.25),
            top_y=(-half + 0.07, half - 0.07),
        ),
        frustum(
            (back + trunk + 0.05, front - hood),
            (-half + 0.08, half - 0.08),
            (belt, height),
            M.WINDOW,
            color * 0.9,
            top_x=(back + trunk + rear_rake, front - hood - rake),
            top_y=(-half + 0.24, half - 0.24),
            sides={'top': (M.PAINT, color), 'front': glass, 'back': glass},
        ),
        box((0.05, 0.5, 0.12), (front, 0, clear + 0.3), M.SIGN, (0.75, 0.75, 0.7)),
        box((0.05, 0.5, 0.12), (back, 0, clear + 0.42), M.SIGN, (0.75, 0.75, 0.7)),
        *wheels((back + 0.18 * length, front - 0.18 * length), half + 0.01, rng.uniform(0.3, 0.36)),
        *lights(front, back, half, belt * 0.72),
    ]
    for side in (-1, 1):
        parts.append(box((0.16, 0.2, 0.12), (front - hood - 0.3, side * (half + 0.06), belt + 0.06), M.PAINT, color))
    return merge(parts)


def van(rng: np.random.Generator) -> Mesh:
    """A minivan, which counts as a car."""
    length, width, height = rng.uniform(4.8, 5.4), rng.uniform(1.9, 2.05), rng.uniform(1.9, 2.2)
    half, color = width / 2, pick(rng, ((0.8, 0.8, 0.78), (0.12, 0.2, 0.4), (0.3, 0.31, 0.33), (0.5, 0.1, 0.08)))
    front, back = length / 2, -length / 2
    parts = [
        frustum((back, front), (-half, half), (0.25, 1.05), M.PAINT, color, top_x=(back, front - 0.35)),
        frustum(
            (back, front - 0.4),
            (-half, half),
            (1.05, height),
            M.WINDOW,
            color,
            top_x=(back + 0.1, front - 1.25),
            top_y=(-half + 0.12, half - 0.12),
            sides={'top': (M.PAINT, color)},
        ),
        *wheels((back + 0.9, front - 0.9), half + 0.01, 0.34),
        *lights(front - 0.06, back, half, 0.75),
    ]
    return merge(parts)


def truck(rng: np.random.Generator) -> Mesh:
    """A cab with a box body or a flatbed with cargo, or a pickup."""
    if rng.random() < 0.3:
        return _pickup(rng)
    length, width, height = rng.uniform(6.2, 9.5), rng.uniform(2.2, 2.55), rng.uniform(2.7, 3.7)
    half, cab = width / 2, rng.uniform(1.7, 2.2)
    front, back = length / 2, -length / 2
    cab_height = min(height, rng.uniform(2.2, 2.9))
    color = pick(rng, CAR_COLORS + ((0.8, 0.55, 0.05), (0.8, 0.8, 0.8)))
    cargo = pick(rng, ((0.8, 0.8, 0.78), (0.15, 0.3, 0.5), (0.5, 0.08, 0.06), (0.55, 0.56, 0.55), (0.1, 0.35, 0.2)))
    body = M.RIBS if rng.random() < 0.5 else M.PAINT
    parts = [
        box((length - 0.3, width * 0.5, 0.25), (0, 0, 0.75), M.METAL, DARK),
        frustum((front - cab, front), (-half, half), (0.45, cab_height * 0.52), M.PAINT, color),
        frustum(
            (front - cab, front),
            (-half, half),
            (cab_height * 0.52, cab_height),
            M.WINDOW,
            color,
            top_x=(front - cab, front - 0.25),
            top_y=(-half + 0.08, half - 0.08),
            sides={'top': (M.PAINT, color), 'back': (M.PAINT, color)},
        ),
        *wheels((back + 1.0, front - cab * 0.6), half, 0.46, 0.3),
        *lights(front, back, half, 0.8, 0.24),
        box((0.05, 0.8, 0.25), (front, 0, 0.95), M.METAL, DARK),
    ]
    if rng.random() < 0.7:
        parts.append(
            box((length - cab - 0.25, width, height - 0.95), (-cab / 2 - 0.1, 0, (height + 0.95) / 2), body, cargo)
        )
    else:
        parts.append(box((length - cab - 0.25, width, 0.2), (-cab / 2 - 0.1, 0, 1.0), M.PLANKS, (0.3, 0.2, 0.12)))
        for _ in range(rng.integers(2, 5)):
            size = rng.uniform((0.9, 0.8, 0.5), (1.7, 1.6, 1.3))
            x = rng.uniform(back + 0.9, front - cab - 1.2)
            parts.append(
                box(
                    size,
                    (x, rng.uniform(-0.3, 0.3), 1.1 + size[2] / 2),
                    M.PLANKS,
                    pick(rng, ((0.4, 0.28, 0.15), (0.3, 0.3, 0.3))),
                )
            )
    return merge(parts)


def _pickup(rng: np.random.Generator) -> Mesh:
    """A pickup truck with an empty bed."""
    length, half, color = rng.uniform(5.2, 5.9), rng.uniform(0.93, 1.02), pick(rng, CAR_COLORS)
    front, back = length / 2, -length / 2
    bed = back + 0.36 * length
    parts = [
        frustum((bed, front), (-half, half), (0.38, 1.1), M.PAINT, color, top_x=(bed, front - 0.15)),
        box((0.36 * length, 2 * half, 0.35), (back + 0.18 * length, 0, 0.6), M.PAINT, color),
        frustum(
            (bed, front - 1.35),
            (-half + 0.06, half - 0.06),
            (1.1, 1.82),
            M.WINDOW,
            color,
            top_x=(bed + 0.1, front - 2.0),
            top_y=(-half + 0.2, half - 0.2),
            sides={'top': (M.PAINT, color)},
        ),
        *wheels((back + 1.1, front - 1.0), half + 0.01, 0.4, 0.26),
        *lights(front, back, half, 0.85, 0.22),
    ]
    for side in (-half + 0.05, half - 0.05):
        parts.append(box((0.36 * length, 0.08, 0.45), (back + 0.18 * length, side, 0.95), M.PAINT, color))
    parts.append(box((0.08, 2 * half, 0.45), (back + 0.04, 0, 0.95), M.PAINT, color))
    return merge(parts)


def bus(rng: np.random.Generator, length: float | None = None) -> Mesh:
    """A city bus with a band of windows, of `length` meters (random by default)."""
    length = length or rng.uniform(10.5, 12.5)
    half, height = rng.uniform(1.24, 1.3), rng.uniform(2.95, 3.3)
    color = pick(rng, ((0.65, 0.06, 0.05), (0.05, 0.2, 0.5), (0.75, 0.73, 0.68), (0.08, 0.4, 0.2), (0.8, 0.5, 0.04)))
    front, back = length / 2, -length / 2
    side = (M.BUS_SIDE, color)
    parts = [
        box((length - 0.1, 2 * half - 0.08, 0.3), (0, 0, 0.4), M.PAINT, DARK),
        frustum(
            (back, front),
            (-half, half),
            (0.45, height),
            M.PAINT,
            color,
            top_x=(back + 0.05, front - 0.12),
            top_y=(-half + 0.05, half - 0.05),
            sides={'left': side, 'right': side, 'front': side, 'back': (M.RIBS, color * 0.8)},
        ),
        box((length * 0.3, 1.4, 0.22), (-length * 0.2, 0, height + 0.08), M.METAL, (0.5, 0.5, 0.5)),
        box((0.06, 1.5, 0.3), (front, 0, height - 0.3), M.LAMP, (0.9, 0.55, 0.1)),
        *wheels((back + 2.6, front - 2.4), half + 0.01, 0.48, 0.3),
        *lights(front, back, half, 0.85, 0.26),
    ]
    return merge(parts)


def bendy_bus(rng: np.random.Generator) -> Mesh:
    """An articulated bus with dark bellows in the middle."""
    mesh = bus(rng, rng.uniform(16.5, 18.0))
    return merge([mesh, box((1.1, 2.5, 2.6), (-1.5, 0, 1.75), M.RIBS, DARK)])


def trailer(rng: np.random.Generator) -> Mesh:
    """A parked semi-trailer: container, tank or flatbed on legs and rear axles."""
    length, half = rng.uniform(7.0, 12.5), rng.uniform(1.2, 1.28)
    kind = rng.choice(['box', 'tank', 'flat'])
    front, back = length / 2, -length / 2
    color = pick(rng, ((0.55, 0.2, 0.06), (0.1, 0.22, 0.4), (0.7, 0.7, 0.68), (0.12, 0.32, 0.18), (0.5, 0.06, 0.06)))
    parts = [
        box((length, 1.1, 0.3), (0, 0, 1.0), M.METAL, DARK),
        *wheels((back + 1.0, back + 2.2), half, 0.48, 0.35),
        box((0.12, 0.12, 1.0), (front - 1.8, 0.7, 0.5), M.METAL, CHROME),
        box((0.12, 0.12, 1.0), (front - 1.8, -0.7, 0.5), M.METAL, CHROME),
        box((0.05, 2.2, 0.12), (back, 0, 0.95), M.LAMP, TAILLIGHT),
    ]
    if kind == 'box':
        parts.append(box((length, 2 * half, rng.uniform(2.2, 2.8)), (0, 0, 2.45), M.RIBS, color))
    elif kind == 'tank':
        tank = cylinder(
            (1.05, 1.05), (back + 0.1, front - 0.1), M.METAL, (0.6, 0.61, 0.62), at=(0, 2.15), segments=18, axis='y'
        )
        parts.append(tank.moved((0, 0, 0), np.pi / 2))
    else:
        parts.append(box((length, 2 * half, 0.18), (0, 0, 1.25), M.PLANKS, (0.32, 0.22, 0.13)))
        parts.append(box((length * 0.5, 1.8, 1.1), (-0.1 * length, 0, 1.9), M.PLANKS, (0.45, 0.32, 0.18)))
    return merge(parts)


def construction_vehicle(rng: np.random.Generator) -> Mesh:
    """An excavator: tracks, an upper body with cab and engine, a boom in two parts and a bucket."""
    color = pick(rng, ((0.85, 0.5, 0.02), (0.85, 0.3, 0.02)))
    parts = [box((3.6, 0.55, 0.8), (0, side, 0.42), M.RUBBER, (0.05, 0.05, 0.05)) for side in (-1.05, 1.05)]
    parts += [
        box((2.6, 1.6, 0.35), (0, 0, 0.75), M.METAL, DARK),
        box((3.0, 2.3, 1.0), (-0.35, 0, 1.45), M.PAINT, color),
        frustum((0.0, 1.15), (0.2, 1.15), (1.4, 2.9), M.WINDOW, color, top_x=(0.1, 1.0)),
    ]
    boom = box((3.6, 0.36, 0.42), (1.8, 0, 0), M.PAINT, color)
    arm = box((2.6, 0.28, 0.32), (1.3, 0, 0), M.PAINT, color)
    lift, fold = rng.uniform(0.5, 0.8), rng.uniform(-1.1, -0.7)
    elbow = np.array([0.9 + 3.5 * np.cos(lift), -0.3, 1.6 + 3.5 * np.sin(lift)])
    hand = elbow + 2.5 * np.array([np.cos(fold), 0, np.sin(fold)])
    parts += [
        boom.transformed(_pitch(lift), np.array([0.9, -0.3, 1.6])),
        arm.transformed(_pitch(fold), elbow),
        frustum((-0.5, 0.4), (-0.5, 0.5), (-0.7, 0.1), M.METAL, (0.25, 0.24, 0.22), top_x=(-0.3, 0.3)).moved(hand),
    ]
    return merge(parts)


def _pitch(angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) that lifts the x axis by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])

"""Builders of things that stand on the street. Each returns a `Mesh` whose x axis points forward and whose lowest
point is near z = 0; sizes, colors and parts vary with the generator `rng`."""

from __future__ import annotations

import numpy as np

from streets.mesh import Material as M
from streets.mesh import Mesh, blob, box, cylinder, frustum, leaves, merge

BLACK = (0.02, 0.02, 0.022)
DARK = (0.06, 0.06, 0.065)
CHROME = (0.45, 0.46, 0.48)
HEADLIGHT = (1.0, 0.97, 0.85)
TAILLIGHT = (0.75, 0.03, 0.02)
ORANGE = (0.9, 0.25, 0.02)
SKINS = ((0.75, 0.5, 0.38), (0.55, 0.34, 0.22), (0.3, 0.17, 0.1), (0.82, 0.6, 0.48))
CAR_COLORS = (
    (0.75, 0.76, 0.77),
    (0.03, 0.03, 0.035),
    (0.35, 0.36, 0.38),
    (0.13, 0.14, 0.16),
    (0.45, 0.02, 0.02),
    (0.03, 0.08, 0.32),
    (0.05, 0.2, 0.12),
    (0.6, 0.5, 0.35),
    (0.75, 0.4, 0.03),
    (0.15, 0.4, 0.55),
)
CLOTHES = (
    (0.05, 0.06, 0.1),
    (0.5, 0.06, 0.06),
    (0.06, 0.15, 0.4),
    (0.6, 0.6, 0.58),
    (0.1, 0.3, 0.14),
    (0.6, 0.42, 0.08),
    (0.35, 0.12, 0.35),
    (0.2, 0.2, 0.2),
)


def pick(rng: np.random.Generator, colors, spread: float = 0.15) -> np.ndarray:
    """One of the colors, (3,), brighter or darker by up to `spread` and slightly off its hue."""
    color = np.asarray(colors[rng.integers(len(colors))], float)
    return np.clip(color * rng.uniform(1 - spread, 1 + spread) + rng.normal(scale=0.01, size=3), 0.01, 1.0)


def wheels(x_positions, half_width: float, radius: float, width: float = 0.22) -> list[Mesh]:
    """A pair of wheels at each x, flush with the vehicle's sides."""
    parts = []
    for x in x_positions:
        for inner, outer in ((half_width - width, half_width), (-half_width, -half_width + width)):
            parts.append(
                cylinder(
                    (radius, radius),
                    (inner, outer),
                    M.RUBBER,
                    BLACK,
                    at=(x, radius),
                    segments=14,
                    axis='y',
                    cap=(M.HUB, CHROME),
                )
            )
    return parts


def lights(x_front: float, x_back: float, half_width: float, z: float, size: float = 0.2) -> list[Mesh]:
    """Head and tail lights as thin boxes on both ends."""
    y = half_width - size * 0.85
    parts = []
    for side in (-y, y):
        parts.append(box((0.04, size * 1.6, size * 0.7), (x_front, side, z), M.LAMP, HEADLIGHT))
        parts.append(box((0.04, size * 1.2, size), (x_back, side, z + 0.08), M.LAMP, TAILLIGHT))
    return parts


def car(rng: np.random.Generator) -> Mesh:
    """A sedan, hatchback, estate or SUV."""
    style = rng.choice(['sedan', 'hatch', 'suv', 'estate'])
    length, width = rng.uniform(4.0, 4.9), rng.uniform(1.7, 1.95)
    height = rng.uniform(1.62, 1.85) if style == 'suv' else rng.uniform(1.4, 1.56)
    clear, belt = (0.3 if style == 'suv' else 0.2), height * 0.6
    front, back, half = length / 2, -length / 2, width / 2
    color = pick(rng, CAR_COLORS)
    hood = {'sedan': 0.27, 'hatch': 0.24, 'suv': 0.25, 'estate': 0.26}[style] * length
    trunk = {'sedan': 0.16, 'hatch': 0.03, 'suv': 0.03, 'estate': 0.02}[style] * length
    rake = rng.uniform(0.45, 0.75)
    rear_rake = {'sedan': 0.55, 'hatch': 0.4, 'suv': 0.2, 'estate': 0.3}[style]
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
    """A delivery van, counted as a truck by its looks or a car by its size: here a car-like people carrier."""
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
    """A cab with a box body, a flat bed with cargo, or a pickup."""
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
    """A city bus with a band of windows and doors on its right side."""
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
    """A long bus with a dark bellows in the middle."""
    mesh = bus(rng, rng.uniform(16.5, 18.0))
    return merge([mesh, box((1.1, 2.5, 2.6), (-1.5, 0, 1.75), M.RIBS, DARK)])


def trailer(rng: np.random.Generator) -> Mesh:
    """A parked semi-trailer: container, tank or flat bed on legs and rear axles."""
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
    """An excavator: tracks, a turned upper body with cab and engine, a boom in two parts and a bucket."""
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
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def person(rng: np.random.Generator, height: float | None = None, worker: bool = False, stride: float = 0.0) -> Mesh:
    """Legs, torso, arms and head; `stride` (0..1) opens the legs."""
    height = height or rng.uniform(1.55, 1.9)
    scale = height / 1.75
    shirt = np.array([0.85, 0.55, 0.02]) if worker else pick(rng, CLOTHES, 0.3)
    trousers = pick(rng, CLOTHES[:3] + CLOTHES[-1:], 0.3)
    skin = pick(rng, SKINS, 0.1)
    hair = pick(rng, ((0.03, 0.02, 0.015), (0.12, 0.06, 0.03), (0.35, 0.22, 0.1), (0.3, 0.3, 0.3)))
    reach, girth = 0.28 * stride, rng.uniform(0.9, 1.25)
    parts = [
        blob((0.1, 0.095, 0.13), (0.02, 0, 1.62), M.SKIN, skin, subdivisions=2),
        blob((0.115, 0.11, 0.1), (-0.015, 0, 1.68), M.CLOTH, ORANGE if worker else hair, subdivisions=1),
        cylinder((0.05, 0.05), (1.4, 1.55), M.SKIN, skin, segments=8),
        frustum(
            (-0.1 * girth, 0.1 * girth),
            (-0.15 * girth, 0.15 * girth),
            (0.85, 1.45),
            M.STRIPES if worker else M.CLOTH,
            shirt,
            top_x=(-0.1, 0.1),
            top_y=(-0.21, 0.21),
        ),
        *(
            frustum(
                (-0.05, 0.05), (y - 0.045, y + 0.045), (0.82, 1.42), M.CLOTH, shirt * 0.85, top_x=(-0.06, 0.06)
            ).moved((s * reach * 0.35, 0, 0))
            for y, s in ((0.27, 1), (-0.27, -1))
        ),
    ]
    for side, way in ((0.09, -1), (-0.09, 1)):
        foot = way * reach
        parts.append(
            frustum(
                (foot - 0.07, foot + 0.07),
                (side - 0.07, side + 0.07),
                (0.06, 0.88),
                M.CLOTH,
                trousers,
                top_x=(-0.09, 0.09),
                top_y=(side - 0.09, side + 0.09),
            )
        )
        parts.append(box((0.27, 0.1, 0.08), (foot + 0.05, side, 0.04), M.CLOTH, BLACK))
    if rng.random() < 0.25:
        parts.append(box((0.16, 0.3, 0.45), (-0.18, 0, 1.2), M.CLOTH, pick(rng, CLOTHES)))
    return merge([part.transformed(np.eye(3) * scale, np.zeros(3)) for part in parts])


def adult(rng: np.random.Generator) -> Mesh:
    """A standing grown-up."""
    return person(rng)


def walking_adult(rng: np.random.Generator) -> Mesh:
    """A grown-up in mid-stride."""
    return person(rng, stride=rng.uniform(0.5, 1.0))


def child(rng: np.random.Generator) -> Mesh:
    """A child of 1.0 to 1.35 m."""
    return person(rng, height=rng.uniform(1.0, 1.35), stride=rng.uniform(0, 0.8))


def worker(rng: np.random.Generator) -> Mesh:
    """A construction worker in a striped vest and helmet."""
    return person(rng, worker=True)


def _rider(rng: np.random.Generator, seat: float) -> list[Mesh]:
    shirt, trousers = pick(rng, CLOTHES, 0.3), pick(rng, CLOTHES[:3])
    return [
        blob((0.12, 0.11, 0.14), (0.12, 0, seat + 0.78), M.PAINT, pick(rng, CAR_COLORS), subdivisions=2),
        frustum(
            (-0.25, 0.0), (-0.16, 0.16), (seat, seat + 0.62), M.CLOTH, shirt, top_x=(-0.05, 0.18), top_y=(-0.2, 0.2)
        ),
        *(
            frustum(
                (0.05, 0.16), (y - 0.04, y + 0.04), (seat + 0.1, seat + 0.55), M.CLOTH, shirt * 0.8, top_x=(0.0, 0.12)
            ).moved((0.18, 0, 0))
            for y in (0.22, -0.22)
        ),
        *(
            frustum((0.0, 0.13), (y - 0.06, y + 0.06), (0.28, seat + 0.08), M.CLOTH, trousers, top_x=(-0.15, 0.08))
            for y in (0.12, -0.12)
        ),
    ]


def bicycle(rng: np.random.Generator, rider: bool = False) -> Mesh:
    """Two thin wheels, a frame, a handlebar, perhaps a rider."""
    color = pick(rng, CAR_COLORS[3:])
    radius = rng.uniform(0.31, 0.35)
    parts = [
        cylinder(
            (radius, radius),
            (-0.022, 0.022),
            M.RUBBER,
            BLACK,
            at=(x, radius),
            segments=16,
            axis='y',
            cap=(M.HUB, (0.3, 0.3, 0.3)),
        )
        for x in (-0.52, 0.52)
    ]
    parts += [
        box((0.62, 0.05, 0.06), (0.05, 0, 0.8), M.PAINT, color),
        frustum((-0.15, -0.05), (-0.03, 0.03), (0.3, 0.95), M.PAINT, color, top_x=(-0.28, -0.2)),
        frustum((0.47, 0.55), (-0.03, 0.03), (0.3, 1.02), M.PAINT, color, top_x=(0.3, 0.38)),
        frustum((-0.08, 0.0), (-0.025, 0.025), (0.28, 0.82), M.PAINT, color, top_x=(0.3, 0.36)),
        box((0.25, 0.14, 0.06), (-0.25, 0, 0.97), M.PAINT, BLACK),
        box((0.05, 0.54, 0.05), (0.34, 0, 1.04), M.METAL, CHROME),
    ]
    if rng.random() < 0.3:
        parts.append(box((0.3, 0.34, 0.24), (0.6, 0, 0.92), M.PLANKS, (0.35, 0.25, 0.14)))
    return merge(parts + (_rider(rng, 0.95) if rider else []))


def cyclist(rng: np.random.Generator) -> Mesh:
    """A bicycle with its rider."""
    return bicycle(rng, rider=True)


def motorcycle(rng: np.random.Generator, rider: bool = False) -> Mesh:
    """Two fat wheels, tank, engine, seat and fork, perhaps a rider."""
    color = pick(rng, CAR_COLORS)
    parts = [
        cylinder((0.31, 0.31), (-0.08, 0.08), M.RUBBER, BLACK, at=(x, 0.31), segments=16, axis='y', cap=(M.HUB, CHROME))
        for x in (-0.68, 0.7)
    ]
    parts += [
        box((0.65, 0.3, 0.4), (0.0, 0, 0.5), M.METAL, (0.2, 0.2, 0.21)),
        frustum((-0.1, 0.45), (-0.17, 0.17), (0.68, 0.98), M.PAINT, color, top_x=(-0.05, 0.35), top_y=(-0.12, 0.12)),
        frustum((-0.85, -0.05), (-0.15, 0.15), (0.66, 0.84), M.PAINT, BLACK, top_x=(-0.9, -0.1)),
        frustum((0.62, 0.74), (-0.1, 0.1), (0.35, 1.1), M.METAL, CHROME, top_x=(0.36, 0.46)),
        box((0.06, 0.72, 0.05), (0.36, 0, 1.08), M.METAL, DARK),
        box((0.14, 0.2, 0.2), (0.56, 0, 0.93), M.LAMP, HEADLIGHT),
        box((0.06, 0.14, 0.1), (-0.9, 0, 0.72), M.LAMP, TAILLIGHT),
        box((0.5, 0.1, 0.1), (-0.4, -0.2, 0.36), M.METAL, CHROME),
    ]
    return merge(parts + (_rider(rng, 0.84) if rider else []))


def motorcyclist(rng: np.random.Generator) -> Mesh:
    """A motorcycle with its rider."""
    return motorcycle(rng, rider=True)


def barrier(rng: np.random.Generator) -> Mesh:
    """A temporary barrier: concrete, water-filled plastic, or striped boards on feet."""
    length, kind = rng.uniform(1.7, 2.3), rng.integers(3)
    if kind < 2:
        look = (
            (M.CONCRETE, pick(rng, ((0.5, 0.49, 0.46),)))
            if kind == 0
            else (M.STRIPES, pick(rng, (ORANGE, (0.7, 0.05, 0.04))))
        )
        return merge(
            [
                frustum((-0.28, 0.28), (-length / 2, length / 2), (0, 0.35), *look, top_x=(-0.14, 0.14)),
                frustum((-0.14, 0.14), (-length / 2, length / 2), (0.35, 0.9), *look, top_x=(-0.08, 0.08)),
            ]
        )
    parts = [box((0.05, length, 0.22), (0, 0, z), M.STRIPES, (0.7, 0.05, 0.04)) for z in (0.55, 0.95)]
    parts += [
        box((0.5, 0.06, 1.06), (0, y, 0.53), M.METAL, (0.4, 0.4, 0.4)) for y in (-length / 2 + 0.2, length / 2 - 0.2)
    ]
    return merge(parts)


def cone(rng: np.random.Generator) -> Mesh:
    """A traffic cone or a tall delineator."""
    height, radius = rng.uniform(0.6, 1.05), rng.uniform(0.13, 0.19)
    return merge(
        [
            box((radius * 2.5, radius * 2.5, 0.05), (0, 0, 0.025), M.PAINT, (0.5, 0.12, 0.02)),
            cylinder((radius, radius * 0.25), (0.05, height), M.STRIPES, ORANGE, segments=12),
        ]
    )


def bin_(rng: np.random.Generator) -> Mesh:
    """A wheeled rubbish bin or a larger container."""
    size = (0.6, 0.6, 1.05) if rng.random() < 0.7 else (1.1, 1.4, 1.3)
    color = pick(rng, ((0.05, 0.2, 0.08), (0.06, 0.1, 0.3), (0.12, 0.12, 0.12), (0.3, 0.2, 0.05)))
    x, y, z = size
    return merge(
        [
            frustum(
                (-x / 2 + 0.06, x / 2 - 0.06),
                (-y / 2 + 0.04, y / 2 - 0.04),
                (0.08, z),
                M.PAINT,
                color,
                top_x=(-x / 2, x / 2),
                top_y=(-y / 2, y / 2),
            ),
            frustum(
                (-x / 2 - 0.04, x / 2 + 0.02),
                (-y / 2 - 0.02, y / 2 + 0.02),
                (z, z + 0.08),
                M.PAINT,
                color * 0.7,
                top_x=(-x / 2 + 0.05, x / 2 - 0.05),
            ),
            *wheels((-x / 2 + 0.1,), y / 2 - 0.02, 0.1, 0.06),
        ]
    )


def debris(rng: np.random.Generator) -> Mesh:
    """A heap of boxes or bags."""
    parts = []
    for _ in range(rng.integers(2, 5)):
        size = rng.uniform(0.25, 0.55, 3)
        at = (*rng.uniform(-0.3, 0.3, 2), size[2] / 2)
        parts.append(
            box(size, at, M.PLANKS, (0.42, 0.3, 0.17))
            if rng.random() < 0.5
            else blob(size / 2, at, M.PAINT, BLACK, rng, 0.2)
        )
    return merge(parts)


def bicycle_rack(rng: np.random.Generator) -> Mesh:
    """A row of steel hoops."""
    parts = []
    for x in np.arange(rng.integers(3, 6)) * 0.8:
        parts += [box((0.06, 0.06, 0.8), (x, y, 0.4), M.METAL, CHROME) for y in (-0.4, 0.4)]
        parts.append(box((0.06, 0.86, 0.06), (x, 0, 0.82), M.METAL, CHROME))
    return merge(parts)


GREENS = ((0.09, 0.2, 0.04), (0.14, 0.24, 0.05), (0.06, 0.16, 0.05), (0.2, 0.22, 0.04), (0.3, 0.15, 0.03))
BARKS = ((0.16, 0.11, 0.07), (0.22, 0.19, 0.16), (0.1, 0.07, 0.05))


def tree(rng: np.random.Generator, fine: bool = True) -> Mesh:
    """A broad-leaved tree or a conifer of 4 to 10 m; with `fine` it has more and smaller leaves."""
    height, trunk = rng.uniform(4.0, 10.0), rng.uniform(0.1, 0.22)
    green, bark = pick(rng, GREENS, 0.25), pick(rng, BARKS)
    if rng.random() < 0.2:
        return _conifer(rng, height, trunk, green, bark, fine)
    fork = height * rng.uniform(0.3, 0.45)
    crown = rng.uniform(0.17, 0.3) * height
    parts = [cylinder((trunk, trunk * 0.7), (-0.5, fork + crown), M.BARK, bark, segments=8)]
    for _ in range(rng.integers(4, 8)):
        radius = crown * rng.uniform(0.5, 0.85) * np.array([1, 1, rng.uniform(0.7, 1.0)])
        rise = radius[2] * 0.6 + rng.random() * min(crown * 1.6, height - fork)
        at = np.array([*rng.normal(scale=crown * 0.4, size=2), fork + rise])
        shade = green * rng.uniform(0.75, 1.2)
        parts.append(blob(radius * 0.8, at, M.LEAVES, shade * 0.75, rng, 0.18, 2 if fine else 1))
        parts.append(leaves(300 if fine else 60, radius, at, shade, rng, 0.2 if fine else 0.4))
    return merge(parts)


def _conifer(rng: np.random.Generator, height: float, trunk: float, green, bark, fine: bool) -> Mesh:
    parts = [cylinder((trunk, trunk * 0.6), (-0.5, height * 0.3), M.BARK, bark, segments=8)]
    for level in np.linspace(0.12, 0.8, 5):
        spread = 0.26 * height * (1 - level)
        low, high, shade = level * height, (level + 0.28) * height, green * rng.uniform(0.7, 1.1)
        parts.append(cylinder((spread * 0.85, 0.05), (low, high), M.LEAVES, shade, segments=11))
        share = np.sqrt(rng.random(260 if fine else 50))
        needles = leaves(len(share), (1, 1, 1), (0, 0, 0), shade, rng, 0.17 if fine else 0.35)
        angle = rng.uniform(0, 2 * np.pi, len(share))
        ring = spread * share * 1.02
        spot = np.stack([ring * np.cos(angle), ring * np.sin(angle), high + (low - high) * share], 1)
        needles.vertices += (spot - needles.vertices.mean(1))[:, None].astype(np.float32)
        outward = np.stack([np.cos(angle), np.sin(angle), np.full_like(angle, 0.5)], 1) / np.sqrt(1.25)
        needles.normal = outward.astype(np.float32)
        parts.append(needles)
    return merge(parts)


def bush(rng: np.random.Generator, fine: bool = True) -> Mesh:
    """A shrub of 0.5 to 1.6 m."""
    radius = rng.uniform(0.3, 0.8)
    green = pick(rng, GREENS[:3], 0.3)
    parts = []
    for _ in range(rng.integers(1, 4)):
        at = np.array([*rng.normal(scale=radius * 0.6, size=2), radius * 0.75])
        parts.append(blob((radius * 0.85, radius * 0.85, radius * 0.85), at, M.LEAVES, green * 0.8, rng, 0.2, 1))
        parts.append(leaves(110 if fine else 30, (radius, radius, radius), at, green, rng, 0.12 if fine else 0.25))
    return merge(parts)


def hedge(rng: np.random.Generator, length: float) -> Mesh:
    """A cut hedge along x."""
    height, depth = rng.uniform(0.7, 1.6), rng.uniform(0.5, 0.8)
    green = pick(rng, ((0.07, 0.17, 0.04), (0.12, 0.2, 0.05)), 0.2)
    core = box((length, depth, height), (0, 0, height / 2), M.LEAVES, green)
    fringe = leaves(int(60 * length), (1, 1, 1), (0, 0, 0), green, rng, 0.14)
    middle = fringe.vertices.mean(1, keepdims=True)
    spot = rng.uniform(-1, 1, (len(fringe), 1, 3))
    spot[np.arange(len(fringe)), 0, rng.integers(1, 3, len(fringe))] = rng.choice([-1.0, 1.0], len(fringe))
    target = spot * np.array([length, depth, height]) / 2 + np.array([0, 0, height / 2])
    fringe.vertices = (fringe.vertices - middle + target).astype(np.float32)
    return merge([core, fringe])


def street_light(rng: np.random.Generator) -> Mesh:
    """A tall pole with an arm towards +y."""
    height = rng.uniform(6.5, 9.0)
    gray = pick(rng, ((0.3, 0.31, 0.32), (0.1, 0.12, 0.12), (0.2, 0.25, 0.2)))
    return merge(
        [
            cylinder((0.14, 0.14), (-0.2, 0.9), M.METAL, gray * 0.8, segments=8),
            cylinder((0.09, 0.06), (0.9, height), M.METAL, gray, segments=8),
            box((0.08, 1.8, 0.08), (0, 0.85, height - 0.05), M.METAL, gray),
            box((0.28, 0.7, 0.12), (0, 1.75, height - 0.08), M.LAMP, (0.8, 0.8, 0.75)),
        ]
    )


def sign(rng: np.random.Generator) -> Mesh:
    """A thin pole with one or two signs that face -x."""
    height = rng.uniform(2.2, 3.0)
    color = pick(
        rng, ((0.7, 0.03, 0.03), (0.02, 0.12, 0.5), (0.8, 0.6, 0.02), (0.05, 0.35, 0.12), (0.8, 0.8, 0.8)), 0.05
    )
    parts = [cylinder((0.035, 0.035), (-0.2, height), M.METAL, (0.4, 0.4, 0.4), segments=6)]
    parts.append(box((0.03, 0.68, 0.68), (-0.06, 0, height - 0.35), M.SIGN, color))
    if rng.random() < 0.4:
        parts.append(box((0.03, 0.6, 0.25), (-0.06, 0, height - 0.9), M.SIGN, (0.8, 0.8, 0.8)))
    return merge(parts)


def traffic_light(rng: np.random.Generator) -> Mesh:
    """A pole with a signal head that faces -x."""
    lit = rng.integers(3)
    colors = [(0.9, 0.03, 0.02), (0.9, 0.5, 0.02), (0.02, 0.8, 0.3)]
    parts = [
        cylinder((0.08, 0.07), (-0.2, 4.2), M.METAL, (0.12, 0.14, 0.12), segments=8),
        box((0.25, 0.36, 1.0), (-0.1, 0, 3.6), M.PAINT, (0.03, 0.03, 0.03)),
    ]
    for row, color in enumerate(colors):
        shade = color if row == lit else tuple(0.12 * c for c in color)
        parts.append(box((0.03, 0.22, 0.22), (-0.24, 0, 3.9 - 0.3 * row), M.LAMP, shade))
    return merge(parts)


def bench(rng: np.random.Generator) -> Mesh:
    """A wooden bench that faces +y."""
    wood = pick(rng, ((0.3, 0.18, 0.09), (0.25, 0.22, 0.18)))
    return merge(
        [
            box((1.7, 0.45, 0.07), (0, 0, 0.46), M.PLANKS, wood),
            box((1.7, 0.07, 0.4), (0, -0.22, 0.75), M.PLANKS, wood),
            *(box((0.08, 0.45, 0.45), (x, 0, 0.22), M.METAL, DARK) for x in (-0.75, 0.75)),
        ]
    )


def cabinet(rng: np.random.Generator) -> Mesh:
    """A switch cabinet or a post box."""
    size = rng.uniform((0.4, 0.6, 0.9), (0.6, 1.2, 1.5))
    color = pick(rng, ((0.35, 0.38, 0.36), (0.6, 0.5, 0.03), (0.5, 0.03, 0.03), (0.1, 0.2, 0.1)))
    return box(size, (0, 0, size[2] / 2), M.METAL, color)


def bollard(rng: np.random.Generator) -> Mesh:
    """A short post."""
    return cylinder(
        (0.09, 0.08),
        (0, rng.uniform(0.7, 1.0)),
        M.METAL,
        pick(rng, ((0.12, 0.12, 0.12), (0.5, 0.5, 0.48))),
        segments=10,
    )


def shelter(rng: np.random.Generator) -> Mesh:
    """A bus stop: glass back wall along x, roof, poster and bench; open towards +y."""
    return merge(
        [
            box((4.0, 0.05, 2.2), (0, -0.7, 1.2), M.GLASS, (0.25, 0.3, 0.32)),
            box((4.2, 1.7, 0.12), (0, 0, 2.45), M.METAL, DARK),
            box((0.1, 1.3, 2.0), (2.0, 0, 1.1), M.SIGN, pick(rng, CAR_COLORS[4:])),
            *(box((0.1, 0.1, 2.4), (x, y, 1.2), M.METAL, DARK) for x in (-2, 2) for y in (-0.7, 0.7)),
            box((2.6, 0.4, 0.06), (-0.3, -0.4, 0.5), M.PLANKS, (0.3, 0.2, 0.1)),
        ]
    )


def fence(rng: np.random.Generator, length: float) -> Mesh:
    """A wooden fence, a railing or a low wall along x."""
    kind = rng.integers(3)
    if kind == 0:
        height = rng.uniform(0.9, 1.7)
        return box(
            (length, 0.06, height),
            (0, 0, height / 2),
            M.PLANKS,
            pick(rng, ((0.35, 0.24, 0.14), (0.6, 0.58, 0.52), (0.2, 0.26, 0.2))),
        )
    if kind == 1:
        height = rng.uniform(0.5, 1.1)
        return box(
            (length, 0.3, height), (0, 0, height / 2), M.BRICK, pick(rng, ((0.35, 0.13, 0.08), (0.4, 0.34, 0.27)))
        )
    posts = [box((0.05, 0.05, 1.0), (x, 0, 0.5), M.METAL, DARK) for x in np.arange(-length / 2, length / 2 + 0.01, 0.6)]
    return merge(posts + [box((length, 0.06, 0.07), (0, 0, z), M.METAL, DARK) for z in (0.35, 1.0)])

"""What surfaces look like: one procedural texture for each `Material`, evaluated at hit positions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streets.facades import brick, brick_facade, curtain, facade, shop, tiles
from streets.layout import LANE
from streets.mesh import Material
from streets.surface import Look, Surface, hashed, mix
from streets.vectors import take_rows


def markings(s: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of the road by white and by yellow paint, float (N,) each, in [0, 1]."""
    layout, along, across = s.layout, s.u, s.v
    crossing = layout.on_crossing(along)
    white, yellow = np.zeros_like(along), np.zeros_like(along)
    dash = np.mod(along, 9.0) < 3.6
    for side in (-1, 1):
        for lane in range(1, layout.lanes):
            white += dash * s.band(across - side * (layout.median + lane * LANE), 0.07)
        white += s.band(across - side * (layout.median + layout.lanes * LANE), 0.06)
    if layout.median:
        yellow += s.band(abs(across) - layout.median - 0.25, 0.06)
    else:
        yellow += s.band(abs(across) - 0.14, 0.055)
    white, yellow = white * ~crossing, yellow * ~crossing
    half = np.where(across < 0, layout.half(-1), layout.half(1))
    for middle in layout.crossings:
        off = abs(along - middle)
        walk = (off > layout.crossing_half - 3.0) & (off < layout.crossing_half - 0.4) & (abs(across) < half - 0.3)
        walk &= abs(across) > layout.median
        white += walk * s.band(np.mod(across, 1.1) - 0.55, 0.28)
        stop = (
            s.band(off - layout.crossing_half - 1.2, 0.2)
            * (abs(across) < half - 2.6)
            * (np.sign(across) == np.sign(along - middle))
        )
        white += stop
        white += s.band(along - middle, 0.06) * (np.mod(across, 6.0) < 3.0) * (abs(across) > half + 3)
    return np.clip(white, 0, 1), np.clip(yellow, 0, 1)


def road(s: Surface) -> Look:
    """Asphalt with wheel tracks, patches, cracks and markings."""
    tone = 1 + 0.22 * s.noise('grain', 45) + 0.2 * s.noise('cloud', 9)
    lane = np.mod(abs(s.v) - s.layout.median, LANE) / LANE
    tone *= 1 - 0.13 * np.exp(-(((abs(lane - 0.5) - 0.24) / 0.09) ** 2))
    patch = hashed(np.floor(s.u / 7.3), np.floor(s.v / 2.4))
    tone *= np.where(patch > 0.9, 0.72, 1.0)
    crack = abs(s.noise('cloud', 14, 1.3))
    tone *= 1 - 0.4 * np.clip(1 - crack / 0.025, 0, 1) * np.clip(0.12 / np.maximum(s.footprint, 1e-3), 0, 1)
    albedo = s.color * tone[:, None]
    white, yellow = markings(s)
    worn = np.clip(0.85 + 0.45 * s.noise('grain', 30), 0.2, 1)
    albedo = mix(albedo, (0.72, 0.72, 0.7), white * worn)
    return Look(mix(albedo, (0.7, 0.45, 0.05), yellow * worn))


def slabs(s: Surface) -> Look:
    """Paving slabs of a sidewalk."""
    size = 0.9
    shade = hashed(np.floor(s.u / size), np.floor(s.v / size))
    tone = 1 + 0.22 * (shade - 0.5) + 0.14 * s.noise('grain', 50) + 0.16 * s.noise('cloud', 8)
    joint = np.maximum(s.band(np.mod(s.u, size) - size / 2, size / 2 - 0.02), 0)
    joint = np.minimum(joint, s.band(np.mod(s.v, size) - size / 2, size / 2 - 0.02))
    tone *= 0.65 + 0.35 * np.where(s.footprint > 0.1, 1.0, joint)
    return Look(s.color * tone[:, None])


def grass(s: Surface) -> Look:
    """Grass with dry patches."""
    tone = 1 + 0.5 * s.noise('grain', 70) + 0.3 * s.noise('cloud', 12)
    dry = np.clip(0.25 + 0.8 * s.noise('cloud', 3.1), 0, 0.85)
    return Look(mix(s.color, (0.24, 0.19, 0.09), dry) * tone[:, None])


def foliage(s: Surface) -> Look:
    """Leaves in clumps."""
    clump = s.noise('cells', 34)
    tone = 0.95 + 0.55 * clump + 0.3 * s.noise('grain', 60)
    tint = s.color + np.float32(0.05) * np.maximum(clump, 0)[:, None] * np.array([1.0, 1.0, 0.2], np.float32)
    return Look(tint * np.clip(tone, 0.15, 2)[:, None])


def bark(s: Surface) -> Look:
    """Bark of a tree."""
    tone = 1 + 0.5 * s.noise('grain', 60, 3.0) + 0.3 * s.noise('cloud', 40)
    return Look(s.color * tone[:, None])


def paint(s: Surface) -> Look:
    """Car paint and other coatings."""
    dirt = 1 + 0.06 * s.noise('cloud', 60)
    return Look(s.color * dirt[:, None], 0.22)


def window(s: Surface) -> Look:
    """Car windows: dark panes inside painted pillars."""
    edge_u = np.minimum(s.u, s.extent[:, 0] - s.u)
    fv = s.v / np.maximum(s.extent[:, 1], 1e-3)
    pillar = (s.extent[:, 0] > 2.0) & (abs(s.u - s.extent[:, 0] * 0.5) < 0.045)
    pane = (edge_u > 0.09) & (fv > 0.1) & (fv < 0.9) & ~pillar
    shade = np.float32([0.03, 0.035, 0.04]) * (1 + 0.8 * fv)[:, None]
    return Look(np.where(pane[:, None], shade, s.color), np.where(pane, 0.55, 0.22))


def bus_side(s: Surface) -> Look:
    """The side of a bus: windows and a stripe."""
    fv = s.v / np.maximum(s.extent[:, 1], 1e-3)
    pane_u = np.mod(s.u, 1.45)
    pane = (fv > 0.4) & (fv < 0.82) & (pane_u > 0.07) & (s.u > 0.15) & (s.u < s.extent[:, 0] - 0.15)
    stripe = (fv > 0.14) & (fv < 0.3)
    albedo = mix(s.color, (0.75, 0.75, 0.72), np.where(stripe, 0.9, 0.0))
    return Look(np.where(pane[:, None], np.float32([0.035, 0.04, 0.05]), albedo), np.where(pane, 0.5, 0.2))


def lamp(s: Surface) -> Look:
    """Lights that are on."""
    return Look(s.color * 0.8, 0.3, 0.55)


def rubber(s: Surface) -> Look:
    """Tires and tracks."""
    return Look(s.color * (1 + 0.3 * s.noise('grain', 80))[:, None])


def hub(s: Surface) -> Look:
    """A wheel rim with five spokes."""
    radius = s.extent[:, 0] / 2
    x, y = s.u - radius, s.v - radius
    r = np.hypot(x, y) / np.maximum(radius, 1e-3)
    spokes = np.cos(np.arctan2(y, x) * 5) > -0.35
    rim = ((r < 0.66) & spokes) | (abs(r - 0.62) < 0.06)
    return Look(np.where(rim[:, None], s.color, np.float32([0.015, 0.015, 0.016])), np.where(rim, 0.3, 0.0))


def glass(s: Surface) -> Look:
    """Clear glass."""
    return Look(s.color * 0.25, 0.6)


def stripes(s: Surface) -> Look:
    """Reflective stripes of cones, barriers, vests and awnings."""
    narrow = s.extent[:, 1] < 0.4
    phase = np.where(narrow, s.u + s.v, s.v) / np.where(narrow, 0.5, 0.38)
    white = np.mod(phase, 1) > 0.52
    return Look(np.where(white[:, None], np.float32([0.72, 0.72, 0.7]), s.color), 0.08)


def sign(s: Surface) -> Look:
    """A traffic sign or plate with a border and marks."""
    fu, fv = s.u / np.maximum(s.extent[:, 0], 1e-3), s.v / np.maximum(s.extent[:, 1], 1e-3)
    border = np.maximum(abs(fu - 0.5), abs(fv - 0.5)) > 0.43
    marks = (hashed(np.floor(fu * 6), np.floor(fv * 5), s.seed) > 0.62) & (abs(fu - 0.5) < 0.34) & (abs(fv - 0.5) < 0.3)
    light = (border | marks) & (s.extent[:, 1] > 0.2)
    dark = s.color.mean(1) > 0.5
    ink = np.where(dark[:, None], np.float32([0.03, 0.03, 0.04]), np.float32([0.8, 0.8, 0.78]))
    return Look(np.where(light[:, None], ink, s.color), 0.1)


def cloth(s: Surface) -> Look:
    """Clothes."""
    tone = 1 + 0.3 * s.noise('cloud', 160, 2.0) + 0.12 * s.noise('grain', 200)
    return Look(s.color * tone[:, None])


def skin(s: Surface) -> Look:
    """Skin."""
    return Look(s.color * (1 + 0.08 * s.noise('cloud', 200))[:, None])


def concrete(s: Surface) -> Look:
    """Concrete."""
    tone = 1 + 0.2 * s.noise('cloud', 14) + 0.13 * s.noise('grain', 55)
    return Look(s.color * tone[:, None])


def metal(s: Surface) -> Look:
    """Bare metal."""
    return Look(s.color * (1 + 0.12 * s.noise('cloud', 40, 0.3))[:, None], 0.3)


def planks(s: Surface) -> Look:
    """Wooden boards."""
    width = 0.16
    across = np.where(s.extent[:, 0] > s.extent[:, 1], s.u, s.v)
    tone = 0.85 + 0.3 * hashed(np.floor(across / width), s.seed * 13) + 0.25 * s.noise('cloud', 30, 0.3)
    gap = np.clip(0.08 / np.maximum(s.footprint, 1e-3), 0, 1) * (
        abs(np.mod(across, width) - width / 2) > width / 2 - 0.012
    )
    return Look(s.color * (tone * (1 - 0.6 * gap))[:, None])


def ribs(s: Surface) -> Look:
    """Corrugated metal with rust."""
    pitch = 0.24
    wave = np.sin(2 * np.pi * s.u / pitch) * np.clip(0.2 / np.maximum(s.footprint, 1e-3), 0, 1)
    rust = np.clip(s.noise('cloud', 22) - 0.35, 0, 1)
    return Look(mix(s.color * (1 + 0.22 * wave)[:, None], (0.2, 0.1, 0.05), rust), 0.12)


_LOOKS: dict[Material, Callable[[Surface], Look]] = {
    Material.PAINT: paint,
    Material.ROAD: road,
    Material.SLABS: slabs,
    Material.GRASS: grass,
    Material.LEAVES: foliage,
    Material.BRICK: brick,
    Material.FACADE: facade,
    Material.CURTAIN: curtain,
    Material.GLASS: glass,
    Material.BARK: bark,
    Material.STRIPES: stripes,
    Material.LAMP: lamp,
    Material.RUBBER: rubber,
    Material.CLOTH: cloth,
    Material.CONCRETE: concrete,
    Material.METAL: metal,
    Material.SIGN: sign,
    Material.PLANKS: planks,
    Material.RIBS: ribs,
    Material.TILES: tiles,
    Material.SHOP: shop,
    Material.SKIN: skin,
    Material.WINDOW: window,
    Material.BRICK_FACADE: brick_facade,
    Material.BUS_SIDE: bus_side,
    Material.HUB: hub,
}


def appearance(material: np.ndarray, surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evaluate the textures of N hit points.

    Args:
        material: uint8 (N,), a `Material` of each.
        surface: The points.

    Returns:
        float32 (N, 3), albedo; float32 (N,), gloss; and float32 (N,), emitted light; see `Look`.
    """
    count = len(material)
    albedo = np.zeros((count, 3), np.float32, order='F')
    gloss, glow = np.zeros(count, np.float32), np.zeros(count, np.float32)
    order = np.argsort(material, kind='stable')
    values, starts = np.unique(material[order], return_index=True)
    for value, rows in zip(values, np.split(order, starts[1:])):
        part = Surface(
            surface.uv.take(rows, 0),
            surface.extent.take(rows, 0),
            take_rows(surface.color, rows),
            *(getattr(surface, name).take(rows) for name in ('seed', 'up', 'footprint')),
            surface.layout,
        )
        look = _LOOKS[Material(value)](part)
        albedo[rows], gloss[rows], glow[rows] = look.albedo, look.gloss, look.glow
    return np.clip(albedo, 0.003, 0.95), gloss, glow

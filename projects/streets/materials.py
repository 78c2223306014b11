"""What surfaces look like: one procedural texture for each `Material`, evaluated at hit positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from streets.layout import LANE, Layout
from streets.mesh import Material

TILE = 512


@dataclass
class Surface:
    """Hit points that share a material; all arrays have N rows, float32.

    Attributes:
        uv: (N, 2) metres on the surface. extent: (N, 2) its size. color: (N, 3) base color.
        seed: (N,) 0..1, constant over an object. up: (N,) z of the normal.
        footprint: (N,) size of a pixel on the surface, metres.
        layout: the street, for its markings.
    """

    uv: np.ndarray
    extent: np.ndarray
    color: np.ndarray
    seed: np.ndarray
    up: np.ndarray
    footprint: np.ndarray
    layout: Layout

    @property
    def u(self) -> np.ndarray:
        return self.uv[:, 0]

    @property
    def v(self) -> np.ndarray:
        return self.uv[:, 1]

    def noise(self, kind: str, per_metre: float, stretch: float = 1.0) -> np.ndarray:
        """(N,) smooth texture with mean 0 and values within about -1..1, flat where a pixel covers many texels."""
        shift = self.seed * 377.0
        x = np.mod(self.u * per_metre * stretch + shift, TILE)
        y = np.mod(self.v * per_metre + shift * 1.7, TILE)
        fade = np.clip(1.6 / np.maximum(self.footprint * per_metre, 1e-6), 0, 1)
        return _lookup(_tiles()[kind], x, y) * fade

    def band(self, distance: np.ndarray, half_width: float) -> np.ndarray:
        """(N,) 1 where |distance| < half_width, softened over a pixel, 0 elsewhere."""
        soft = np.maximum(self.footprint, 1e-3)
        inside = np.clip((half_width - abs(distance)) / soft + 0.5, 0, 1)
        return inside * np.minimum(1.0, 2 * half_width / soft)


@dataclass
class Look:
    """Albedo (N, 3), mirror share (N,) or number, and own light (N,) or number."""

    albedo: np.ndarray
    gloss: np.ndarray | float = 0.0
    glow: np.ndarray | float = 0.0


@lru_cache(maxsize=1)
def _tiles() -> dict[str, np.ndarray]:
    """Periodic textures: 'cloud' (large shapes), 'grain' (fine), 'cells' (bright cells, dark gaps)."""
    rng = np.random.default_rng(12345)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.fftfreq(TILE)))
    frequency[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.normal(size=(TILE, TILE)))
    tiles = {}
    for name, power in (('cloud', 1.7), ('grain', 0.6)):
        texture = np.fft.ifft2(spectrum * frequency**-power).real
        texture -= texture.mean()
        tiles[name] = np.clip(texture / (2.2 * texture.std()), -1, 1).astype(np.float32)
    points = rng.integers(0, TILE, (2600, 2))
    seeds = np.full((TILE, TILE), 255, np.uint8)
    seeds[points[:, 0], points[:, 1]] = 0
    distance = cv2.distanceTransform(np.tile(seeds, (2, 2)), cv2.DIST_L2, 5)
    distance = distance[TILE // 2 : TILE // 2 + TILE, TILE // 2 : TILE // 2 + TILE]
    distance = np.roll(distance, (TILE // 2, TILE // 2), (0, 1))
    tiles['cells'] = np.clip(1 - distance / (1.9 * distance.mean()), -1, 1).astype(np.float32)
    return tiles


def _lookup(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values of a periodic texture at (N,) texel positions."""
    count, width = len(x), 4096
    if not count:
        return np.zeros(0, np.float32)
    rows = -(-count // width)
    grid = np.zeros((2, rows * width), np.float32)
    grid[0, :count], grid[1, :count] = x, y
    grid = grid.reshape(2, rows, width)
    return cv2.remap(texture, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).reshape(-1)[:count]


def sky_noise(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) cloud texture, -1..1, at texel positions."""
    return _lookup(_tiles()['cloud'], np.mod(x, TILE), np.mod(y, TILE))


def _hash(*parts: np.ndarray) -> np.ndarray:
    """(N,) 0..1, random but fixed for each tuple of numbers."""
    total = sum(p * k for p, k in zip(parts, (12.9898, 78.233, 37.719)))
    value = np.sin(np.asarray(total, np.float64)) * 43758.5453
    return (value - np.floor(value)).astype(np.float32)


def _mix(a, b, share: np.ndarray) -> np.ndarray:
    share = np.asarray(share)[:, None]
    return np.asarray(a, np.float32) * (1 - share) + np.asarray(b, np.float32) * share


def _cells(x: np.ndarray, extent: np.ndarray, wish: float) -> tuple[np.ndarray, np.ndarray]:
    """Number of the cell and place in it (0..1), for a length cut into equal cells of about `wish` metres."""
    count = np.maximum(1, np.round(extent / wish))
    position = np.clip(x / np.maximum(extent, 1e-3), 0, 0.9999) * count
    return np.floor(position), position - np.floor(position)


def paint(s: Surface) -> Look:
    dirt = 1 + 0.06 * s.noise('cloud', 60)
    return Look(s.color * dirt[:, None], 0.22)


def markings(s: Surface) -> tuple[np.ndarray, np.ndarray]:
    """White and yellow paint on the road, (N,) each 0..1."""
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
        zebra = (off > layout.crossing_half - 3.0) & (off < layout.crossing_half - 0.4) & (abs(across) < half - 0.3)
        zebra &= abs(across) > layout.median
        white += zebra * s.band(np.mod(across, 1.1) - 0.55, 0.28)
        stop = (
            s.band(off - layout.crossing_half - 1.2, 0.2)
            * (abs(across) < half - 2.6)
            * (np.sign(across) == np.sign(along - middle))
        )
        white += stop
        white += s.band(along - middle, 0.06) * (np.mod(across, 6.0) < 3.0) * (abs(across) > half + 3)
    return np.clip(white, 0, 1), np.clip(yellow, 0, 1)


def road(s: Surface) -> Look:
    tone = 1 + 0.22 * s.noise('grain', 45) + 0.2 * s.noise('cloud', 9)
    lane = np.mod(abs(s.v) - s.layout.median, LANE) / LANE
    tone *= 1 - 0.13 * np.exp(-(((abs(lane - 0.5) - 0.24) / 0.09) ** 2))
    patch = _hash(np.floor(s.u / 7.3), np.floor(s.v / 2.4))
    tone *= np.where(patch > 0.9, 0.72, 1.0)
    crack = abs(s.noise('cloud', 14, 1.3))
    tone *= 1 - 0.4 * np.clip(1 - crack / 0.025, 0, 1) * np.clip(0.12 / np.maximum(s.footprint, 1e-3), 0, 1)
    albedo = s.color * tone[:, None]
    white, yellow = markings(s)
    worn = np.clip(0.85 + 0.45 * s.noise('grain', 30), 0.2, 1)
    albedo = _mix(albedo, (0.72, 0.72, 0.7), white * worn)
    return Look(_mix(albedo, (0.7, 0.45, 0.05), yellow * worn))


def slabs(s: Surface) -> Look:
    size = 0.9
    shade = _hash(np.floor(s.u / size), np.floor(s.v / size))
    tone = 1 + 0.22 * (shade - 0.5) + 0.14 * s.noise('grain', 50) + 0.16 * s.noise('cloud', 8)
    joint = np.maximum(s.band(np.mod(s.u, size) - size / 2, size / 2 - 0.02), 0)
    joint = np.minimum(joint, s.band(np.mod(s.v, size) - size / 2, size / 2 - 0.02))
    tone *= 0.65 + 0.35 * np.where(s.footprint > 0.1, 1.0, joint)
    return Look(s.color * tone[:, None])


def grass(s: Surface) -> Look:
    tone = 1 + 0.5 * s.noise('grain', 70) + 0.3 * s.noise('cloud', 12)
    dry = np.clip(0.25 + 0.8 * s.noise('cloud', 3.1), 0, 0.85)
    return Look(_mix(s.color, (0.24, 0.19, 0.09), dry) * tone[:, None])


def foliage(s: Surface) -> Look:
    clump = s.noise('cells', 34)
    tone = 0.95 + 0.55 * clump + 0.3 * s.noise('grain', 60)
    tint = s.color + np.float32(0.05) * np.maximum(clump, 0)[:, None] * np.array([1.0, 1.0, 0.2], np.float32)
    return Look(tint * np.clip(tone, 0.15, 2)[:, None])


def _brick_tone(s: Surface) -> np.ndarray:
    row = np.floor(s.v / 0.09)
    x = s.u / 0.28 + 0.5 * np.mod(row, 2)
    tone = 0.85 + 0.35 * _hash(row, np.floor(x)) + 0.1 * s.noise('grain', 60)
    mortar = (abs(np.mod(s.v, 0.09) - 0.045) > 0.037) | (abs(np.mod(x, 1) - 0.5) > 0.45)
    near = np.clip(0.09 / np.maximum(s.footprint, 1e-3) - 0.5, 0, 1)
    return 1 + near * (np.where(mortar, 1.45, tone) - 1) + 0.1 * s.noise('cloud', 10)


def brick(s: Surface) -> Look:
    return Look(s.color * _brick_tone(s)[:, None])


def facade(s: Surface) -> Look:
    tone = 1 + 0.1 * s.noise('cloud', 12) + 0.05 * s.noise('grain', 60)
    return _windows(s, s.color * tone[:, None])


def brick_facade(s: Surface) -> Look:
    return _windows(s, s.color * _brick_tone(s)[:, None])


def _windows(s: Surface, wall: np.ndarray) -> Look:
    """Cut rows of windows with frames, sills, curtains and a few lit rooms into a wall."""
    column, fu = _cells(s.u, s.extent[:, 0], 2.7)
    floor, fv = _cells(s.v, s.extent[:, 1], 3.1)
    walls = (abs(s.up) < 0.5) & (s.extent[:, 0] > 2.0) & (s.extent[:, 1] > 2.5)
    x, y = abs(fu - 0.5), abs(fv - 0.53)
    wide = 0.2 + 0.1 * _hash(s.seed, np.float32(3.0))
    frame = walls & (x < wide + 0.035) & (y < 0.29)
    glass = walls & (x < wide) & (y < 0.26) & (abs(x - wide * 0.0) > 0.012)
    sill = walls & (x < wide + 0.06) & (abs(fv - 0.23) < 0.025)
    albedo = _mix(wall, (0.6, 0.58, 0.55), np.where(frame, 0.85, 0.0))
    albedo = _mix(albedo, wall * 0.55, np.where(sill, 1.0, 0.0))
    room = _hash(column, floor, s.seed * 50)
    pane = np.where((room > 0.72)[:, None], np.float32([0.4, 0.37, 0.32]), np.float32([0.045, 0.055, 0.07]))
    pane = pane * (0.7 + 0.6 * _hash(column, s.seed * 9))[:, None]
    albedo = np.where(glass[:, None], pane, albedo)
    glow = np.where(glass & (room < 0.05), 0.5, 0.0)
    return Look(albedo, np.where(glass, 0.45, 0.0), glow)


def curtain(s: Surface) -> Look:
    _, fu = _cells(s.u, s.extent[:, 0], 1.5)
    floor, fv = _cells(s.v, s.extent[:, 1], 1.55)
    glass = (abs(fu - 0.5) < 0.46) & (abs(fv - 0.5) < 0.46) & (abs(s.up) < 0.5)
    spandrel = np.mod(floor, 2) == 0
    tint = np.where(spandrel[:, None], s.color * 0.35, np.float32([0.05, 0.08, 0.1]))
    return Look(np.where(glass[:, None], tint, np.float32(0.4)), np.where(glass, 0.6, 0.1))


def shop(s: Surface) -> Look:
    """A shop front: a plinth, large panes with things behind them, doors, a sign above."""
    height = s.v
    column, fu = _cells(s.u, s.extent[:, 0], 4.4)
    walls = abs(s.up) < 0.5
    tone = 1 + 0.12 * s.noise('cloud', 12)
    albedo = s.color * tone[:, None]
    pane = walls & (abs(fu - 0.5) < 0.4) & (height > 0.5) & (height < 2.6) & (abs(np.mod(fu * 3, 1) - 0.5) < 0.47)
    goods = _hash(np.floor(s.u / 0.35), np.floor(height / 0.4), s.seed)[:, None] * np.float32([0.25, 0.2, 0.17])
    board = walls & (abs(fu - 0.5) < 0.38) & (abs(height - 3.05) < 0.28)
    name = _hash(column, s.seed * 31)[:, None]
    hue = np.concatenate([name, _hash(column, s.seed * 17)[:, None], _hash(column, s.seed * 57)[:, None]], 1) ** 2 * 0.7
    letters = (
        board & (_hash(np.floor(s.u / 0.16), column) > 0.45) & (abs(height - 3.05) < 0.13) & (abs(fu - 0.5) < 0.25)
    )
    albedo = np.where(pane[:, None], 0.04 + goods * 0.8, albedo)
    albedo = np.where(board[:, None], hue, albedo)
    albedo = np.where(letters[:, None], np.float32([0.75, 0.74, 0.7]), albedo)
    return Look(albedo, np.where(pane, 0.35, 0.0), np.where(pane, 0.12, np.where(letters, 0.25, 0.0)))


def glass(s: Surface) -> Look:
    return Look(s.color * 0.25, 0.6)


def window(s: Surface) -> Look:
    """Car windows: dark panes inside painted pillars."""
    edge_u = np.minimum(s.u, s.extent[:, 0] - s.u)
    fv = s.v / np.maximum(s.extent[:, 1], 1e-3)
    pillar = (s.extent[:, 0] > 2.0) & (abs(s.u - s.extent[:, 0] * 0.5) < 0.045)
    pane = (edge_u > 0.09) & (fv > 0.1) & (fv < 0.9) & ~pillar
    shade = np.float32([0.03, 0.035, 0.04]) * (1 + 0.8 * fv)[:, None]
    return Look(np.where(pane[:, None], shade, s.color), np.where(pane, 0.55, 0.22))


def bus_side(s: Surface) -> Look:
    fv = s.v / np.maximum(s.extent[:, 1], 1e-3)
    pane_u = np.mod(s.u, 1.45)
    pane = (fv > 0.4) & (fv < 0.82) & (pane_u > 0.07) & (s.u > 0.15) & (s.u < s.extent[:, 0] - 0.15)
    stripe = (fv > 0.14) & (fv < 0.3)
    albedo = _mix(s.color, (0.75, 0.75, 0.72), np.where(stripe, 0.9, 0.0))
    return Look(np.where(pane[:, None], np.float32([0.035, 0.04, 0.05]), albedo), np.where(pane, 0.5, 0.2))


def bark(s: Surface) -> Look:
    tone = 1 + 0.5 * s.noise('grain', 60, 3.0) + 0.3 * s.noise('cloud', 40)
    return Look(s.color * tone[:, None])


def stripes(s: Surface) -> Look:
    narrow = s.extent[:, 1] < 0.4
    phase = np.where(narrow, s.u + s.v, s.v) / np.where(narrow, 0.5, 0.38)
    white = np.mod(phase, 1) > 0.52
    return Look(np.where(white[:, None], np.float32([0.72, 0.72, 0.7]), s.color), 0.08)


def lamp(s: Surface) -> Look:
    return Look(s.color * 0.8, 0.3, 0.55)


def rubber(s: Surface) -> Look:
    return Look(s.color * (1 + 0.3 * s.noise('grain', 80))[:, None])


def hub(s: Surface) -> Look:
    radius = s.extent[:, 0] / 2
    x, y = s.u - radius, s.v - radius
    r = np.hypot(x, y) / np.maximum(radius, 1e-3)
    spokes = np.cos(np.arctan2(y, x) * 5) > -0.35
    rim = ((r < 0.66) & spokes) | (abs(r - 0.62) < 0.06)
    return Look(np.where(rim[:, None], s.color, np.float32([0.015, 0.015, 0.016])), np.where(rim, 0.3, 0.0))


def cloth(s: Surface) -> Look:
    tone = 1 + 0.3 * s.noise('cloud', 160, 2.0) + 0.12 * s.noise('grain', 200)
    return Look(s.color * tone[:, None])


def skin(s: Surface) -> Look:
    return Look(s.color * (1 + 0.08 * s.noise('cloud', 200))[:, None])


def concrete(s: Surface) -> Look:
    tone = 1 + 0.2 * s.noise('cloud', 14) + 0.13 * s.noise('grain', 55)
    return Look(s.color * tone[:, None])


def metal(s: Surface) -> Look:
    return Look(s.color * (1 + 0.12 * s.noise('cloud', 40, 0.3))[:, None], 0.3)


def sign(s: Surface) -> Look:
    fu, fv = s.u / np.maximum(s.extent[:, 0], 1e-3), s.v / np.maximum(s.extent[:, 1], 1e-3)
    border = np.maximum(abs(fu - 0.5), abs(fv - 0.5)) > 0.43
    marks = (_hash(np.floor(fu * 6), np.floor(fv * 5), s.seed) > 0.62) & (abs(fu - 0.5) < 0.34) & (abs(fv - 0.5) < 0.3)
    light = (border | marks) & (s.extent[:, 1] > 0.2)
    dark = s.color.mean(1) > 0.5
    ink = np.where(dark[:, None], np.float32([0.03, 0.03, 0.04]), np.float32([0.8, 0.8, 0.78]))
    return Look(np.where(light[:, None], ink, s.color), 0.1)


def planks(s: Surface) -> Look:
    width = 0.16
    across = np.where(s.extent[:, 0] > s.extent[:, 1], s.u, s.v)
    tone = 0.85 + 0.3 * _hash(np.floor(across / width), s.seed * 13) + 0.25 * s.noise('cloud', 30, 0.3)
    gap = np.clip(0.08 / np.maximum(s.footprint, 1e-3), 0, 1) * (
        abs(np.mod(across, width) - width / 2) > width / 2 - 0.012
    )
    return Look(s.color * (tone * (1 - 0.6 * gap))[:, None])


def ribs(s: Surface) -> Look:
    pitch = 0.24
    wave = np.sin(2 * np.pi * s.u / pitch) * np.clip(0.2 / np.maximum(s.footprint, 1e-3), 0, 1)
    rust = np.clip(s.noise('cloud', 22) - 0.35, 0, 1)
    return Look(_mix(s.color * (1 + 0.22 * wave)[:, None], (0.2, 0.1, 0.05), rust), 0.12)


def tiles(s: Surface) -> Look:
    row, column = np.floor(s.v / 0.32), np.floor(s.u / 0.24)
    near = np.clip(0.25 / np.maximum(s.footprint, 1e-3), 0, 1)
    tone = (
        1 + near * (0.35 * (_hash(row, column) - 0.5) - 0.45 * (np.mod(s.v, 0.32) < 0.05)) + 0.15 * s.noise('cloud', 9)
    )
    return Look(s.color * tone[:, None])


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
    """Albedo (N, 3), mirror share (N,) and own light (N,) of hit points with mixed materials (N,)."""
    count = len(material)
    albedo = np.zeros((count, 3), np.float32)
    gloss, glow = np.zeros(count, np.float32), np.zeros(count, np.float32)
    order = np.argsort(material, kind='stable')
    values, starts = np.unique(material[order], return_index=True)
    for value, rows in zip(values, np.split(order, starts[1:])):
        part = Surface(
            *(getattr(surface, name)[rows] for name in ('uv', 'extent', 'color', 'seed', 'up', 'footprint')),
            surface.layout,
        )
        look = _LOOKS[Material(value)](part)
        albedo[rows], gloss[rows], glow[rows] = look.albedo, look.gloss, look.glow
    return np.clip(albedo, 0.003, 0.95), gloss, glow

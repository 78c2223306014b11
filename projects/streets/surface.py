"""What textures are computed from and what they give, and the noise they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike

from streets.layout import Layout
from streets.vectors import tinted

TILE = 512  # width and height of the periodic noise, texels


@dataclass
class Surface:
    """N hit points that share a material.

    Attributes:
        uv: float32 (N, 2), position on the surface, meters.
        extent: float32 (N, 2), size of the surface, meters.
        color: float32 (N, 3), base color, linear RGB.
        seed: float32 (N,), in [0, 1), constant over an object.
        up: float32 (N,), z of the normal.
        footprint: float32 (N,), size of a pixel on the surface, meters.
        layout: The street, for its markings.
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
        """First coordinate on the surface, (N,)."""
        return self.uv[:, 0]

    @property
    def v(self) -> np.ndarray:
        """Second coordinate on the surface, (N,)."""
        return self.uv[:, 1]

    def noise(self, kind: str, per_meter: float, stretch: float = 1.0) -> np.ndarray:
        """Smooth noise with mean 0 and values in [-1, 1], which fades to 0 where a pixel covers many texels.

        Args:
            kind: 'cloud' | 'grain' | 'cells'.
            per_meter: Texels per meter.
            stretch: Factor of `per_meter` along u.

        Returns:
            float (N,).
        """
        shift = self.seed * 377.0
        x = wrapped(self.u * per_meter * stretch + shift, TILE)
        y = wrapped(self.v * per_meter + shift * 1.7, TILE)
        fade = np.clip(1.6 / np.maximum(self.footprint * per_meter, 1e-6), 0, 1)
        return _lookup(_tiles()[kind], x, y) * fade

    def band(self, distance: np.ndarray, half_width: float) -> np.ndarray:
        """1 where |distance| < half_width, softened over a pixel, 0 elsewhere; all float (N,), meters."""
        soft = np.maximum(self.footprint, 1e-3)
        inside = np.clip((half_width - abs(distance)) / soft + 0.5, 0, 1)
        return inside * np.minimum(1.0, 2 * half_width / soft)


@dataclass
class Look:
    """What a texture gives for N hit points.

    Attributes:
        albedo: float (N, 3), linear RGB.
        gloss: float (N,) or number, reflectance of a mirror.
        glow: float (N,) or number, emitted light.
    """

    albedo: np.ndarray
    gloss: np.ndarray | float = 0.0
    glow: np.ndarray | float = 0.0


@lru_cache(maxsize=1)
def _tiles() -> dict[str, np.ndarray]:
    """Periodic noise, float32 (TILE, TILE): 'cloud' (large shapes), 'grain' (fine), 'cells' (bright, dark gaps)."""
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
    """Bilinear values of periodic noise at texel positions `x` and `y`, float32 (N,)."""
    count, width = len(x), 4096
    if not count:
        return np.zeros(0, np.float32)
    rows = -(-count // width)
    grid = np.zeros((2, rows * width), np.float32)
    grid[0, :count], grid[1, :count] = x, y
    grid = grid.reshape(2, rows, width)
    return cv2.remap(texture, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).reshape(-1)[:count]


def sky_noise(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Clouds at texel positions `x` and `y` (N,): float32 (N,) in [-1, 1]."""
    return _lookup(_tiles()['cloud'], wrapped(x, TILE), wrapped(y, TILE))


def wrapped(x: np.ndarray, period: int) -> np.ndarray:
    """`np.mod(x, period)` for a period that is a power of two: exact, too, and many times faster."""
    return x - period * np.floor(x / period)


def hashed(*parts: ArrayLike) -> np.ndarray:
    """Random numbers that are fixed for each tuple of up to three numbers: float32 (N,) in [0, 1)."""
    total = sum(p * k for p, k in zip(parts, (12.9898, 78.233, 37.719)))
    value = np.sin(np.asarray(total, np.float64)) * 43758.5453
    return (value - np.floor(value)).astype(np.float32)


def mix(a: ArrayLike, b: ArrayLike, ratio: np.ndarray) -> np.ndarray:
    """Blend colors `a` and `b`, (N, 3) or (3,), from a (ratio 0) to b (ratio 1); `ratio` (N,)."""
    return _weighted(a, 1 - np.asarray(ratio)) + _weighted(b, np.asarray(ratio))


def _weighted(color: ArrayLike, weight: np.ndarray) -> np.ndarray:
    """A color or colors, (3,) or (N, 3), times weights (N,): (N, 3)."""
    color = np.asarray(color, np.float32)
    return tinted(weight, color) if color.ndim == 1 else color * weight[:, None]


def cells(x: np.ndarray, extent: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Divide lengths `extent` (N,) into equal cells of about `size` meters.

    Returns:
        float (N,), number of the cell that holds position `x` (N,), and float (N,), place in the cell in [0, 1).
    """
    count = np.maximum(1, np.round(extent / size))
    position = np.clip(x / np.maximum(extent, 1e-3), 0, 0.9999) * count
    return np.floor(position), position - np.floor(position)

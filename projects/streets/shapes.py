"""The few shapes that everything is made of: quadrilaterals, boxes, cylinders, ellipsoids and loose leaves."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import trimesh
from numpy.typing import ArrayLike

from streets.mesh import Material, Mesh, merge, rows, soup

Interval = tuple[float, float]  # low and high, meters

# the two triangles of a quadrilateral
_HALVES = np.array([[0, 1, 2], [0, 2, 3]])
# corners: 0-3 bottom, 4-7 top, both counterclockwise seen from above, starting at (x0, y0)
_SIDES = {
    'right': (0, 1, 5, 4),
    'front': (1, 2, 6, 5),
    'left': (2, 3, 7, 6),
    'back': (3, 0, 4, 7),
    'top': (4, 5, 6, 7),
    'bottom': (3, 2, 1, 0),
}


def quads(corners: ArrayLike, material: ArrayLike, color: ArrayLike) -> Mesh:
    """Make two faces of each quadrilateral.

    Args:
        corners: float (Q, 4, 3), counterclockwise seen from the visible side, meters; `uv` starts at the first corner,
            u runs to the second and v to the fourth.
        material: `Material` or (Q,).
        color: float (3,) or (Q, 3), linear RGB.
    """
    corners = np.asarray(corners, np.float32).reshape(-1, 4, 3)
    count = len(corners)
    edge = corners[:, (1, 2, 3)] - corners[:, (0, 3, 0)]
    length = np.sqrt(np.einsum('qei,qei->qe', edge, edge))
    extent = np.stack([np.maximum(length[:, 0], length[:, 1]), length[:, 2]], 1)
    uv = np.zeros((count, 4, 2), np.float32)
    uv[:, 1:3, 0] = extent[:, :1]
    uv[:, 2:, 1] = extent[:, 1:]
    return soup(
        corners[:, _HALVES].reshape(-1, 3, 3),
        uv[:, _HALVES].reshape(-1, 3, 2),
        extent.repeat(2, axis=0),
        rows(material, (count,), np.uint8).repeat(2),
        rows(color, (count, 3), np.float32).repeat(2, axis=0),
    )


def fans(corners: ArrayLike, material: ArrayLike, color: ArrayLike) -> Mesh:
    """Like `quads`, with four faces around the middle, so that `uv` follows all four edges of a trapezoid."""
    corners = np.asarray(corners, np.float32)
    flat = quads(corners, material, color)
    extent = flat.extent[::2]
    uv = np.zeros((len(corners), 5, 2), np.float32)
    uv[:, 1:3, 0], uv[:, 4, 0] = extent[:, :1], extent[:, 0] / 2
    uv[:, 2:4, 1], uv[:, 4, 1] = extent[:, 1:], extent[:, 1] / 2
    points = np.concatenate([corners, corners.mean(1, keepdims=True)], 1)
    pick = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    return soup(
        points[:, pick].reshape(-1, 3, 3),
        uv[:, pick].reshape(-1, 3, 2),
        np.repeat(extent, 4, axis=0),
        np.repeat(flat.material[::2], 4),
        np.repeat(flat.color[::2], 4, axis=0),
    )


def frustum(
    x: Interval,
    y: Interval,
    z: Interval,
    material: Material,
    color: ArrayLike,
    top_x: Interval | None = None,
    top_y: Interval | None = None,
    sides: dict | None = None,
) -> Mesh:
    """A box whose top may be smaller than its bottom or shifted against it.

    Args:
        x: (low, high) of the bottom rectangle in meters; x points forward.
        y: The same; y points left.
        z: (low, high) of the height.
        material: `Material` of all sides.
        color: float (3,), linear RGB of all sides.
        top_x: (low, high) of the top rectangle, by default the bottom's.
        top_y: The same.
        sides: {'front' | 'back' | 'left' | 'right' | 'top' | 'bottom': (material, color)} of sides that differ.
    """
    tx, ty = top_x or x, top_y or y
    corner = np.array(
        [
            *((x[i], y[j], z[0]) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))),
            *((tx[i], ty[j], z[1]) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))),
        ],
        np.float32,
    )
    sides = sides or {}
    looks = [sides.get(name, (material, color)) for name in _SIDES]
    faces = corner[np.array(list(_SIDES.values()))]
    panes = np.array([look[0] == Material.WINDOW for look in looks])
    parts = [
        make(faces[own], [looks[i][0] for i in own], [looks[i][1] for i in own])
        for make, own in ((quads, np.flatnonzero(~panes)), (fans, np.flatnonzero(panes)))
        if len(own)
    ]
    return merge(parts)


def box(size: ArrayLike, center: ArrayLike, material: Material, color: ArrayLike, sides: dict | None = None) -> Mesh:
    """An axis-aligned box of `size` (3,) around `center` (3,), meters; the rest as in `frustum`."""
    low, high = np.asarray(center) - np.asarray(size) / 2, np.asarray(center) + np.asarray(size) / 2
    return frustum(*zip(low, high), material, color, sides=sides)


def cylinder(
    radius: tuple[float, float],
    z: Interval,
    material: Material,
    color: ArrayLike,
    at: tuple[float, float] = (0.0, 0.0),
    segments: int = 10,
    axis: str = 'z',
    cap: tuple[Material, ArrayLike] | None = None,
) -> Mesh:
    """A (truncated) cone with closed ends.

    Args:
        radius: Lower and upper radius in meters.
        z: (low, high) along the axis in meters.
        material: `Material` of the side.
        color: float (3,), linear RGB of the side.
        at: (x, y) of the axis; with axis 'y', which lies across the vehicle, its (x, z).
        segments: Number of flat parts of the side.
        axis: 'z' | 'y'.
        cap: (material, color) of the ends, by default the side's.
    """
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    low = np.c_[ring * radius[0], np.full(segments + 1, z[0])]
    high = np.c_[ring * radius[1], np.full(segments + 1, z[1])]
    side = quads(np.stack([low[:-1], low[1:], high[1:], high[:-1]], 1), material, color)
    offset = np.repeat(angle[:-1] * max(radius), 2)
    side.uv[..., 0] += offset[:, None]
    cap_material, cap_color = cap or (material, color)
    parts = [side, _disc(high, z[1], cap_material, cap_color), _disc(low[::-1], z[0], cap_material, cap_color)]
    mesh = merge(parts)
    if axis == 'y':
        for array in (mesh.vertices, mesh.normal):
            array[..., 1], array[..., 2] = array[..., 2].copy(), -array[..., 1].copy()
        mesh.vertices += np.array([at[0], 0, at[1]], np.float32)
        return mesh
    mesh.vertices += np.array([at[0], at[1], 0], np.float32)
    return mesh


def _disc(ring: np.ndarray, z: float, material: Material, color: ArrayLike) -> Mesh:
    """Close a ring of points (N, 3) at height `z`."""
    count = len(ring) - 1
    center = np.tile([0, 0, z], (count, 1))
    vertices = np.stack([ring[:-1], ring[1:], center], 1)
    radius = float(np.linalg.norm(ring[:, :2], axis=1).max())
    return soup(vertices, vertices[..., :2] + radius, (2 * radius, 2 * radius), material, color)


@lru_cache(maxsize=4)
def _sphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (F, 3) of a unit sphere."""
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    return np.asarray(sphere.vertices, np.float32), np.asarray(sphere.faces)


def blob(
    radius: ArrayLike,
    center: ArrayLike,
    material: Material,
    color: ArrayLike,
    rng: np.random.Generator | None = None,
    bumps: float = 0.0,
    subdivisions: int = 1,
) -> Mesh:
    """An ellipsoid.

    Args:
        radius: float (3,) or one number, meters.
        center: float (3,), meters.
        material: `Material` of the surface.
        color: float (3,), linear RGB.
        rng: Draws the bumps.
        bumps: Fraction of the radius by which vertices move in or out.
        subdivisions: How often the 20 faces of an icosahedron are divided by four.
    """
    vertices, faces = _sphere(subdivisions)
    scale = 1 + (bumps * rng.uniform(-1, 1, (len(vertices), 1)) if bumps else 0)
    placed = vertices * scale * np.asarray(radius) + np.asarray(center)
    triangles = placed[faces].astype(np.float32)
    uv = np.stack([triangles[..., 0] + triangles[..., 1] * 0.6, triangles[..., 2] + triangles[..., 1] * 0.4], -1)
    size = float(np.max(radius)) * 2
    return soup(triangles, uv, (size, size), material, color)


def leaves(
    count: int, radius: ArrayLike, center: ArrayLike, color: ArrayLike, rng: np.random.Generator, size: float = 0.35
) -> Mesh:
    """Loose triangles in the outer part of an ellipsoid: foliage that lets some rays through.

    Their normals point out of the crown, so that it is lit as one body.

    Args:
        count: Number of leaves.
        radius: float (3,), of the ellipsoid in meters.
        center: float (3,), meters.
        color: float (3,), mean linear RGB.
        rng: Draws places, shapes and colors.
        size: Size of a leaf in meters.
    """
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    middle = direction * rng.uniform(0.72, 1.06, (count, 1)) * np.asarray(radius)
    corners = middle[:, None] + rng.normal(scale=size * 0.55, size=(count, 3, 3)) + np.asarray(center)
    shade = color * rng.uniform(0.65, 1.35, (count, 1)) + rng.normal(scale=0.012, size=(count, 3))
    uv = rng.uniform(0, 20, (count, 1, 2)) + rng.uniform(0, size, (count, 3, 2))
    normal = direction + rng.normal(scale=0.35, size=(count, 3))
    return soup(corners, uv, (size, size), Material.LEAVES, np.clip(shade, 0.01, 1), normal)

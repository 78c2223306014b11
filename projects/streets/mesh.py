"""Triangle soups with what a renderer needs to know per face, and the few primitives that everything is made of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from functools import lru_cache

import numpy as np
import trimesh


class Material(IntEnum):
    """How a face looks; `materials.py` holds one function for each."""

    PAINT = 0
    ROAD = 1
    SLABS = 2
    GRASS = 3
    LEAVES = 4
    BRICK = 5
    FACADE = 6
    CURTAIN = 7
    GLASS = 8
    BARK = 9
    STRIPES = 10
    LAMP = 11
    RUBBER = 12
    CLOTH = 13
    CONCRETE = 14
    METAL = 15
    SIGN = 16
    PLANKS = 17
    RIBS = 18
    TILES = 19
    SHOP = 20
    SKIN = 21
    WINDOW = 22
    BRICK_FACADE = 23
    BUS_SIDE = 24
    HUB = 25


@dataclass
class Mesh:
    """A triangle soup.

    Attributes:
        vertices: (F, 3, 3) float32, metres.
        uv: (F, 3, 2) float32, position on the face's surface in metres.
        extent: (F, 2) float32, size in metres of the surface that `uv` runs over.
        material: (F,) uint8, a `Material`.
        color: (F, 3) float32, linear RGB 0..1.
        normal: (F, 3) float32, unit length, the side that is seen.
        category: (F,) uint8, lidarseg index.
        instance: (F,) int32, number of the object from 1, 0 = background.
    """

    vertices: np.ndarray
    uv: np.ndarray
    extent: np.ndarray
    material: np.ndarray
    color: np.ndarray
    normal: np.ndarray
    category: np.ndarray
    instance: np.ndarray

    def __len__(self) -> int:
        return len(self.vertices)

    def labelled(self, category: int, instance: int = 0) -> Mesh:
        """The same faces, belonging to one category and object."""
        self.category = np.full(len(self), category, np.uint8)
        self.instance = np.full(len(self), instance, np.int32)
        return self

    def moved(self, offset, yaw: float = 0.0) -> Mesh:
        """A copy turned by `yaw` radians about z, then shifted by `offset` (3,)."""
        return self.transformed(rotation_z(yaw), np.asarray(offset))

    def transformed(self, rotation: np.ndarray, offset: np.ndarray) -> Mesh:
        """A copy under x -> rotation @ x + offset; face attributes are shared, not copied."""
        turn = rotation.T.astype(np.float32)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values['vertices'] = self.vertices @ turn + np.asarray(offset, np.float32)
        values['normal'] = self.normal @ turn
        return Mesh(**values)

    def bounds(self) -> np.ndarray:
        """(2, 3) lower and upper corner."""
        corners = self.vertices.reshape(-1, 3)
        return np.stack([corners.min(0), corners.max(0)])


def rotation_z(yaw: float) -> np.ndarray:
    """(3, 3) rotation about the vertical axis."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def merge(meshes: list[Mesh]) -> Mesh:
    """One soup of all faces, in order. Raises ValueError for an empty list."""
    return Mesh(*(np.concatenate([getattr(m, f.name) for m in meshes]) for f in fields(Mesh)))


def soup(vertices, uv, extent, material, color, normal=None) -> Mesh:
    """Fill a `Mesh`; scalars and single rows are repeated for all faces, missing normals come from the winding."""
    vertices = np.asarray(vertices, np.float32)
    count = len(vertices)
    if normal is None:
        normal = _cross(vertices[:, 1] - vertices[:, 0], vertices[:, 2] - vertices[:, 0])
    normal = _rows(normal, (count, 3), np.float32)
    length = np.sqrt(np.einsum('ij,ij->i', normal, normal))
    normal /= np.maximum(length, 1e-9)[:, None]
    return Mesh(
        vertices=vertices,
        uv=np.asarray(uv, np.float32),
        extent=_rows(extent, (count, 2), np.float32),
        material=_rows(material, (count,), np.uint8),
        color=_rows(color, (count, 3), np.float32),
        normal=normal,
        category=np.zeros(count, np.uint8),
        instance=np.zeros(count, np.int32),
    )


def _rows(value, shape: tuple[int, ...], dtype) -> np.ndarray:
    """A new array filled with `value`; much faster than broadcast_to for the thousands of small parts of a world."""
    filled = np.empty(shape, dtype)
    filled[:] = value
    return filled


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cross product; numpy's own spends most of its time on checks."""
    result = np.empty_like(a)
    result[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    result[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    result[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return result


def quads(corners: np.ndarray, material, color) -> Mesh:
    """Two faces for each quadrilateral.

    Args:
        corners: (Q, 4, 3), counter-clockwise seen from the visible side; `uv` starts at the first corner, u runs to
            the second and v to the fourth.
        material: one `Material` or (Q,).
        color: (3,) or (Q, 3).
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
        _rows(material, (count,), np.uint8).repeat(2),
        _rows(color, (count, 3), np.float32).repeat(2, axis=0),
    )


_HALVES = np.array([[0, 1, 2], [0, 2, 3]])

# corners: 0-3 bottom, 4-7 top, both counter-clockwise seen from above, starting at (x0, y0)
_SIDES = {
    'right': (0, 1, 5, 4),
    'front': (1, 2, 6, 5),
    'left': (2, 3, 7, 6),
    'back': (3, 0, 4, 7),
    'top': (4, 5, 6, 7),
    'bottom': (3, 2, 1, 0),
}


def frustum(x, y, z, material, color, top_x=None, top_y=None, sides: dict | None = None) -> Mesh:
    """A box whose top may be smaller than or shifted against its bottom.

    Args:
        x, y, z: (low, high) of the bottom rectangle and of the height; x points forward, y left.
        material, color: of all sides.
        top_x, top_y: (low, high) of the top rectangle, the bottom's by default.
        sides: {'front' | 'back' | 'left' | 'right' | 'top' | 'bottom': (material, color)} for sides that differ.
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
        make(faces[rows], [looks[i][0] for i in rows], [looks[i][1] for i in rows])
        for make, rows in ((quads, np.flatnonzero(~panes)), (fans, np.flatnonzero(panes)))
        if len(rows)
    ]
    return merge(parts)


def fans(corners: np.ndarray, material, color) -> Mesh:
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


def box(size, center, material, color, sides: dict | None = None) -> Mesh:
    """An axis-aligned box of size (x, y, z) around `center`."""
    low, high = np.asarray(center) - np.asarray(size) / 2, np.asarray(center) + np.asarray(size) / 2
    return frustum(*zip(low, high), material, color, sides=sides)


def cylinder(
    radius: tuple[float, float],
    z: tuple[float, float],
    material,
    color,
    at=(0.0, 0.0),
    segments: int = 10,
    axis: str = 'z',
    cap=None,
) -> Mesh:
    """A (truncated) cone with closed ends; `cap` = (material, color) of its ends.

    With axis 'y' the cylinder lies across the vehicle: `at` = (x, z) and `z` = (low y, high y).
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


def _disc(ring: np.ndarray, z: float, material, color) -> Mesh:
    count = len(ring) - 1
    center = np.tile([0, 0, z], (count, 1))
    vertices = np.stack([ring[:-1], ring[1:], center], 1)
    radius = float(np.linalg.norm(ring[:, :2], axis=1).max())
    return soup(vertices, vertices[..., :2] + radius, (2 * radius, 2 * radius), material, color)


@lru_cache(maxsize=4)
def _sphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    return np.asarray(sphere.vertices, np.float32), np.asarray(sphere.faces)


def blob(radius, center, material, color, rng=None, bumps: float = 0.0, subdivisions: int = 1) -> Mesh:
    """An ellipsoid of radii (3,) or one number; `bumps` moves its vertices in and out by that share."""
    vertices, faces = _sphere(subdivisions)
    scale = 1 + (bumps * rng.uniform(-1, 1, (len(vertices), 1)) if bumps else 0)
    placed = vertices * scale * np.asarray(radius) + np.asarray(center)
    triangles = placed[faces].astype(np.float32)
    uv = np.stack([triangles[..., 0] + triangles[..., 1] * 0.6, triangles[..., 2] + triangles[..., 1] * 0.4], -1)
    size = float(np.max(radius)) * 2
    return soup(triangles, uv, (size, size), material, color)


def leaves(count: int, radius, center, color, rng, size: float = 0.35) -> Mesh:
    """Loose triangles in the outer part of an ellipsoid: foliage that lets some rays through.

    Their normals point out of the crown, so that it is lit as one body.
    """
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    middle = direction * rng.uniform(0.72, 1.06, (count, 1)) * np.asarray(radius)
    corners = middle[:, None] + rng.normal(scale=size * 0.55, size=(count, 3, 3)) + np.asarray(center)
    shade = color * rng.uniform(0.65, 1.35, (count, 1)) + rng.normal(scale=0.012, size=(count, 3))
    uv = rng.uniform(0, 20, (count, 1, 2)) + rng.uniform(0, size, (count, 3, 2))
    normal = direction + rng.normal(scale=0.35, size=(count, 3))
    return soup(corners, uv, (size, size), Material.LEAVES, np.clip(shade, 0.01, 1), normal)

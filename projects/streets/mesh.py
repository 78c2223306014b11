"""Triangle soups with what a renderer needs to know about each face."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


class Material(IntEnum):
    """What a face is made of; `materials.py` and `facades.py` hold the texture of each."""

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
    """A triangle soup of F faces.

    Attributes:
        vertices: float32 (F, 3, 3), corners in meters.
        uv: float32 (F, 3, 2), position of each corner on the surface in meters.
        extent: float32 (F, 2), size in meters of the surface that `uv` runs over.
        material: uint8 (F,), a `Material`.
        color: float32 (F, 3), linear RGB in [0, 1].
        normal: float32 (F, 3), unit length, pointing to the visible side.
        category: uint8 (F,), lidarseg index.
        instance: int32 (F,), number of the object from 1; 0 = background.
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
        """Number of faces."""
        return len(self.vertices)

    def labeled(self, category: int, instance: int = 0) -> Mesh:
        """Assign all faces to one category and object, in place; return the mesh itself."""
        self.category = np.full(len(self), category, np.uint8)
        self.instance = np.full(len(self), instance, np.int32)
        return self

    def moved(self, offset: ArrayLike, yaw: float = 0.0) -> Mesh:
        """A copy turned by `yaw` radians about z, then shifted by `offset` (3,) meters."""
        return self.transformed(rotation_z(yaw), np.asarray(offset))

    def transformed(self, rotation: np.ndarray, offset: np.ndarray) -> Mesh:
        """A copy under x -> rotation @ x + offset; other attributes of the faces are shared, not copied."""
        turn = rotation.T.astype(np.float32)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        # one product of all corners: numpy would make one for each face
        corners = self.vertices.reshape(-1, 3) @ turn + np.asarray(offset, np.float32)
        values['vertices'] = corners.reshape(-1, 3, 3)
        values['normal'] = self.normal @ turn
        return Mesh(**values)

    def bounds(self) -> np.ndarray:
        """Lower and upper corner, float32 (2, 3), meters."""
        corners = self.vertices.reshape(-1, 3)
        return np.stack([corners.min(0), corners.max(0)])


def rotation_z(yaw: float) -> np.ndarray:
    """Rotation matrix (3, 3) about the vertical axis by `yaw` radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def merge(meshes: list[Mesh]) -> Mesh:
    """Join meshes into one soup of all faces, in order.

    Raises:
        ValueError: The list is empty.
    """
    return Mesh(*(np.concatenate([getattr(m, f.name) for m in meshes]) for f in fields(Mesh)))


def soup(
    vertices: ArrayLike,
    uv: ArrayLike,
    extent: ArrayLike,
    material: ArrayLike,
    color: ArrayLike,
    normal: ArrayLike | None = None,
) -> Mesh:
    """Fill a `Mesh`, whose attributes the arguments are.

    Scalars and single rows are repeated for all faces; missing normals come from the winding of the corners.
    """
    vertices = np.asarray(vertices, np.float32)
    count = len(vertices)
    if normal is None:
        normal = _cross(vertices[:, 1] - vertices[:, 0], vertices[:, 2] - vertices[:, 0])
    normal = rows(normal, (count, 3), np.float32)
    length = np.sqrt(np.einsum('ij,ij->i', normal, normal))
    normal /= np.maximum(length, 1e-9)[:, None]
    return Mesh(
        vertices=vertices,
        uv=np.asarray(uv, np.float32),
        extent=rows(extent, (count, 2), np.float32),
        material=rows(material, (count,), np.uint8),
        color=rows(color, (count, 3), np.float32),
        normal=normal,
        category=np.zeros(count, np.uint8),
        instance=np.zeros(count, np.int32),
    )


def rows(value: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Fill a new array with `value`; much faster than broadcast_to for the thousands of small parts of a world."""
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

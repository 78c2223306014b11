"""First hits of rays in a world at a moment, and what they hit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from peridot.errors import ConfigError

from streets.layout import Layout
from streets.mesh import Mesh, merge
from streets.surface import Surface, wrapped
from streets.vectors import by_column
from streets.world import World, poses

try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ImportError:  # pragma: no cover - the extra is part of the locked environment
    EmbreeScene = None

MISS = -1


@dataclass
class Hits:
    """First hits of N rays.

    Attributes:
        face: int (N,), number of the face; MISS where there is none.
        distance: float32 (N,), meters; inf where there is none.
        inner: float32 (N, 2), barycentric position in the face.
    """

    face: np.ndarray
    distance: np.ndarray
    inner: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Whether each ray hits anything, bool (N,)."""
        return self.face != MISS


def _tree(mesh: Mesh) -> EmbreeScene:
    """Search tree of a mesh; raises a ConfigError without the packages of the demo."""
    if EmbreeScene is None:
        raise ConfigError(
            'the synthetic world needs ray casting: pip install "peridot-mmdet3d[demo]" (embreex, trimesh)'
        )
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(mesh.vertices, np.float32))
    return scene


class Caster:
    """The search tree of a world's static part; `at` adds the moving objects."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tree = _tree(world.static)
        self.things = world.moving()
        # all but corners and normals is the same at every moment
        self.moving = merge([thing.mesh for thing in self.things]) if self.things else None

    def at(self, time: float) -> Snapshot:
        """The world at `time` seconds from the start of the scene."""
        return Snapshot(self, time)


class Snapshot:
    """A world at one moment; faces are numbered through the static part, then the moving objects."""

    def __init__(self, caster: Caster, time: float) -> None:
        self.world, self.time, self._static_tree = caster.world, time, caster.tree
        self.static = caster.world.static
        self.moving = self._moving_tree = None
        if caster.moving is not None:
            places = poses(caster.things, self.layout, time)
            meshes = [thing.mesh.moved(place, yaw) for thing, place, yaw in zip(caster.things, *places)]
            corners, normals = ([getattr(mesh, name) for mesh in meshes] for name in ('vertices', 'normal'))
            self.moving = replace(caster.moving, vertices=np.concatenate(corners), normal=np.concatenate(normals))
            self._moving_tree = _tree(self.moving)

    @property
    def layout(self) -> Layout:
        """The street."""
        return self.world.layout

    def hit(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """First hits of rays from `origins` (N, 3) or (3,), meters, along unit `directions` (N, 3)."""
        directions = np.ascontiguousarray(directions, np.float32)
        origins = np.ascontiguousarray(np.broadcast_to(origins, directions.shape), np.float32)
        first = self._static_tree.run(origins, directions, output=1)
        hits = Hits(first['primID'], first['tfar'], np.stack([first['u'], first['v']], 1))
        if self._moving_tree is not None:
            other = self._moving_tree.run(origins, directions, output=1)
            nearer = (other['primID'] >= 0) & ((hits.face == MISS) | (other['tfar'] < hits.distance))
            hits.face[nearer] = other['primID'][nearer] + len(self.static)
            hits.distance[nearer] = other['tfar'][nearer]
            hits.inner[nearer] = np.stack([other['u'], other['v']], 1)[nearer]
        hits.distance[hits.face == MISS] = np.inf
        return hits

    def blocked(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Whether rays from `origins` (N, 3) along `directions` (N, 3) or (3,) hit anything, bool (N,)."""
        origins = np.ascontiguousarray(origins, np.float32)
        directions = np.ascontiguousarray(np.broadcast_to(directions, origins.shape), np.float32)
        result = self._static_tree.run(origins, directions, query='OCCLUDED') != MISS
        if self._moving_tree is not None:
            rows = np.flatnonzero(~result)
            rays = origins.take(rows, 0), directions.take(rows, 0)
            result[rows] = self._moving_tree.run(*rays, query='OCCLUDED') != MISS
        return result

    def read(self, name: str, face: np.ndarray) -> np.ndarray:
        """Values (N, ...) of an attribute of `Mesh` for faces (N,), none of them MISS."""
        static = getattr(self.static, name)
        # rows as a whole are gathered several times faster than with an index
        rows = static.reshape(len(static), -1).take(face, 0, mode='clip')
        result = rows.reshape(-1, *static.shape[1:])
        if self.moving is not None:
            later = np.flatnonzero(face >= len(static))
            result[later] = getattr(self.moving, name)[face[later] - len(static)]
        return result

    def surface(self, hits: Hits, footprint: np.ndarray, normal: np.ndarray) -> Surface:
        """What textures need to know about N hits, all of which must be found.

        Args:
            hits: The hits.
            footprint: float (N,), size of a pixel on the surface, meters.
            normal: float (N, 3), unit normals.
        """
        corner, weight = self.read('uv', hits.face), hits.inner
        uv = (
            corner[:, 0] + (corner[:, 1] - corner[:, 0]) * weight[:, :1] + (corner[:, 2] - corner[:, 0]) * weight[:, 1:]
        )
        instance = self.read('instance', hits.face)
        color = by_column(self.read('color', hits.face))
        brightness = color[:, 0] + color[:, 1] + color[:, 2]
        seed = wrapped(instance * 0.61803 + brightness * 7.13, 1).astype(np.float32)
        return Surface(uv, self.read('extent', hits.face), color, seed, normal[:, 2], footprint, self.layout)

    def labels(self, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
        """Lidarseg index, uint8 (N,), 0 where nothing was hit, and number of the object, int32 (N,), 0 = background."""
        category, instance = np.zeros(len(hits.face), np.uint8), np.zeros(len(hits.face), np.int32)
        found = hits.found
        category[found] = self.read('category', hits.face[found])
        instance[found] = self.read('instance', hits.face[found])
        return category, instance

"""Photos of a world: the color image and, for checks and labels, what each pixel shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from streets.materials import appearance
from streets.mesh import Material
from streets.raycast import Hits, Snapshot
from streets.rig import Camera
from streets.surface import sky_noise
from streets.vectors import by_column, dot, take_rows, tinted
from streets.world import Weather


@dataclass
class Photo:
    """What a camera saw.

    Attributes:
        image: uint8 (H, W, 3), RGB, or None where it was not rendered.
        category: uint8 (H, W), lidarseg index; 0 = sky.
        instance: int32 (H, W), number of the object; 0 = background.
        depth: float32 (H, W), along the viewing axis, meters; inf = sky.
    """

    image: np.ndarray | None
    category: np.ndarray
    instance: np.ndarray
    depth: np.ndarray


def take_photo(snapshot: Snapshot, camera: Camera, rng: np.random.Generator | None = None) -> Photo:
    """Render what a camera sees.

    Args:
        snapshot: The world at the camera's time.
        camera: The camera.
        rng: Draws the sensor's noise; without it the color image is not rendered.
    """
    shape = camera.image_size
    position, rotation = camera.world_pose(snapshot.world.ego_pose(snapshot.time))
    directions = camera.rays @ rotation.T.astype(np.float32)
    hits = snapshot.hit(position, directions)
    category, instance = snapshot.labels(hits)
    depth = (hits.distance * camera.rays[:, 2]).astype(np.float32)
    image = None
    if rng is not None:
        pixel = 1.0 / camera.intrinsic[0, 0]
        light = shade(snapshot, hits, position.astype(np.float32), directions, pixel)
        image = develop(light.reshape(*shape, 3), hits.face.reshape(shape), rng)
    return Photo(image, category.reshape(shape), instance.reshape(shape), depth.reshape(shape))


def shade(snapshot: Snapshot, hits: Hits, position: np.ndarray, directions: np.ndarray, pixel: float) -> np.ndarray:
    """Compute the light of rays: textures under the sun with shadows, skylight, reflections and haze.

    Args:
        snapshot: The world.
        hits: First hits of N rays.
        position: float32 (3,), where the rays start.
        directions: float32 (N, 3), unit directions of the rays.
        pixel: Size of a pixel at a distance of 1.

    Returns:
        float32 (N, 3), linear RGB.
    """
    weather = snapshot.world.weather
    light = np.empty((len(directions), 3), np.float32)
    rows = np.flatnonzero(~hits.found)
    light[rows] = sky(directions.take(rows, 0), weather)
    rows = np.flatnonzero(hits.found)
    near = Hits(hits.face[rows], hits.distance[rows], hits.inner.take(rows, 0))
    view, distance = by_column(directions.take(rows, 0)), near.distance
    normal = snapshot.read('normal', near.face)
    slope = normal @ weather.sun.astype(np.float32)
    normal = by_column(normal)
    facing = dot(normal, view)
    material = snapshot.read('material', near.face)
    leafy = material == Material.LEAVES
    side = np.where((facing > 0) & ~leafy, np.float32(-1), np.float32(1))  # the visible one
    normal = normal * side[:, None]
    facing = -abs(facing)
    footprint = distance * pixel / np.sqrt(np.clip(-facing, 0.06, 1))
    albedo, gloss, glow = appearance(material, snapshot.surface(near, footprint, normal))
    direct = _sunlight(snapshot, position + view * distance[:, None], normal, slope * side, leafy)
    up = normal[:, 2]
    ambient = weather.skylight * (
        tinted(0.5 + 0.5 * up, np.float32([0.3, 0.36, 0.46])) + tinted(0.5 - 0.5 * up, np.float32([0.13, 0.12, 0.1]))
    )
    color = albedo * (ambient + tinted(direct, _sun_color(weather)))
    color += _mirror(view, normal, facing, gloss, weather)
    color += albedo * glow[:, None] * 2.2
    haze = np.exp(-distance / weather.haze)
    light[rows] = color * haze[:, None] + tinted(1 - haze, _horizon(weather))
    return light


def _sunlight(
    snapshot: Snapshot, points: np.ndarray, normal: np.ndarray, slope: np.ndarray, leafy: np.ndarray
) -> np.ndarray:
    """Sunlight that reaches surfaces, float32 (N,), 0 where a second ray toward the sun is blocked.

    `slope` (N,) are the products of normals and the direction of the sun.
    """
    sun = snapshot.world.weather.sun.astype(np.float32)
    slope = np.where(leafy, np.clip(0.35 + 0.65 * slope, 0, 1), np.clip(slope, 0, 1))
    lit = np.flatnonzero(slope > 0.01)
    ahead = tinted(np.where(leafy[lit], 0.25, 0.02).astype(np.float32), sun)
    start = take_rows(points, lit) + take_rows(normal, lit) * 0.02 + ahead
    slope[lit[snapshot.blocked(start, sun)]] = 0
    return slope * np.float32(snapshot.world.weather.sunlight)


def _mirror(
    view: np.ndarray, normal: np.ndarray, facing: np.ndarray, gloss: np.ndarray, weather: Weather
) -> np.ndarray:
    """Sky or ground reflected by glossy surfaces, stronger at grazing angles; linear RGB, float32 (N, 3)."""
    color = np.zeros((len(view), 3), np.float32, order='F')
    rows = np.flatnonzero(gloss > 0)
    view, normal = take_rows(view, rows), take_rows(normal, rows)
    ray = view - 2 * dot(view, normal)[:, None] * normal
    reflected = sky(ray, weather)
    blend = np.clip(ray[:, 2] * 6 + 0.3, 0, 1)
    reflected = reflected * blend[:, None] + tinted(1 - blend, np.float32([0.14, 0.13, 0.12]))
    grazing = (1 + facing[rows]) ** 4
    color[rows] = reflected * (gloss[rows] * (0.18 + 0.75 * grazing))[:, None]
    return color


def _sun_color(weather: Weather) -> np.ndarray:
    """Linear RGB (3,)."""
    return np.float32([1.0, 0.95 - 0.1 * weather.warmth, 0.86 - 0.26 * weather.warmth])


def _horizon(weather: Weather) -> np.ndarray:
    """Color of the sky at the horizon and of haze, linear RGB (3,)."""
    gray, blue = np.float32([0.62, 0.64, 0.66]), np.float32([0.62, 0.72, 0.84])
    return (
        (blue + (gray - blue) * weather.clouds)
        * weather.skylight
        * np.float32([1 + 0.12 * weather.warmth, 1.0, 1 - 0.1 * weather.warmth])
    )


def sky(directions: np.ndarray, weather: Weather) -> np.ndarray:
    """Color of the sky in unit directions (N, 3): gradient, clouds and the glow around the sun; float32 (N, 3)."""
    up = np.clip(directions[:, 2], 0, 1)
    zenith = np.float32([0.16, 0.32, 0.68]) * weather.skylight
    color = zenith + tinted((1 - up) ** 3.5, _horizon(weather) - zenith)
    x, y = directions[:, 0] / (up + 0.12), directions[:, 1] / (up + 0.12)
    shift = weather.haze
    texture = 0.6 * sky_noise(x * 26 + shift, y * 26) + 0.4 * sky_noise(x * 70, y * 70 + shift)
    cover = np.clip((texture + weather.clouds * 1.3 - 0.55) * 2.2, 0, 1) * np.clip(up * 7, 0, 1)
    bright = np.float32(1.0 - 0.25 * weather.clouds) * weather.skylight
    color += (bright - color) * (0.9 * cover)[:, None]
    near_sun = np.clip(np.ascontiguousarray(directions) @ weather.sun.astype(np.float32), 0, 1)
    glow = (0.9 * near_sun**180 + 0.22 * near_sun**14) * (weather.sunlight / 2.5)
    return (color + tinted(glow, _sun_color(weather))).astype(np.float32)


def develop(light: np.ndarray, face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn light into an image: smooth edges, vignette, tone curve, sensor noise.

    Args:
        light: float32 (H, W, 3), linear RGB.
        face: int (H, W), the face that each pixel shows.
        rng: Draws the noise.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    h, w = face.shape
    light = _smooth_edges(light, face) * _vignette(h, w)
    toned = np.clip(1 - np.exp(-1.65 * light), 0, 1) ** (1 / 1.9)
    image = toned + 0.55 * toned * (1 - toned) * (toned - 0.42)  # a mild S curve
    gray = (image[0] + image[1] + image[2]) / 3
    image = gray + (image - gray) * 1.12
    noise = rng.normal(scale=0.010, size=(h, w, 1)).astype(np.float32)[..., 0]
    return cv2.merge(np.clip((image + noise) * 255 + 0.5, 0, 255).astype(np.uint8))


@lru_cache(maxsize=2)
def _vignette(height: int, width: int) -> np.ndarray:
    """Brightness of an image's pixels relative to its middle, float32 (height, width)."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    return 1 - 0.16 * (x * x + y * y)


def _smooth_edges(light: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Blur pixels whose neighbors show other faces: cheap anti-aliasing.

    Args:
        light: float32 (H, W, 3).
        face: int (H, W), the face that each pixel shows.

    Returns:
        float32 (3, H, W).
    """
    edge = np.zeros(face.shape, np.float32)
    across, down = face[:, 1:] != face[:, :-1], face[1:] != face[:-1]
    edge[:, 1:] += across
    edge[:, :-1] += across
    edge[1:] += down
    edge[:-1] += down
    soft = cv2.GaussianBlur(np.minimum(light, 3.0), (3, 3), 0.75)
    light, soft = np.stack(cv2.split(light)), np.stack(cv2.split(soft))
    return light + (soft - light) * (np.clip(edge, 0, 1) * 0.85)

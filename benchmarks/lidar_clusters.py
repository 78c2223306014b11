#!/usr/bin/env python3
"""Proposals from lidar (Drive&Segment): time, speed against a search in Python, agreement with the truth.

One sweep of every synthetic street, like nuScenes' (32 beams), with six cameras of 1600 x 900 pixels. Clusters are
compared with a breadth-first search over the same range image, which must find the same segments. True objects are
things with at least ten points; one is found if a segment has an IoU of 0.5 or more with it, over points. Purity is the
fraction of a segment's points that belong to its most frequent object or, where they belong to none, category.
"""

import math
import time
from collections import deque

import cv2
import numpy as np
import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
from peridot.drive_and_segment.proposals import ClusterRule, LidarProposals, fill_gaps, find_ground
from peridot.drive_and_segment.proposals.clusters import FIRST_OBJECT, grid_components, same_surface
from peridot.drive_and_segment.proposals.range_image import RangeImage, make_range_image
from streets.frame import Settings, camera_view, caster, keyframe_time
from streets.lidar import Sweep, take_sweep
from streets.rig import CAMERAS, make_lidar
from streets.taxonomy import SCENES

SETTINGS = Settings(image_size=(900, 1600))
FRAME = 3
MIN_POINTS = 10
REPEATS = 5


def main() -> None:
    """Measure on one core."""
    cv2.setNumThreads(1)
    proposals = LidarProposals(sensor=dict(columns=1085, ring_column=4))
    times, agreement = [], []
    for scene in range(len(SCENES)):
        sweep, lidar2cam, cam2img = make_sweep(scene)
        segmenting, projecting, ids = time_stage(proposals, sweep, lidar2cam, cam2img)
        times.append((segmenting, projecting, *time_clusters(proposals, sweep.points)))
        agreement.append(compare(ids, sweep))
    segmenting, projecting, fast, slow = np.median(times, 0)
    print(f'a sweep with six cameras: {segmenting + projecting:.3f} s ({segmenting:.3f} s to segment it)')
    print(f'clusters {1000 * fast:.2f} ms, search in Python {1000 * slow:.0f} ms: {slow / fast:.0f} times faster')
    found, objects, pure, clustered = np.sum(agreement, 0)
    recall, purity = 100 * found / objects, 100 * pure / clustered
    print(f'recall at IoU 0.5: {recall:.1f} % of {objects:.0f} objects; purity {purity:.1f} %')


def make_sweep(scene: int) -> tuple[Sweep, np.ndarray, np.ndarray]:
    """A sweep, its cameras' extrinsics (V, 4, 4) and intrinsics (V, 4, 4)."""
    snapshot = caster(SETTINGS.seed, scene).at(keyframe_time(SETTINGS, scene, FRAME))
    lidar = make_lidar()
    sweep = take_sweep(snapshot, np.random.default_rng(scene), lidar)
    lidar2world = pose(*lidar.world_pose(snapshot.world.ego_pose(snapshot.time)))
    lidar2cam, cam2img = np.tile(np.eye(4), (2, len(CAMERAS), 1, 1))
    for view, name in enumerate(CAMERAS):
        camera, moment = camera_view(SETTINGS, scene, FRAME, name)
        lidar2cam[view] = np.linalg.inv(pose(*camera.world_pose(moment.world.ego_pose(moment.time)))) @ lidar2world
        cam2img[view, :3, :3] = camera.intrinsic
    return sweep, lidar2cam, cam2img


def pose(position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Pose (4, 4) of a position and a rotation."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position
    return matrix


def time_stage(proposals: LidarProposals, sweep: Sweep, lidar2cam: np.ndarray, cam2img: np.ndarray):
    """Seconds to segment a sweep, seconds to project it to all cameras, and the segment of every point."""
    start = time.perf_counter()
    segments = proposals.segment(sweep.points)
    middle = time.perf_counter()
    for camera in zip(lidar2cam, cam2img):
        proposals.project(segments, *camera, SETTINGS.image_size)
    return middle - start, time.perf_counter() - middle, segments.ids


def time_clusters(proposals: LidarProposals, points: np.ndarray) -> tuple[float, float]:
    """Seconds of clustering and of the search in Python, after a check that they agree."""
    image = fill_gaps(make_range_image(points, proposals.sensor))
    ground = find_ground(image, proposals.ground)
    free = (image.range > 0) & ~ground
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        components = grid_components(free, *same_surface(image, proposals.clusters.angle))
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    found = search(image, free, proposals.clusters)
    slow = time.perf_counter() - start
    if not (found == components).all():
        raise SystemExit('the search finds other segments')
    return float(np.median(seconds)), slow


def search(image: RangeImage, free: np.ndarray, rule: ClusterRule) -> np.ndarray:
    """Components by breadth-first search, as the method is published: the angle is tested when a cell is reached."""
    rows, columns = free.shape
    is_free, ranges = free.tolist(), image.range.tolist()
    component = [[-1] * columns for _ in range(rows)]
    steps, limit = [0.0, *(-np.diff(image.elevation)).tolist(), 0.0], math.radians(rule.angle)
    count = 0
    for start in zip(*np.nonzero(free)):
        if component[start[0]][start[1]] >= 0:
            continue
        component[start[0]][start[1]] = count
        waiting = deque([start])
        while waiting:
            row, column = waiting.popleft()
            for near_row, near_column, step in (
                (row, (column + 1) % columns, image.column_step),
                (row, (column - 1) % columns, image.column_step),
                (row + 1, column, steps[row + 1]),
                (row - 1, column, steps[row]),
            ):
                if (
                    not 0 <= near_row < rows
                    or not is_free[near_row][near_column]
                    or component[near_row][near_column] >= 0
                ):
                    continue
                first, second = ranges[row][column], ranges[near_row][near_column]
                far, near = (first, second) if first > second else (second, first)
                if math.atan2(near * math.sin(step), far - near * math.cos(step)) > limit:
                    component[near_row][near_column] = count
                    waiting.append((near_row, near_column))
        count += 1
    return np.array(component)


def compare(ids: np.ndarray, sweep: Sweep) -> tuple[int, int, int, int]:
    """Objects found, objects, points of their segment's most frequent object or category, points in segments."""
    objects, number, sizes = np.unique(sweep.instance, return_inverse=True, return_counts=True)
    shared = np.zeros((len(objects), ids.max() + 1), np.int64)
    np.add.at(shared, (number, ids), 1)
    union = sizes[:, None] + np.bincount(ids) - shared
    iou = (shared / union)[:, FIRST_OBJECT:].max(1, initial=0)
    wanted = (objects > 0) & (sizes >= MIN_POINTS)
    kind = np.where(sweep.instance > 0, 256 + sweep.instance, sweep.category)
    clustered = ids >= FIRST_OBJECT
    table = np.zeros((ids.max() + 1, kind.max() + 1), np.int64)
    np.add.at(table, (ids[clustered], kind[clustered]), 1)
    return int((iou[wanted] >= 0.5).sum()), int(wanted.sum()), int(table.max(1).sum()), int(clustered.sum())


if __name__ == '__main__':
    main()

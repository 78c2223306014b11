#!/usr/bin/env python3
"""Validation of a segmentor on synthetic scans: scans per second, time in the network, and predictions of all points.

The straightforward way copies each voxel's logits to its points in a loop over the voxels.
"""

import time

import numpy as np
import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from peridot.registry import MODELS
from streets.frame import Settings, camera_view
from streets.lidar import take_sweep
from streets.rig import make_lidar

SCENES, BATCH = 4, 2


def make_scans() -> list[torch.Tensor]:
    """One sweep of some scenes, (N, 4) x, y, z in meters and intensity."""
    scans = []
    for scene in range(SCENES):
        snapshot = camera_view(Settings(), scene, 0, 'CAM_FRONT')[1]
        sweep = take_sweep(snapshot, np.random.default_rng(scene), make_lidar())
        scans.append(torch.from_numpy(np.ascontiguousarray(sweep.points[:, :4], np.float32)))
    return scans


def copied_in_a_loop(logits: torch.Tensor, samples: list) -> list[torch.Tensor]:
    """Logits of all points, voxel by voxel."""
    start, results = 0, []
    for sample in samples:
        own = torch.empty(len(sample.point2voxel_map), logits.shape[1])
        for voxel in range(len(sample.batch_idx)):
            own[sample.point2voxel_map == voxel] = logits[start + voxel]
        start += len(sample.batch_idx)
        results.append(own)
    return results


def main() -> None:
    """Validate the scans, then copy the last batch's logits both ways."""
    model = Config.fromfile('configs/demo/minkunet18_100pct_demo.py').model
    segmentor = MODELS.build(dict(model, type='mmdet3d.MinkUNet')).eval()
    scans, network = make_scans(), 0.0
    start = time.perf_counter()
    with torch.no_grad():
        for first in range(0, SCENES, BATCH):
            points = scans[first : first + BATCH]
            data = dict(inputs=dict(points=points), data_samples=[Det3DDataSample() for _ in points])
            batch = segmentor.data_preprocessor(data)
            began = time.perf_counter()
            features = segmentor.extract_feat(batch['inputs'])
            network += time.perf_counter() - began
            samples = batch['data_samples']
            began = time.perf_counter()
            predicted = segmentor.decode_head.predict(features, samples)
            copying = time.perf_counter() - began
        total = time.perf_counter() - start
        logits = segmentor.decode_head(features)
        began = time.perf_counter()
        wanted = copied_in_a_loop(logits, samples)
        loop = time.perf_counter() - began
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(predicted, wanted))
    print(f'{SCENES / total:.2f} scans per second, {100 * network / total:.0f} % of the time in the network')
    print(f'all points: loop {loop * 1000:.0f} ms, ours {copying * 1000:.1f} ms, {loop / copying:.0f} times faster')


if __name__ == '__main__':
    main()

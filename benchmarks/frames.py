#!/usr/bin/env python3
"""What several frames cost, as ratios measured in one run: loading, the student's pass, means of superpoints.

One thread, least CPU time of several draws:

- loading 3 frames with 3 cameras each, and the same with a dense cloud of 3 scans, against 6 cameras of one frame;
  images of 1600x900, 34,000 points a scan, SuperFlow's transforms without maps;
- forward and backward pass of the demo's student over 4 clouds in a batch, and one after the other, against one cloud;
- means of the superpoints of 4 frames of 4 samples in one scatter, against a loop over the frames.

    python benchmarks/frames.py
"""

from __future__ import annotations

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import argparse
import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import mmdet3d.models  # noqa: F401  (registers)
import mmengine
import numpy as np
import peridot.datasets  # noqa: F401  (registers)
import torch
from load_sample import best_ms, lidar_like_points, write_sample
from peridot.models.functional import group_mean
from peridot.registry import DATASETS, MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
POINTS = 34_000
# scans in a batch of SuperFlow, their pairs, classes, channels of the embeddings
SCANS, PAIRS, IDS, CHANNELS = 16, 20_000, 17, 64


def write_drive(root: Path) -> None:
    """Three keyframes of the sample of `load_sample.py`, half a second apart, and two sweeps before the second."""
    write_sample(root, POINTS)
    content = mmengine.load(root / 'infos.pkl')
    (first,) = content['data_list']
    (root / 'sweeps/LIDAR_TOP').mkdir(parents=True)
    sweeps = []
    for number in (1, 2):
        lidar_like_points(np.random.default_rng(number), POINTS).tofile(root / f'sweeps/LIDAR_TOP/{number}.bin')
        lidar = dict(lidar_path=f'sweeps/LIDAR_TOP/{number}.bin', lidar2sensor=np.eye(4).tolist())
        sweeps.append(dict(lidar_points=lidar, timestamp=0.5 - 0.05 * number))
    for number in range(3):
        info = copy.deepcopy(first)
        info.update(token=str(number), timestamp=0.5 * number, ego2global=np.eye(4).tolist())
        content['data_list'][number:] = [info]
    content['data_list'][1]['lidar_sweeps'] = sweeps
    mmengine.dump(content, root / 'infos.pkl')


def loading(root: Path) -> dict[str, Callable]:
    """The second keyframe by itself and with its neighbors."""
    config = mmengine.Config.fromfile(CONFIGS / 'pretrain/superflow_nus.py')
    maps = config.load_maps
    steps = [step for step in config.train_pipeline if step != maps]
    ways = {
        'one frame, 6 cameras': ([step for step in steps if step != config.draw_cameras], None),
        '3 frames, 3 cameras': (steps, dict(keyframes=(-1, 1))),
        '3 frames, 3 cameras, dense cloud': (steps, dict(keyframes=(-1, 1), dense=2)),
    }
    data = config.train_dataloader.dataset
    changes = dict(data_root=str(root), ann_file='infos.pkl', maps={})
    datasets = {
        name: DATASETS.build({**data, **changes, 'pipeline': pipeline, 'frames': frames})
        for name, (pipeline, frames) in ways.items()
    }
    for name, count in zip(ways, (1, 3, 4)):
        assert len(datasets[name][1]['inputs']['frames'].frame) == count
    return {name: lambda dataset=dataset: dataset[1] for name, dataset in datasets.items()}


def passes() -> dict[str, Callable]:
    """Forward and backward passes of the demo's student."""
    student = MODELS.build(mmengine.Config.fromfile(CONFIGS / 'demo/superflow_demo.py').model.student).train()
    clouds = [torch.from_numpy(lidar_like_points(np.random.default_rng(i), POINTS)[:, :4]) for i in range(4)]

    def run(clouds: list) -> None:
        student(clouds).features.sum().backward()

    return {
        'one cloud': lambda: run(clouds[:1]),
        '4 clouds': lambda: run(clouds),
        '4 clouds, one by one': lambda: [run([cloud]) for cloud in clouds],
    }


def means() -> dict[str, Callable]:
    """Means of the superpoints of all scans, with gradients."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(SCANS * PAIRS, CHANNELS, generator=generator, requires_grad=True)
    scan = torch.arange(SCANS).repeat_interleave(PAIRS)
    ids = torch.randint(-1, IDS, (SCANS * PAIRS,), generator=generator)

    def at_once() -> torch.Tensor:
        return group_mean(rows, torch.where(ids >= 0, scan * IDS + ids, -1), SCANS * IDS)[0]

    def by_frame() -> torch.Tensor:
        found = []
        for frame in range(4):
            own = (scan % 4 == frame).nonzero()[:, 0]
            sample, number = scan[own] // 4, ids[own]
            group = torch.where(number >= 0, sample * IDS + number, -1)
            found.append(group_mean(rows[own], group, SCANS // 4 * IDS)[0].view(-1, IDS, CHANNELS))
        return torch.stack(found, 1).flatten(0, 2)

    torch.testing.assert_close(at_once(), by_frame())
    return {'one scatter': lambda: at_once().sum().backward(), 'a loop': lambda: by_frame().sum().backward()}


def report(times: dict[str, float], base: str, targets: dict[str, str]) -> None:
    """Print times and their ratios to one of them."""
    for name, value in times.items():
        print(f'  {name:34s} {value:8.1f} ms  {value / times[base]:6.2f}  {targets.get(name, "")}')


def main() -> None:
    """Measure all, print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=20)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_drive(Path(folder))
        print('loading a sample')
        times = best_ms(loading(Path(folder)), args.repeats)
    report(times, 'one frame, 6 cameras', {'3 frames, 3 cameras': '(target: at most 1.6)'})
    print("the student's pass")
    times = best_ms(passes(), max(args.repeats // 4, 2))
    report(times, 'one cloud', {'4 clouds': '(target: at most 4.2)'})
    print('means of superpoints')
    report(best_ms(means(), args.repeats), 'one scatter', {})


if __name__ == '__main__':
    main()

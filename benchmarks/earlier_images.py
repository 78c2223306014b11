#!/usr/bin/env python3
"""Images of earlier keyframes (`images_of`): how many pairs are right, and what a sample costs.

A pair of a point and an earlier image is right if the pixel shows the surface that the point lies on; the synthetic
world is asked with a ray. Pairs are counted without any test, with what moves left out by boxes
(`peridot.DropMovingPairs`), and with occlusion tests (`peridot.DropOccludedPairs`). "kept" is the part of the right
pairs that a test keeps. Pairs of the own images, which published methods use without a test, stand for comparison.

The cost is that of `load_sample.py`: 6 images of 1600x900 per keyframe, with the augmentations of OLIVINE.

    python benchmarks/earlier_images.py --data-root data/demo
"""

from __future__ import annotations

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import argparse
import pickle
import tempfile
from pathlib import Path

import cv2
import mmengine
import numpy as np
import peridot.datasets  # noqa: F401  (registers)
import torch
from load_sample import best_ms, write_sample
from mmengine.config import Config
from peridot.maps.images import ImageSource
from peridot.registry import DATASETS
from peridot.visualization.colors import heat_colors
from peridot.visualization.figures import caption, draw_on_images, save_figure, tile
from streets.dataset import read_settings
from streets.frame import Settings, caster, image_view
from streets.raycast import Snapshot
from streets.rig import make_lidar
from streets.taxonomy import SCENES

CONFIGS = Path(__file__).parents[1] / 'configs'
OCCLUDED, MOVING = dict(type='peridot.DropOccludedPairs'), dict(type='peridot.DropMovingPairs')
TESTS = {
    'no test': [],
    'boxes': [MOVING],
    'own scan': [dict(OCCLUDED, other_scans=False)],
    'own scan, boxes': [dict(OCCLUDED, other_scans=False), MOVING],
    'other scans': [OCCLUDED],
    'other scans, boxes': [OCCLUDED, MOVING],
}
# a ray may end this much before or behind a point of the same surface: meters, and part of the distance
NEAR, PART = 0.2, 0.02
HIDDEN = (255, 0, 255)


class Truth:
    """What the synthetic world says about the points of a loaded sample.

    Args:
        sample: With `points` and `img_paths`.
        settings: Those of the dataset.
    """

    def __init__(self, sample: dict, settings: Settings) -> None:
        self.paths, self.settings = sample['img_paths'], settings
        camera, snapshot = image_view(settings, self.paths[0])
        scene = SCENES.index(Path(self.paths[0]).stem.split('__')[0].removeprefix('peridot-'))
        now = Snapshot(caster(settings.seed, scene), snapshot.time - camera.delay)
        position, rotation = make_lidar().world_pose(now.world.ego_pose(now.time))
        self.xyz = sample['points'].tensor[:, :3].double().numpy() @ rotation.T + position
        # own body and stray points lie on no surface
        self.on_surface, self.instance = self._first(now, position, np.arange(len(self.xyz)))
        self.moves = np.isin(self.instance, [thing.number for thing in now.world.moving()])

    def _first(self, snapshot: Snapshot, position: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether rays from a position to points end at them, and the objects that they hit first."""
        rays = self.xyz[rows] - position
        distance = np.linalg.norm(rays, axis=1)
        hits = snapshot.hit(position, rays / distance[:, None])
        return abs(hits.distance - distance) <= NEAR + PART * distance, snapshot.labels(hits)[1]

    def right(self, pairs) -> np.ndarray:
        """Whether the pixel of each pair shows the surface, or the moving object, that the point lies on: Bool (P,)."""
        found = np.zeros(len(pairs), dtype=bool)
        for view in np.unique(pairs.camera.numpy()):
            camera, snapshot = image_view(self.settings, self.paths[view])
            position, _ = camera.world_pose(snapshot.world.ego_pose(snapshot.time))
            mine = np.flatnonzero(pairs.camera.numpy() == view)
            rows = pairs.point.numpy()[mine]
            ends, instance = self._first(snapshot, position, rows)
            found[mine] = self.on_surface[rows] & (instance == self.instance[rows]) & (ends | self.moves[rows])
        return found


def streets_dataset(root: Path, steps: list, offsets: tuple[int, ...]):
    """The training scenes of the demo with images of other keyframes, without augmentation."""
    base = Config.fromfile(CONFIGS / '_base_/datasets/demo_paired.py')
    settings = base.train_dataloader.dataset
    pipeline = [*base.read_sample, *steps]
    settings.update(data_root=str(root), pipeline=pipeline, frames=dict(images_of=offsets))
    return DATASETS.build(settings)


def loaded(dataset, row: int) -> dict:
    """A sample that is not packed."""
    return dataset.pipeline(dataset.get_data_info(row))


def count_right(root: Path, offsets: tuple[int, ...], every: int) -> None:
    """Print which part of the pairs is right, by test and offset."""
    settings, counts = read_settings(root), {}
    datasets = {name: streets_dataset(root, steps, offsets) for name, steps in TESTS.items()}
    for row in range(every - 1, len(datasets['no test']), every):
        plain = loaded(datasets['no test'], row)
        truth = Truth(plain, settings)
        for name, dataset in datasets.items():
            sample = loaded(dataset, row)
            right, offset = truth.right(sample['pairs']), plain['image_offsets'][sample['pairs'].camera.numpy()]
            for number in (0, *offsets):
                found = counts.setdefault((name, number), np.zeros(2, dtype=np.int64))
                found += np.array([(offset == number).sum(), right[offset == number].sum()])
    print(f'\n{"right pairs":20s}' + ''.join(f'{number:>16d}' for number in (0, *offsets)) + '        kept')
    for name in TESTS:
        parts = [counts[name, number] for number in (0, *offsets)]
        cells = [f'{good / max(total, 1):8.1%}{total:8d}' for total, good in parts]
        kept = sum(good for _, good in parts[1:]) / sum(counts['no test', number][1] for number in offsets)
        print(f'{name:20s}' + ''.join(cells) + f'{kept:12.1%}')


def measure_cost(numbers: list[int], repeats: int) -> None:
    """Print the time of loading a sample, by the number of earlier keyframes."""
    base = Config.fromfile(CONFIGS / '_base_/datasets/nus_paired.py')
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sample(root, 34000)
        content = pickle.loads((root / 'infos.pkl').read_bytes())
        info = dict(content['data_list'][0], ego2global=np.eye(4).tolist())
        content['data_list'] = [dict(info, token=str(i), timestamp=0.5 * i) for i in range(max(numbers) + 1)]
        mmengine.dump(content, root / 'infos.pkl')
        ways = {}
        for number in numbers:
            for name, steps in {'': [], ', occlusion test': [OCCLUDED]}.items():
                settings = base.train_dataloader.dataset.copy()
                settings.update(data_root=str(root), ann_file='infos.pkl')
                if number:
                    settings.frames = dict(images_of=[-1 - i for i in range(number)])
                settings.pipeline = [*base.read_sample, *(steps if number else []), *base.augment]
                if number or not name:
                    dataset = DATASETS.build(settings)
                    ways[f'{number} earlier keyframes{name}'] = lambda data=dataset: data[len(data) - 1]
        times = best_ms(ways, repeats)
    alone = times['0 earlier keyframes']
    print(f'\nleast CPU time of {repeats} draws, one thread')
    for name, value in times.items():
        print(f'  {name:40s}{value:8.1f} ms{value / alone:8.2f}')


def draw(root: Path, path: Path, row: int, offset: int) -> None:
    """Draw a scan on the images of another keyframe: pairs that the test keeps by distance, the others in magenta."""
    plain, tested = (loaded(streets_dataset(root, steps, (offset,)), row) for steps in ([], [OCCLUDED]))
    distance = plain['points'].tensor[:, :3].norm(dim=1)
    colors = heat_colors(distance.clamp(min=1e-3).log(), *np.log((3.0, 60.0)))
    keys = [sample['pairs'].camera * len(distance) + sample['pairs'].point for sample in (plain, tested)]
    shown = np.where(torch.isin(*keys)[:, None], colors[plain['pairs'].point], np.uint8(HIDDEN))
    figures = []
    for view in np.flatnonzero(plain['image_offsets'] == offset):
        rows = (plain['pairs'].camera == view).nonzero()[:, 0]
        pairs = plain['pairs'][rows].replace(camera=torch.zeros_like(rows), point=torch.arange(len(rows)))
        image = ImageSource(plain['img_paths'][view]).read()
        figures.append(caption(draw_on_images(image[None], pairs, shown[rows])[0], plain['cameras'][view]))
    save_figure(path, tile(np.stack(figures), 3))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', type=Path, default=Path('data/demo'), help='of tools/make_demo_data.py')
    parser.add_argument('--every', type=int, default=7, help='sample of which the pairs are counted: every n-th')
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--picture', type=Path, help='also draw correspondences')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    count_right(args.data_root, (-1, -2, -3, -4, -5), args.every)
    if args.picture:
        draw(args.data_root, args.picture, args.every - 1, -2)
    measure_cost([0, 1, 2, 5], args.repeats)


if __name__ == '__main__':
    main()

#!/usr/bin/env python3
"""Time of loading one paired training sample: ours, the straightforward way, and the floor.

One process, one core: 6 JPEG images of 1600x900, 34,000 points, all augmentations of OLIVINE; then the same with a weak
label map per image, such as k-means makes them, and with superpixels, both as runs and as PNG files. The
straightforward way reads PNG files; it does not know superpixels.
The straightforward way is what released code of this field does: images decoded at full size to floating
point, the chain of poses applied to the full cloud once per camera, cropping and resizing of full-size float
tensors. The floor is reading the files and decoding the images at reduced size, and nothing else.

    python benchmarks/load_sample.py
"""

from __future__ import annotations

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import mmengine
import numpy as np
import peridot.datasets  # noqa: F401  (registers)
import skimage
import torch
import torch.nn.functional as F
from peridot.catalog import CATALOG
from peridot.labels import SlicGenerator
from peridot.maps import Manifest, write_manifest, write_map
from peridot.maps.images import nearest_resize, reduce_image
from peridot.maps.manifest import FORMS
from peridot.registry import DATASETS
from PIL import Image
from skimage.measure import regionprops
from sklearn.cluster import KMeans

CAMERAS = tuple(CATALOG['nuscenes'].cameras)
YAWS = (0, -55, -110, 180, 110, 55)
HEIGHT, WIDTH, FOCAL = 900, 1600, 1266.0
CROP = (224, 416)
NUM_CLASSES = 17


def photographs() -> list[np.ndarray]:
    """Six photographs that scikit-image ships, as (900, 1600, 3) RGB; about as many bytes as nuScenes images."""
    folder = Path(skimage.__file__).parent / 'data'
    names = ('astronaut.png', 'coffee.png', 'chelsea.png', 'rocket.jpg', 'motorcycle_left.png', 'retina.jpg')
    images = []
    for name in names:
        image = Image.open(folder / name).convert('RGB')
        height = min(image.height, image.width * 9 // 16)
        top = (image.height - height) // 2
        box = (0, top, height * 16 // 9, top + height)
        images.append(np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)))
    return images


def lidar_like_points(rng: np.random.Generator, count: int) -> np.ndarray:
    """Ground and obstacles around a 32-beam sensor, float32 (count, 5)."""
    azimuth, elevation = rng.uniform(-np.pi, np.pi, count), np.deg2rad(rng.uniform(-30, 10, count))
    ground = 1.84 / np.maximum(-np.sin(elevation), 1e-3)
    reach = np.minimum(ground, rng.gamma(3, 8, count) + 3).clip(max=100)
    xyz = reach[:, None] * np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), np.sin(elevation)], 1
    )
    rest = np.stack([rng.integers(0, 256, count), rng.integers(0, 32, count)], 1)
    return np.concatenate([xyz, rest], 1).astype(np.float32)


def rigid(yaw: float, translation: tuple[float, float, float], camera: bool = False) -> np.ndarray:
    """Sensor-to-parent pose (4, 4); a camera looks along its own z, x to the right, y down."""
    cos, sin = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    pose = np.eye(4)
    pose[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    if camera:
        pose[:3, :3] = pose[:3, :3] @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[:3, 3] = translation
    return pose


def color_labels(image: np.ndarray) -> np.ndarray:
    """Weak labels as the generator `kmeans` makes them, but of colors: uint8 (H, W)."""
    reduced = reduce_image(image, 224)
    ids = SlicGenerator()(reduced)
    color = np.stack([region.mean_intensity for region in regionprops(ids + 1, reduced)])
    return nearest_resize(KMeans(NUM_CLASSES, random_state=0).fit_predict(color).astype(np.uint8)[ids], (HEIGHT, WIDTH))


def write_maps(root: Path, name: str, image: np.ndarray) -> None:
    """Write a camera's label map and superpixels, in both forms."""
    for kind, pixels in (('labels', color_labels(image)), ('superpixels', SlicGenerator()(image))):
        for form in FORMS:
            path = root / f'{kind}{form}/samples/{name}/{name}{form}'
            write_map(path, pixels, np.uint8 if kind == 'labels' else np.uint16)


def write_sample(root: Path, num_points: int) -> dict:
    """Write images, points, label maps and the info file; returns the poses of the straightforward way."""
    rng = np.random.default_rng(0)
    (root / 'samples/LIDAR_TOP').mkdir(parents=True)
    lidar_like_points(rng, num_points).tofile(root / 'samples/LIDAR_TOP/scan.bin')
    poses = dict(lidar2ego=rigid(-90, (0.94, 0, 1.84)), ego2global=rigid(35, (600, 1640, 0)), cams={})
    images = {}
    for name, yaw, photograph in zip(CAMERAS, YAWS, photographs()):
        (root / 'samples' / name).mkdir()
        Image.fromarray(photograph).save(root / f'samples/{name}/{name}.jpg', quality=86)
        write_maps(root, name, photograph)
        cam2ego = rigid(yaw, (1.5 * np.cos(np.deg2rad(yaw)), 0.6 * np.sin(np.deg2rad(yaw)), 1.5), camera=True)
        ego2global = rigid(35.2, (600.3, 1640.2, 0))
        cam2img = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
        poses['cams'][name] = dict(cam2ego=cam2ego, ego2global=ego2global, cam2img=cam2img)
        chain = np.linalg.inv(cam2ego) @ np.linalg.inv(ego2global) @ poses['ego2global'] @ poses['lidar2ego']
        images[name] = dict(img_path=f'{name}.jpg', lidar2cam=chain.tolist(), cam2img=cam2img.tolist())
    classes = [str(number) for number in range(NUM_CLASSES)]
    for form in FORMS:
        layout = f'{{relative_stem}}{form}'
        write_manifest(root / f'labels{form}', Manifest('labels', layout=layout, classes=classes, ignore=255))
        write_manifest(root / f'superpixels{form}', Manifest('superpixels', layout=layout, num_ids=150))
    lidar = dict(lidar_path='scan.bin', num_pts_feats=5)
    info = dict(sample_idx=0, token='benchmark', lidar_points=lidar, images=images)
    mmengine.dump(dict(metainfo=dict(dataset='nuscenes', info_version='1.1'), data_list=[info]), root / 'infos.pkl')
    return poses


def our_dataset(root: Path, kind: str | None, form: str):
    """The dataset with the training pipeline of `nus_paired.py` in `configs/_base_/datasets`, and maps of a kind."""
    base = mmengine.Config.fromfile(Path(__file__).parents[1] / 'configs/_base_/datasets/nus_paired.py')
    config = base.train_dataloader.dataset
    readers = dict(labels='peridot.LoadPairLabels', superpixels='peridot.LoadViewMaps')
    maps = [dict(type=readers[kind])] if kind else []
    config.update(data_root=str(root), ann_file='infos.pkl', pipeline=[*base.read_sample, *maps, *base.augment])
    config.maps = {kind: f'{kind}{form}'} if kind else {}
    return DATASETS.build(config)


class Straightforward:
    """The straightforward way, in one class: `sample()` loads and augments once."""

    def __init__(self, root: Path, poses: dict, with_labels: bool) -> None:
        self.root, self.poses, self.with_labels = root, poses, with_labels

    def sample(self) -> dict:
        """Points, images float32 (6, 3, 224, 416), pairs as two integer arrays, labels."""
        cloud = np.fromfile(self.root / 'samples/LIDAR_TOP/scan.bin', np.float32).reshape(-1, 5)[:, :4]
        images, point, pixel, label = self.load_views(cloud)
        xyz = self.rotate_and_flip(cloud[:, :3])
        keep, point, pixel, label = self.drop_cuboid(xyz, point, pixel, label)
        cropped = []
        for view in range(len(CAMERAS)):
            image, point, pixel, label = self.crop(images[view], view, point, pixel, label)
            if np.random.rand() < 0.5:
                image = torch.flip(image, [2])
                mine = pixel[:, 0] == view
                pixel[mine, 2] = CROP[1] - 1 - pixel[mine, 2]
            cropped.append(image)
        return dict(points=xyz[keep], images=torch.stack(cropped), point=point, pixel=pixel, label=label)

    def load_views(self, cloud: np.ndarray) -> tuple:
        """Full-size images and the pairs of all cameras, one camera after the other."""
        images, points, pixels, labels = [], [], [], []
        for view, name in enumerate(CAMERAS):
            image = np.array(Image.open(self.root / f'samples/{name}/{name}.jpg'))
            images.append(image / 255)
            position, depth = self.project(cloud, self.poses['cams'][name])
            keep = (depth > 1) & (position > 0).all(1)
            keep &= (position[:, 0] < WIDTH - 1) & (position[:, 1] < HEIGHT - 1)
            pixel = np.round(position[keep][:, ::-1]).astype(np.int64)
            points.append(np.flatnonzero(keep))
            pixels.append(np.concatenate([np.full((len(pixel), 1), view), pixel], 1))
            if self.with_labels:
                label_map = np.array(Image.open(self.root / f'labels.png/samples/{name}/{name}.png'))
                labels.append(label_map[pixel[:, 0], pixel[:, 1]])
            else:
                labels.append(np.zeros(len(pixel), np.uint8))
        stacked = torch.tensor(np.array(images, dtype=np.float32).transpose(0, 3, 1, 2))
        return stacked, np.concatenate(points), np.concatenate(pixels), np.concatenate(labels)

    def project(self, cloud: np.ndarray, camera: dict) -> tuple[np.ndarray, np.ndarray]:
        """The chain of poses, one step at a time, on the full cloud."""
        xyz = cloud[:, :3].T.copy()
        for pose in (self.poses['lidar2ego'], self.poses['ego2global']):
            xyz[:] = pose[:3, :3] @ xyz
            xyz += pose[:3, 3:].astype(np.float32)
        for pose in (camera['ego2global'], camera['cam2ego']):
            xyz -= pose[:3, 3:].astype(np.float32)
            xyz[:] = pose[:3, :3].T @ xyz
        projected = camera['cam2img'] @ xyz
        with np.errstate(divide='ignore', invalid='ignore'):
            return (projected[:2] / projected[2:]).T, xyz[2]

    def rotate_and_flip(self, xyz: np.ndarray) -> torch.Tensor:
        """Rotation about z, flips of x and y."""
        angle = np.random.uniform(0, 2 * np.pi)
        cos, sin = np.cos(angle), np.sin(angle)
        rotation = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float32)
        rotated = torch.from_numpy(xyz.copy()) @ rotation.T
        return rotated * torch.tensor([*np.random.choice([-1.0, 1.0], 2), 1.0], dtype=torch.float32)

    def drop_cuboid(self, xyz: torch.Tensor, point: np.ndarray, pixel: np.ndarray, label: np.ndarray) -> tuple:
        """Remove a cuboid unless an image keeps fewer than 1024 pairs."""
        half = (xyz.max(0).values - xyz.min(0).values) * np.random.uniform(0, 0.2) / 2
        center = xyz[np.random.randint(len(xyz))]
        keep = ~((xyz > center - half) & (xyz < center + half)).all(1).numpy()
        rows = np.flatnonzero(keep[point])
        if min(np.sum(pixel[rows, 0] == view) for view in range(len(CAMERAS))) < 1024:
            return np.ones(len(xyz), bool), point, pixel, label
        return keep, (np.cumsum(keep) - 1)[point[rows]], pixel[rows], label[rows]

    def crop(self, image: torch.Tensor, view: int, point: np.ndarray, pixel: np.ndarray, label: np.ndarray):
        """Random resized crop of one full-size image with its pairs."""
        mine = pixel[:, 0] == view
        for _ in range(20):
            top, left, height, width = self.draw_crop()
            row = np.round((pixel[:, 1] - top) * (CROP[0] / height)).astype(np.int64)
            column = np.round((pixel[:, 2] - left) * (CROP[1] / width)).astype(np.int64)
            inside = mine & (row >= 0) & (row < CROP[0]) & (column >= 0) & (column < CROP[1])
            if inside.sum() > 1024 or inside.sum() > 0.75 * mine.sum():
                break
        part = image[:, top : top + height, left : left + width]
        resized = F.interpolate(part[None], CROP, mode='bilinear', align_corners=False, antialias=False)[0]
        pixel = pixel.copy()
        pixel[inside, 1], pixel[inside, 2] = row[inside], column[inside]
        keep = ~mine | inside
        return resized, point[keep], pixel[keep], label[keep]

    def draw_crop(self) -> tuple[int, int, int, int]:
        """torchvision's RandomResizedCrop parameters."""
        while True:
            area = HEIGHT * WIDTH * np.random.uniform(0.3, 1)
            aspect = np.exp(np.random.uniform(np.log(14 / 9), np.log(17 / 9)))
            width, height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if 0 < width <= WIDTH and 0 < height <= HEIGHT:
                return (
                    np.random.randint(HEIGHT - height + 1),
                    np.random.randint(WIDTH - width + 1),
                    height,
                    width,
                )


def floor_of(root: Path) -> Callable[[], None]:
    """Read the point and image files and decode the images at half size, the reduction that most crops allow."""

    def run() -> None:
        (root / 'samples/LIDAR_TOP/scan.bin').read_bytes()
        for name in CAMERAS:
            data = (root / f'samples/{name}/{name}.jpg').read_bytes()
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)

    return run


def best_ms(ways: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Least CPU time of each way over samples of different seeds, which other programs on the machine disturb least.

    The ways take turns, so that a change of the processor's speed meets all of them.
    """
    times = dict.fromkeys(ways, np.inf)
    for seed in range(repeats):
        for name, function in ways.items():
            np.random.seed(seed)
            start = time.process_time()
            function()
            times[name] = min(times[name], 1e3 * (time.process_time() - start))
    return times


def profile_transforms(dataset, repeats: int) -> dict[str, float]:
    """Mean milliseconds of every transform of our pipeline."""
    spent: dict[str, float] = {}
    for _ in range(repeats):
        results = dataset.get_data_info(0)
        for transform in dataset.pipeline.transforms:
            start = time.process_time()
            results = transform(results)
            name = type(transform).__name__
            spent[name] = spent.get(name, 0) + 1e3 * (time.process_time() - start) / repeats
    return spent


def compare(root: Path, poses: dict, kind: str | None, repeats: int) -> None:
    """Time and print the ways, with maps of a kind."""
    png, runs = (our_dataset(root, kind, form) for form in FORMS)
    print(f'\nwith {kind or "no maps"}, {len(runs[0]["inputs"]["pairs"])} pairs kept in one draw')
    ways = {'peridot': lambda: runs[0], 'floor': floor_of(root)}
    if kind:
        ways['peridot, PNG'] = lambda: png[0]
    if kind != 'superpixels':
        ways['straightforward'] = Straightforward(root, poses, kind == 'labels').sample
    times = best_ms(ways, repeats)
    parts = profile_transforms(runs, repeats)
    print('  of which ' + ', '.join(f'{name} {value:.1f}' for name, value in parts.items()))
    for name, value in times.items():
        print(f'  {name:16s} {value:7.1f} ms')
    if 'straightforward' in times:
        print(f'  straightforward / peridot  {times["straightforward"] / times["peridot"]:6.2f}  (target: at least 8)')
    for name in times.keys() - {'floor', 'straightforward'}:
        print(f'  {f"{name} / floor":26s} {times[name] / times["floor"]:6.2f}')


def main() -> None:
    """Measure all ways, print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--points', type=int, default=34000)
    parser.add_argument('--repeats', type=int, default=25)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        poses = write_sample(root, args.points)
        size = np.mean([path.stat().st_size for path in root.glob('samples/*/*.jpg')])
        print(f'6 images of {WIDTH}x{HEIGHT}, {size / 1024:.0f} KB each; {args.points} points')
        print(f'least CPU time of {args.repeats} draws, one thread')
        for kind in (None, 'labels', 'superpixels'):
            compare(root, poses, kind, args.repeats)


if __name__ == '__main__':
    main()

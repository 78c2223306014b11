"""Made-up samples of real size on disk, in the layout that a config reads, so that its own loader loads them."""

from __future__ import annotations

import os.path as osp
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import mmengine
import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate

from peridot.catalog import lookup
from peridot.gpu_check.clouds import lidar_points
from peridot.maps import Manifest, write_manifest, write_map
from peridot.maps.manifest import RUNS, RUNS_LAYOUT
from peridot.registry import DATASETS
from peridot.walk import dicts_of

# pixels of an image, points of a scan of nuScenes and of the lidars with 64 beams
IMAGE, SMALL_IMAGE = (900, 1600), (225, 400)
POINTS = dict(nuscenes=34_688)
MANY_POINTS, FEW_POINTS = 120_000, 3000
# focal length in widths of the image
FOCAL = 0.8
CLASSES, IDS = 17, 150
# numbers of blocks along the sides of an image that have one label or superpixel
BLOCKS = (10, 15)


def write_samples(config: Config, folder: Path, small: bool) -> None:
    """Write one sample for every training dataset of a config, and let the config read it.

    Args:
        config: Its training datasets get another `data_root`.
        folder: Gets a folder for each data root.
        small: Small images and few points.
    """
    for part in dicts_of(config.train_dataloader):
        if 'split' in part:
            # all there is
            part.split = None
    for part in parts_of(config):
        root = folder / Path(part.data_root).name
        part.data_root = str(root)
        points = FEW_POINTS if small else POINTS.get(part.dataset, MANY_POINTS)
        if 'pattern' in part:
            write_scan(root / part.pattern.format(sequence='0000').replace('*', '0000000000'), part, points)
        else:
            write_paired(part, root, points, SMALL_IMAGE if small else IMAGE)


def parts_of(config: Config) -> Iterator[ConfigDict]:
    """Training datasets of a config that read files themselves."""
    return (part for part in dicts_of(config.train_dataloader) if 'data_root' in part)


def write_scan(path: Path, part: ConfigDict, count: int) -> None:
    """Write a point file with the columns that a dataset's pipeline reads."""
    load = next(step for step in part.pipeline if step.type == 'peridot.LoadPoints')
    limits = lookup(part.dataset).intensity_range or (0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    lidar_points(count, load.load_dim, limits[1]).numpy().tofile(path)


def write_paired(part: ConfigDict, root: Path, count: int, size: tuple[int, int]) -> None:
    """Write a scan, images and maps of a `PairedDataset`, and its info file."""
    prefix = {name: path.format(version='v1.0-trainval') for name, path in part.get('data_prefix', {}).items()}
    scan = f'{part.dataset}.bin'
    write_scan(root / prefix.get('pts', '') / scan, part, count)
    cameras = part.get('cameras')
    names = list(lookup(part.dataset).cameras or ('front',)) if cameras is None else cameras
    images, paths = {}, []
    for number, name in enumerate(names):
        paths.append(Path(prefix.get(name, prefix.get('img', '')), f'{name}.jpg'))
        write_image(root / paths[-1], size)
        images[name] = dict(img_path=f'{name}.jpg', **calibration(360 * number / len(names), size))
    for name, folder in part.get('maps', {}).items():
        write_maps(root, folder if isinstance(folder, str) else folder['folder'], name, paths, size)
    # one scan is all keyframes of which the first sample has frames or images; it is the only one that is read
    frames = part.get('frames') or {}
    offsets = [0, *frames.get('keyframes', ()), *frames.get('images_of', ())]
    infos = [
        dict(
            sample_idx=offset,
            token=f'made_up{offset}',
            timestamp=0.1 * offset,
            ego2global=np.eye(4).tolist(),
            lidar_points=dict(lidar_path=scan),
            images=images,
        )
        for offset in sorted(range(min(offsets), max(offsets) + 1), key=abs)
    ]
    part.indices = 1
    metainfo = dict(dataset=part.dataset, info_version='1.1', version='v1.0-trainval')
    mmengine.dump(dict(metainfo=metainfo, data_list=infos), osp.join(root, part.ann_file))


def calibration(yaw: float, size: tuple[int, int]) -> dict:
    """`lidar2cam` and `cam2img` of a camera at the lidar's place that looks `yaw` degrees away from its y axis."""
    cos, sin = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    height, width = size
    right, down, ahead = (cos, sin, 0), (0, 0, -1), (-sin, cos, 0)
    lidar2cam = np.eye(4)
    lidar2cam[:3, :3] = right, down, ahead
    focal = FOCAL * width
    cam2img = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
    return dict(lidar2cam=lidar2cam.tolist(), cam2img=cam2img)


def write_image(path: Path, size: tuple[int, int]) -> None:
    """Write a JPEG with as many bytes as a photograph: noise of all scales."""
    if path.is_file():
        return
    generator, height, width = np.random.default_rng(0), *size
    image = np.zeros((height, width, 3), np.float32)
    for scale in (64, 16, 4, 1):
        noise = generator.normal(0, 2 + scale / 2, (height // scale + 1, width // scale + 1, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (image + 128).clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 86])


def write_maps(root: Path, folder: str, name: str, images: list[Path], size: tuple[int, int]) -> None:
    """Write label maps, or superpixels, of rectangular blocks.

    Args:
        root: Data root.
        folder: Folder of the maps below it.
        name: 'labels' or 'superpixels'.
        images: Image files below the root.
        size: Height and width of the images.
    """
    if name == 'labels':
        classes = [str(number) for number in range(CLASSES)]
        manifest = Manifest(kind='labels', layout=RUNS_LAYOUT, classes=classes, ignore=255)
    else:
        manifest = Manifest(kind='superpixels', layout=RUNS_LAYOUT, num_ids=IDS)
    blocks = np.arange(BLOCKS[0] * BLOCKS[1], dtype=np.uint16).reshape(BLOCKS) % manifest.limit
    pixels = cv2.resize(blocks, size[::-1], interpolation=cv2.INTER_NEAREST)
    for image in images:
        path = root / folder / image.with_suffix(RUNS)
        write_map(path, pixels, np.uint8 if name == 'labels' else np.uint16)
    write_manifest(root / folder, manifest)


def load_batch(config: Config, draws: int) -> tuple[dict, float]:
    """A batch of a config as its loader would give it, and the milliseconds of a sample in one process.

    Args:
        config: Its data are there.
        draws: Samples to load, 2 or more; a larger batch repeats them.
    """
    loader = config.train_dataloader
    dataset = DATASETS.build(loader.dataset)
    samples = [dataset[0]]
    begin = time.perf_counter()
    samples += [dataset[i % len(dataset)] for i in range(1, draws)]
    milliseconds = 1000 * (time.perf_counter() - begin) / (draws - 1)
    return pseudo_collate([samples[i % draws] for i in range(loader.batch_size)]), milliseconds

"""Crops of training images that show one class each, as a user might cut them out or generate them from text."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from skimage.measure import label as connected_regions
from skimage.measure import regionprops
from tqdm import tqdm

from peridot.catalog import CATALOG
from peridot.datasets.paired_dataset import read_info_file
from peridot.errors import DataError
from peridot.files import atomic_path
from peridot.labels.oracle import OracleGenerator
from peridot.maps.folder import UNLABELED
from peridot.maps.images import ImageSource

# smallest width and height of a crop in pixels
MIN_SIZE = 16


def write_prototypes(root: str | os.PathLike, per_class: int, progress: bool = True) -> Path:
    """Write `prototypes/{class}/{number}.png`: crops of the largest regions of each class, one per image.

    The regions are those of the true classes, in training images of a synthetic dataset in nuScenes' layout.

    Args:
        root: Folder of the dataset.
        per_class: Crops per class; fewer where the images show fewer.
        progress: Show a progress bar.

    Returns:
        The folder.

    Raises:
        ConfigError: The dataset is not synthetic.
        DataError: No image shows one of the classes.
    """
    root, nuscenes = Path(root), CATALOG['nuscenes']
    oracle = OracleGenerator()
    oracle.open_dataset(root)
    infos = read_info_file(str(root / nuscenes.info_file('train')), str(root))['data_list']
    paths = [root / nuscenes.cameras[name] / cam['img_path'] for info in infos for name, cam in info['images'].items()]
    found = {item.name: [] for item in nuscenes.classes}
    for path in tqdm(paths, 'prototypes', unit='image', disable=not progress):
        for label, region in largest_regions(oracle.generate(ImageSource(str(path)))).items():
            found[nuscenes.classes[label].name].append((region.area, path, region.bbox))
    for name, regions in found.items():
        if not regions:
            raise DataError(f'no image of {root} shows {name}: make the dataset with more --keyframes')
        for number, (_, path, box) in enumerate(sorted(regions, reverse=True)[:per_class]):
            top, left, bottom, right = box
            crop = cv2.imread(str(path))[top:bottom, left:right]
            with atomic_path(root / 'prototypes' / name / f'{number}.png') as temporary:
                temporary.write_bytes(cv2.imencode('.png', crop)[1].tobytes())
    return root / 'prototypes'


def largest_regions(labels: np.ndarray) -> dict[int, object]:
    """Find the largest connected region of each class.

    Args:
        labels: Uint8 (H, W), classes; 255 for none.

    Returns:
        `{class: region}` with skimage's regions, without those narrower than `MIN_SIZE`.
    """
    best = {}
    for region in regionprops(connected_regions(labels.astype(np.int32), background=UNLABELED, connectivity=1)):
        label = int(labels[tuple(region.coords[0])])
        top, left, bottom, right = region.bbox
        large = min(bottom - top, right - left) >= MIN_SIZE
        if large and region.area > getattr(best.get(label), 'area', 0):
            best[label] = region
    return best

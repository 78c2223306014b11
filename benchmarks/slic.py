#!/usr/bin/env python3
"""SLIC superpixels: the fast setting (`--options scale=0.5`) against the published one, on 1600 x 900 images.

Prints seconds per image and the achievable segmentation accuracy (ASA): the fraction of labeled pixels that keep
their class if every superpixel takes its most frequent one. Classes are those of the rendered synthetic street.
"""

import time

import numpy as np
import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
from peridot.labels.quality import region_counts
from peridot.labels.superpixels import SlicGenerator
from streets.camera import take_photo
from streets.frame import Settings, camera_view
from streets.rig import CAMERAS
from streets.taxonomy import SCENES

SETTINGS = Settings(image_size=(900, 1600))
FRAME = 3


def main() -> None:
    """Measure both settings on one camera image of every scene."""
    found = {}
    photos = [make_photo(scene) for scene in range(len(SCENES))]
    for name, scale in (('published', 1.0), ('fast', 0.5)):
        seconds, accuracy = measure(SlicGenerator(scale=scale), photos)
        found[name] = seconds, accuracy
        print(f'{name:9s} (scale={scale}) {seconds:6.3f} s per image, ASA {100 * accuracy:5.2f} %')
    (slow, published), (quick, fast) = found['published'], found['fast']
    print(f'{slow / quick:.2f} times faster, ASA {100 * (published - fast):.2f} points lower, {len(photos)} images')


def make_photo(scene: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and lidarseg category (0: sky) of one camera of a scene; the camera changes from scene to scene."""
    camera, snapshot = camera_view(SETTINGS, scene, FRAME, list(CAMERAS)[scene % len(CAMERAS)])
    photo = take_photo(snapshot, camera, np.random.default_rng(scene))
    return photo.image, photo.category


def measure(generator: SlicGenerator, photos: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Median seconds per image and ASA over all images' labeled pixels."""
    seconds, kept, labeled = [], 0, 0
    for image, category in photos:
        start = time.perf_counter()
        ids = generator(image)
        seconds.append(time.perf_counter() - start)
        known = category > 0
        pixels, _, most_frequent, _ = region_counts(ids[known], category[known].astype(np.int64), 256)
        kept, labeled = kept + most_frequent, labeled + pixels
    return float(np.median(seconds)), kept / labeled


if __name__ == '__main__':
    main()

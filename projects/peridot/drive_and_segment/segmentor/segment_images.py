"""Overlays of a network's clusters and classes on images or a video."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from torch import nn

from peridot.catalog import class_colors
from peridot.drive_and_segment.segmentor.teacher_labels import load_segmentor
from peridot.errors import ConfigError, DataError
from peridot.labels.memory import memory_errors
from peridot.labels.networks import device
from peridot.labels.parallel import progress
from peridot.maps.images import ImageSource
from peridot.optional import import_package
from peridot.visualization.figures import save_figure
from peridot.visualization.maps import paint

IMAGES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
UNNAMED = (0, 0, 0)


@dataclass(frozen=True)
class Palette:
    """Colors of one kind of overlay.

    Attributes:
        name: Folder (or part of the file name) of the overlays.
        colors: Uint8 (L, 3), RGB color of each cluster.
    """

    name: str
    colors: np.ndarray

    def paint(self, image: np.ndarray, clusters: np.ndarray, opacity: float) -> np.ndarray:
        """Overlay uint8 (H, W, 3), RGB, of clusters (H, W) on an image uint8 (H, W, 3), RGB."""
        return paint(image, clusters, self.colors, opacity)


class ImageSegmentor:
    """A segmentation network of mmsegmentation that takes RGB images.

    Args:
        config: Config with `model` and `image_pipeline`.
        checkpoint: File with its weights.

    Raises:
        CheckpointError: The file is absent, damaged or of another network.
        ConfigError: The config has no `image_pipeline`, or mmsegmentation is not installed.
    """

    def __init__(self, config: Config, checkpoint: str) -> None:
        apis = import_package('mmseg.apis', 'segmentation of images')
        if 'image_pipeline' not in config:
            raise ConfigError(
                f'{config.filename} has no `image_pipeline`, which prepares single images: give a config of '
                'configs/drive_and_segment'
            )
        config.test_pipeline = config.image_pipeline
        network = apis.init_model(config, device=str(device()))
        load_segmentor(network, checkpoint)
        self.network: nn.Module = network
        self.infer = apis.inference_model

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Clusters int64 (H, W) of an RGB image uint8 (H, W, 3)."""
        # as read by OpenCV, which is what the pipelines of mmsegmentation expect
        result = self.infer(self.network, np.ascontiguousarray(image[..., ::-1]))
        return result.pred_sem_seg.data[0].cpu().numpy()


def cluster_palette(count: int) -> Palette:
    """A color for each cluster, without meaning."""
    return Palette('clusters', class_colors(count))


def class_palette(path: str, count: int | None = None) -> Palette:
    """For each cluster the color of its class, black for clusters without class.

    Args:
        path: `matching.json` of an evaluation with `MatchedMeanIoU`.
        count: Number of clusters that it must be of, None for any.

    Raises:
        DataError: The file is absent or damaged, or of another number of clusters.
    """
    try:
        content = json.loads(Path(path).read_text())
        matching = content['matching']
        palette = content['palette']
        classes = content['classes']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'the matching {path} cannot be read ({error}): `python tools/test.py` writes matching.json to its '
            'work directory'
        ) from None
    if count not in (None, len(matching)):
        raise DataError(
            f'the matching {path} is of {len(matching)} clusters, the network has {count}: evaluate this network'
        )
    colors = np.array([*(palette or class_colors(len(classes)).tolist()), UNNAMED], np.uint8)
    # the last color is read at -1
    return Palette('classes', colors[matching])


def segment_folder(
    segmentor: ImageSegmentor, folder: Path, out: Path, palettes: Sequence[Palette], opacity: float
) -> list[str]:
    """Write `out/PALETTE/<image>.png` for all images below a folder; existing overlays are kept.

    Returns:
        What is wrong with each image that cannot be read or needs too much memory.

    Raises:
        DataError: There is no image.
    """
    images = sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGES)
    if not images:
        raise DataError(f'{folder} holds no image ({", ".join(IMAGES)}): give another folder, or a video file')
    names = [path.relative_to(folder).with_suffix('.png') for path in images]
    count = Counter(names)
    if twins := sorted((name, path) for path, name in zip(images, names) if count[name] > 1):
        raise DataError(f'{twins[0][1]} and {twins[1][1]} would be written to one file: rename one of them')
    failures = []
    for path, name in progress(zip(images, names), len(images), 'segmented'):
        files = [out / palette.name / name for palette in palettes]
        if all(file.is_file() for file in files):
            continue
        try:
            with memory_errors(f'image {path}', 'free memory, or reduce the image'):
                image = ImageSource(str(path)).read()
                clusters = segmentor(image)
                for palette, file in zip(palettes, files):
                    save_figure(file, palette.paint(image, clusters, opacity))
        except DataError as error:
            failures.append(str(error))
    return failures


def segment_video(
    segmentor: ImageSegmentor, video: Path, out: Path, palettes: Sequence[Palette], opacity: float
) -> None:
    """Write `out/<video>_PALETTE.mp4`; does nothing if all exist.

    Raises:
        DataError: The video cannot be read, or videos cannot be written here.
    """
    files = [out / f'{video.stem}_{palette.name}.mp4' for palette in palettes]
    if all(file.is_file() for file in files):
        return
    reader = cv2.VideoCapture(str(video))
    size = tuple(int(reader.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    out.mkdir(parents=True, exist_ok=True)
    # OpenCV chooses the container by the suffix
    parts = [file.with_name(f'.part_{file.name}') for file in files]
    code = cv2.VideoWriter_fourcc(*'mp4v')
    writers = [cv2.VideoWriter(str(part), code, reader.get(cv2.CAP_PROP_FPS) or 25.0, size) for part in parts]
    count = 0
    while (frame := reader.read())[0]:
        image = frame[1][..., ::-1]
        clusters = segmentor(image)
        for palette, writer in zip(palettes, writers):
            writer.write(np.ascontiguousarray(palette.paint(image, clusters, opacity)[..., ::-1]))
        count += 1
    for writer in (reader, *writers):
        writer.release()
    if not count:
        for part in parts:
            part.unlink(missing_ok=True)
        raise DataError(f'the video {video} cannot be read: convert it (ffmpeg -i {video.name} video.mp4)')
    for part, file in zip(parts, files):
        part.replace(file)

"""Pictures of a network's clusters and classes, for images or a video."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image
from torch import nn

from peridot.drive_and_segment.segmentor.teacher_labels import load_segmentor
from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path
from peridot.labels.networks import device
from peridot.labels.parallel import progress
from peridot.maps.images import ImageSource
from peridot.optional import import_package
from peridot.visualization.maps import class_colors

IMAGES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')
UNNAMED = (0, 0, 0)


@dataclass(frozen=True)
class Palette:
    """Colors of the pictures of one kind.

    Attributes:
        name: Folder (or file name) of the pictures.
        colors: Uint8 (L, 3), RGB of each cluster.
    """

    name: str
    colors: np.ndarray

    def paint(self, image: np.ndarray, clusters: np.ndarray, opacity: float) -> np.ndarray:
        """Picture (H, W, 3) uint8 RGB of clusters (H, W) over an image (H, W, 3) uint8 RGB."""
        return np.rint((1 - opacity) * image + opacity * self.colors[clusters]).astype(np.uint8)


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
        """Clusters (H, W) int64 of an image (H, W, 3) uint8 RGB."""
        # as read by OpenCV, which is what the pipelines of mmsegmentation expect
        result = self.infer(self.network, np.ascontiguousarray(image[..., ::-1]))
        return result.pred_sem_seg.data[0].cpu().numpy()


def cluster_palette(count: int) -> Palette:
    """A color for each cluster, whatever it means."""
    return Palette('clusters', class_colors(count))


def class_palette(path: str, count: int | None = None) -> Palette:
    """The color of its class for each cluster, black for those without.

    Args:
        path: `matching.json` of an evaluation with `MatchedMeanIoU`.
        count: Number of clusters that it must be of, None for any.

    Raises:
        DataError: The file is absent or damaged, or of another number of clusters.
    """
    try:
        content = json.loads(Path(path).read_text())
        matching, palette, classes = content['matching'], content['palette'], content['classes']
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
    """Write `out/PALETTE/<image>.png` for all images below a folder; pictures that exist are kept.

    Returns:
        Problem of every image that cannot be read.

    Raises:
        DataError: There is no image.
    """
    images = sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGES)
    if not images:
        raise DataError(f'{folder} holds no image ({", ".join(IMAGES)}): give another folder, or a video file')
    places = [path.relative_to(folder).with_suffix('.png') for path in images]
    count = Counter(places)
    if twins := sorted((place, path) for path, place in zip(images, places) if count[place] > 1):
        raise DataError(f'{twins[0][1]} and {twins[1][1]} would give one picture: rename one of them')
    failures = []
    for path, place in progress(zip(images, places), len(images), 'segmented'):
        files = [out / palette.name / place for palette in palettes]
        if all(file.is_file() for file in files):
            continue
        try:
            image = ImageSource(str(path)).read()
        except DataError as error:
            failures.append(str(error))
            continue
        clusters = segmentor(image)
        for palette, file in zip(palettes, files):
            with atomic_path(file) as temporary:
                Image.fromarray(palette.paint(image, clusters, opacity)).save(temporary, format='PNG')
    return failures


def segment_video(
    segmentor: ImageSegmentor, video: Path, out: Path, palettes: Sequence[Palette], opacity: float
) -> None:
    """Write `out/<video>_PALETTE.mp4`; nothing is done if all exist.

    Raises:
        DataError: The video cannot be read, or videos cannot be written here.
    """
    files = [out / f'{video.stem}_{palette.name}.mp4' for palette in palettes]
    if all(file.is_file() for file in files):
        return
    reader = cv2.VideoCapture(str(video))
    size = tuple(int(reader.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    out.mkdir(parents=True, exist_ok=True)
    # the suffix tells OpenCV the container
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

"""One feature for every segment of an image, by a frozen image network."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from peridot.drive_and_segment.proposals.clusters import FIRST_OBJECT
from peridot.errors import ConfigError, DataError
from peridot.labels.generator import check_positive
from peridot.labels.memory import memory_errors
from peridot.maps.images import ImageSource, nearest_resize, resize_image
from peridot.models.functional import superpixel_mean
from peridot.registry import MODELS

POOLS = ('class', 'mean', 'mask')
# color that hides the surroundings of a segment, the mean of ImageNet
GRAY = (124, 116, 104)


@dataclass
class SegmentImage:
    """Network inputs of one image with S segments.

    Attributes:
        ids: Int64 (S,), segments in ascending order, without the ground.
        boxes: Int64 (S, 4), left, top, right, bottom in pixels, right and bottom exclusive.
        pixels: Int64 (S,), number of pixels of each segment.
        inputs: Uint8 (S, 3, h, w), crops, or (1, 3, h, w), the full image, for the pool 'mask'.
        regions: Int64 (h, w), for the pool 'mask': segment of each input pixel by its index in `ids`, S elsewhere.
        source: The image's file, if needed later.
    """

    ids: np.ndarray
    boxes: np.ndarray
    pixels: np.ndarray
    inputs: np.ndarray
    regions: np.ndarray | None = None
    source: ImageSource | None = None


@dataclass(frozen=True)
class SegmentInputs:
    """Makes the network's inputs from the segments of an image.

    Attributes:
        pool: How features of segments are pooled, see `SegmentEncoder`; 'mask' needs the full image, the others crops.
        crop_size: Side of the crops in pixels.
        image_height: Height of the full image for the network.
        context: Boxes of the crops grow by this fraction of their sides.
        mask_background: Hide the pixels in a segment's box that are not of the segment.

    Raises:
        ConfigError: A value makes no sense.
    """

    pool: str = 'class'
    crop_size: int = 224
    image_height: int = 448
    context: float = 0.0
    mask_background: bool = False

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise ConfigError(f'pseudo_labels.pool={self.pool!r} must be one of {", ".join(POOLS)}')
        check_positive('pseudo_labels', crop_size=self.crop_size, image_height=self.image_height)

    def __call__(self, image: np.ndarray, regions: np.ndarray) -> SegmentImage:
        """Inputs of an RGB image uint8 (H, W, 3) with segments (H, W)."""
        if self.pool == 'mask':
            return full_image(image, regions, self.image_height)
        return crop_segments(image, regions, self.crop_size, self.context, self.mask_background)


class SegmentEncoder(nn.Module):
    """Features of segments by a frozen image network.

    Args:
        teacher: Config of the network (registry `MODELS`).
        pool: 'class' takes the class token of a crop after the last normalization (transformers), 'mean' the mean
            over the crop's feature map, 'mask' the mean over the segment in the feature map of the full image.

    Attributes:
        seconds: Time spent in the network.

    Raises:
        ConfigError: The network has no class token.
    """

    def __init__(self, teacher: Mapping, pool: str) -> None:
        super().__init__()
        self.teacher = MODELS.build(dict(teacher))
        self.pool = pool
        self.seconds = 0.0
        if pool == 'class' and getattr(getattr(self.teacher, 'network', None), 'cls_token', None) is None:
            raise ConfigError(
                f"pool='class': {teacher.get('model', teacher['type'])} has no class token: set "
                "pseudo_labels.pool='mean', or a vision transformer as pseudo_labels.teacher"
            )
        self.eval()

    @torch.no_grad()
    def forward(self, crops: Tensor) -> Tensor:
        """Features float32 (S, C) of crops uint8 (S, 3, h, w)."""
        if self.pool == 'mean':
            return self.teacher(crops).float().mean((2, 3))
        teacher = self.teacher
        images = (crops.float() / 255 - teacher.mean) / teacher.std
        return teacher.network.forward_features(images)[:, 0].float()

    @torch.no_grad()
    def masked(self, image: Tensor, regions: Tensor, count: int) -> Tensor:
        """Features float32 (S, C) of S = `count` segments (h, w) of one image (1, 3, h, w)."""
        features = self.teacher(image).float()
        pooled, _ = superpixel_mean(features, regions[None], count + 1, self.teacher.align_corners, normalize=False)
        return pooled[0, :count]

    def encode(self, inputs: np.ndarray, regions: np.ndarray | None = None, count: int = 0) -> np.ndarray:
        """Features of segments on the network's device.

        Args:
            inputs: Uint8 (S, 3, h, w), crops, or (1, 3, h, w), a full image.
            regions: Int64 (h, w), segments of a full image.
            count: Number of segments S of a full image.

        Returns:
            Float32 (S, C).
        """
        start = time.perf_counter()
        device = next(self.parameters()).device
        batch = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
        features = self(batch) if regions is None else self.masked(batch, torch.from_numpy(regions).to(device), count)
        result = features.cpu().numpy()
        self.seconds += time.perf_counter() - start
        return result


def segment_boxes(regions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects of a map of proposals, without the ground.

    Args:
        regions: Int (H, W), segments.

    Returns:
        Ids (S,) in ascending order, tight boxes (S, 4) left, top, right, bottom (the last two exclusive), and numbers
        of pixels (S,), int64 each.
    """
    row, column = np.nonzero(regions >= FIRST_OBJECT)
    ids, owner, pixels = np.unique(regions[row, column], return_inverse=True, return_counts=True)
    boxes = np.empty((len(ids), 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = np.iinfo(np.int64).max, -1
    for side, values in ((0, column), (1, row)):
        np.minimum.at(boxes[:, side], owner, values)
        np.maximum.at(boxes[:, side + 2], owner, values + 1)
    return ids.astype(np.int64), boxes, pixels


def crop_segments(
    image: np.ndarray, regions: np.ndarray, size: int, context: float = 0.0, mask_background: bool = False
) -> SegmentImage:
    """Crop every segment of an image and resize it to a square.

    Args:
        image: Uint8 (H, W, 3), RGB.
        regions: Int (H, W), segments.
        size: Side of the crops in pixels.
        context: Boxes grow by this fraction of their sides, half of it at each end.
        mask_background: Paint pixels that are not of the segment gray.
    """
    ids, boxes, pixels = segment_boxes(regions)
    crops = np.empty((len(ids), size, size, 3), np.uint8)
    full = Image.fromarray(image)
    for crop, number, box in zip(crops, ids, boxes):
        margin = context / 2 * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
        area = np.clip(box + margin, 0, np.tile(full.size, 2))
        source = full
        if mask_background:
            source = Image.fromarray(np.where((regions == number)[..., None], image, np.uint8(GRAY)))
        # one call crops and filters, so that shrinking does not alias
        crop[:] = np.asarray(source.resize((size, size), Image.Resampling.BICUBIC, box=tuple(area)))
    return SegmentImage(ids, boxes, pixels, crops.transpose(0, 3, 1, 2))


def full_image(image: np.ndarray, regions: np.ndarray, height: int) -> SegmentImage:
    """Resize an image and its segments for one pass of the network, to a height and a width that patches divide.

    Args:
        image: Uint8 (H, W, 3), RGB.
        regions: Int (H, W), segments.
        height: Rows of the network's input.
    """
    ids, boxes, pixels = segment_boxes(regions)
    width = max(32, round(image.shape[1] * height / image.shape[0] / 32) * 32)
    index = np.full(int(regions.max()) + 1, len(ids))
    index[ids] = np.arange(len(ids))
    inputs = resize_image(image, (height, width)).transpose(2, 0, 1)[None]
    return SegmentImage(ids, boxes, pixels, inputs, index[nearest_resize(regions, (height, width))])


def encode_images(
    encoder: SegmentEncoder, images: Iterable[SegmentImage], batch_size: int, failures: list[str]
) -> Iterator[tuple[SegmentImage, np.ndarray]]:
    """Encode the segments of one image after the other, in batches of crops that span images.

    Args:
        encoder: The network, on its device.
        images: Images to encode.
        batch_size: Crops per pass.
        failures: Gets a line for each full image (pool 'mask') that needs too much memory.

    Yields:
        Each image, and features float32 (S, C) of its segments.

    Raises:
        DataError: A batch of crops needs too much memory.
    """
    if encoder.pool == 'mask':
        yield from _encode_full(encoder, images, failures)
        return
    encode = partial(_encode_crops, encoder)
    waiting: deque[SegmentImage] = deque()  # images that are not yielded yet
    crops: list[np.ndarray] = []  # those of their crops that are not encoded yet
    features: list[np.ndarray] = []  # features of the others
    for image in images:
        waiting.append(image)
        crops.extend(image.inputs)
        while len(crops) >= batch_size:
            features.extend(encode(crops[:batch_size]))
            del crops[:batch_size]
        while waiting and len(waiting[0].ids) <= len(features):
            done = waiting.popleft()
            yield done, _take(features, len(done.ids))
    if crops:
        features.extend(encode(crops))
    for image in waiting:
        yield image, _take(features, len(image.ids))


def _encode_full(
    encoder: SegmentEncoder, images: Iterable[SegmentImage], failures: list[str]
) -> Iterator[tuple[SegmentImage, np.ndarray]]:
    for image in images:
        try:
            what = f'image {getattr(image.source, "path", "")}'
            with memory_errors(what, 'set a smaller pseudo_labels.image_height'):
                features = encoder.encode(image.inputs, image.regions, len(image.ids))
        except DataError as error:
            failures.append(str(error))
            continue
        yield image, features


def _encode_crops(encoder: SegmentEncoder, crops: list[np.ndarray]) -> np.ndarray:
    """Features float32 (S, C) of crops (3, h, w), whose memory does not depend on the images."""
    with memory_errors(f'a batch of {len(crops)} crops', 'set a smaller pseudo_labels.batch_size'):
        return encoder.encode(np.stack(crops))


def _take(features: list[np.ndarray], count: int) -> np.ndarray:
    taken = np.array(features[:count], np.float32)
    del features[:count]
    return taken

"""Superpixels by Segment Anything, and its loading for other generators."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import label as connected_pieces

from peridot.checkpoints import read_checkpoint, state_of
from peridot.errors import CheckpointError, ConfigError
from peridot.labels.generator import check_positive
from peridot.labels.networks import NetworkGenerator, device, fingerprint
from peridot.labels.superpixels import check_num_ids, merge_targets
from peridot.maps.folder import NO_SUPERPIXEL
from peridot.maps.images import nearest_resize, reduce_image
from peridot.optional import import_package
from peridot.registry import LABEL_GENERATORS
from peridot.weights import misfits

if TYPE_CHECKING:
    from segment_anything import SamAutomaticMaskGenerator
    from segment_anything.modeling import Sam

PUBLISHED_FILES = {
    'default': 'sam_vit_h_4b8939.pth',
    'vit_h': 'sam_vit_h_4b8939.pth',
    'vit_l': 'sam_vit_l_0b3195.pth',
    'vit_b': 'sam_vit_b_01ec64.pth',
}
DOWNLOADS = 'https://dl.fbaipublicfiles.com/segment_anything'
# the width of the image encoder tells the published networks apart
_WIDTH_OF = 'image_encoder.pos_embed'
_TYPES_BY_WIDTH = {768: 'vit_b', 1024: 'vit_l', 1280: 'vit_h'}


@LABEL_GENERATORS.register_module('sam')
class SamGenerator(NetworkGenerator):
    """Superpixels by Segment Anything: one region per mask of its automatic mask generator.

    `partition` explains how masks that overlap and leave gaps become a partition. Pixels without a region have the
    ignore value 65535. Options named as in `SamAutomaticMaskGenerator` mean the same and have its defaults.

    Args:
        checkpoint: File with the weights, e.g. sam_vit_h_4b8939.pth.
        model_type: Key of `segment_anything.sam_model_registry`: 'vit_h', 'vit_l', 'vit_b'.
        points_per_side: Points of the grid of prompts along one side of the image.
        points_per_batch: Prompts per forward pass; fewer need less memory. The maps do not depend on it.
        pred_iou_thresh: Smallest quality of a mask, as predicted by the network.
        stability_score_thresh: Smallest stability of a mask under other cut-offs.
        box_nms_thresh: Overlap of boxes (intersection over union) above which the worse mask is dropped.
        crop_n_layers: Number of layers of crops that are segmented in addition to the full image.
        min_area: Smallest piece of a region, in pixels of the (reduced) image.
        image_height: Height in pixels to which larger images are reduced first; None never reduces. Segment
            Anything itself resizes the longer side to 1024 pixels. The map is scaled back to full size by nearest
            neighbor.
        num_ids: Largest number of regions in an image.
    """

    kind = 'superpixels'
    ignore = NO_SUPERPIXEL

    def __init__(
        self,
        checkpoint: str,
        model_type: str = 'vit_h',
        points_per_side: int = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        min_area: int = 100,
        image_height: int | None = None,
        num_ids: int = 256,
    ) -> None:
        check_num_ids('sam', num_ids)
        check_positive(
            'sam', points_per_side=points_per_side, points_per_batch=points_per_batch, image_height=image_height
        )
        self.checkpoint = Path(checkpoint)
        self.model_type = model_type
        self.points_per_batch = points_per_batch
        self.options = {
            'points_per_side': points_per_side,
            'pred_iou_thresh': pred_iou_thresh,
            'stability_score_thresh': stability_score_thresh,
            'box_nms_thresh': box_nms_thresh,
            'crop_n_layers': crop_n_layers,
        }
        self.min_area = min_area
        self.image_height = image_height
        self.num_ids = int(num_ids)

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return {
            'model_type': self.model_type,
            'checkpoint': fingerprint(self.checkpoint),
            **self.options,
            'min_area': self.min_area,
            'image_height': self.image_height,
        }

    def load(self) -> 'SamAutomaticMaskGenerator':
        """The mask generator around the network."""
        model = load_sam(self.model_type, self.checkpoint, 'sam')
        from segment_anything import SamAutomaticMaskGenerator

        return SamAutomaticMaskGenerator(model, points_per_batch=self.points_per_batch, **self.options)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Ids uint16 (H, W) below `num_ids` of an RGB image uint8 (H, W, 3); 65535 where there is no region."""
        reduced = reduce_image(image, self.image_height)
        masks = [mask['segmentation'] for mask in self.network.generate(reduced)]
        return nearest_resize(partition(masks, reduced.shape[:2], self.num_ids, self.min_area), image.shape[:2])


def partition(masks: Sequence[np.ndarray], size: tuple[int, int], num_ids: int, min_area: int = 0) -> np.ndarray:
    """Cut an image into regions given masks that may overlap and leave gaps.

    1. Masks are sorted by area, largest first (equal ones stay in their order), and painted in this order: a pixel
       under several masks belongs to the smallest of them.
    2. What can be seen of a mask, and the uncovered rest, fall into pieces (pixels connected along edges, not
       corners). While the smallest piece has fewer than `min_area` pixels, it joins the piece it shares the
       longest border with, and becomes part of it: of that one's mask, or of the rest. Of equals, the piece that
       comes first row by row counts as smaller, and is the one that is joined.
    3. The `num_ids` masks with the most pixels keep them (of equals the one painted first) and are numbered in
       this order. All other pixels are ignored.

    Args:
        masks: Bool (H, W) each.
        size: (H, W), used when there is no mask.
        num_ids: Largest number of regions.
        min_area: Smallest piece, in pixels.

    Returns:
        Uint16 (H, W), ids in [0, num_ids) without gaps; 65535 at pixels without a region.
    """
    areas = [np.count_nonzero(mask) for mask in masks]
    painted = np.zeros(size, np.int64)
    for number, index in enumerate(_by_area(areas), 1):
        painted[masks[index]] = number
    pieces = connected_pieces(painted, background=-1, connectivity=1) - 1
    owners = np.zeros(pieces.max() + 1, np.int64)
    owners[pieces] = painted
    painted = owners[merge_targets(pieces, min_area=min_area)][pieces]
    seen = np.bincount(painted.ravel(), minlength=len(masks) + 1)[1:]
    ids = np.full(len(masks) + 1, NO_SUPERPIXEL, np.uint16)
    kept = [index for index in _by_area(seen)[:num_ids] if seen[index]]
    ids[1:][kept] = np.arange(len(kept))
    return ids[painted]


def load_sam(model_type: str, checkpoint: Path, generator: str) -> 'Sam':
    """Segment Anything with its weights, on the GPU if there is one.

    Args:
        model_type: Key of `segment_anything.sam_model_registry`.
        checkpoint: File with the weights.
        generator: Name of the generator, for errors.

    Raises:
        CheckpointError: The file is absent, damaged or made for another model type.
        ConfigError: The package is not installed or does not know the model type.
    """
    registry = import_package('segment_anything', generator).sam_model_registry
    if model_type not in registry:
        raise ConfigError(f'{generator}: model_type={model_type!r} is unknown: choose from {", ".join(registry)}')
    file = PUBLISHED_FILES.get(model_type)
    origin = f'download {DOWNLOADS}/{file}' if file else f'give checkpoint=FILE with weights of {model_type!r}'
    content = read_checkpoint(checkpoint, 'Segment Anything checkpoint', origin)
    model = registry[model_type](checkpoint=None)
    state = state_of(content, model.state_dict())
    if wrong := misfits(model, state):
        raise CheckpointError(_misfit(model_type, checkpoint, state, wrong))
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model.to(device()).eval()


def _misfit(model_type: str, checkpoint: Path, state: dict, wrong: list[str]) -> str:
    """The error that weights are of another model type: which one, and what to set."""
    width = getattr(state.get(_WIDTH_OF), 'shape', (0,))[-1]
    fitting = _TYPES_BY_WIDTH.get(width)
    start = f'Segment Anything checkpoint {checkpoint} does not fit model_type={model_type!r}'
    if fitting not in (None, model_type):
        file = PUBLISHED_FILES.get(model_type)
        return f'{start}, it is a {fitting!r}: set model_type={fitting}' + (f' or use {file}' if file else '')
    return f'{start} ({len(wrong)} tensors differ, first {wrong[0]!r}): use a file made for that model type'


def _by_area(areas: Sequence[int]) -> np.ndarray:
    """Indices in the order of areas, largest first; equal ones stay in their order."""
    return np.argsort(-np.asarray(areas, dtype=np.int64), kind='stable')

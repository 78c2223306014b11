"""Weak labels from class names: boxes by Grounding DINO, masks in them by Segment Anything."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from peridot.errors import CheckpointError, ConfigError
from peridot.labels.generator import check_classes
from peridot.labels.networks import NetworkGenerator, device, fingerprint
from peridot.labels.sam import load_sam
from peridot.maps.folder import UNLABELED
from peridot.optional import import_package
from peridot.registry import LABEL_GENERATORS

if TYPE_CHECKING:
    from segment_anything import SamPredictor
    from transformers import BatchEncoding, GroundingDinoForObjectDetection, GroundingDinoProcessor

# the names that OLIVINE's first labels were made with
CLASSES = (
    'barrier',
    'bicycle',
    'bus',
    'car',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'truck',
    'road',
    'sidewalk',
    'terrain',
    'vegetation',
    'building',
)
# number of boxes for which masks are made at a time: each takes about 12 MB at 1600 x 900 pixels
BOXES_AT_A_TIME = 32


class _Networks(NamedTuple):
    """The networks of one process, and the class names as the detector reads them."""

    processor: 'GroundingDinoProcessor'
    detector: 'GroundingDinoForObjectDetection'
    predictor: 'SamPredictor'
    text: 'BatchEncoding'
    spans: Tensor


@LABEL_GENERATORS.register_module('grounded-sam')
class GroundedSamGenerator(NetworkGenerator):
    """Weak labels from class names: Grounding DINO finds boxes, Segment Anything a mask in each, masks are painted.

    1. The text is the class names in lower case, with spaces for underscores, joined by ' . '.
    2. A box is kept if its score, the largest probability of any word piece of the names, exceeds `box_threshold`.
    3. Its class is the one whose name has the largest mean probability over its word pieces (the first of equals),
       where probabilities not above `text_threshold` count as zero; a box without any is dropped.
    4. Masks are painted in the order of the scores, lowest first, so that the most certain wins (of equals the
       later box). Pixels under no mask get 255.

    Args:
        checkpoint: File with the weights of Segment Anything, e.g. sam_vit_h_4b8939.pth.
        model_type: Key of `segment_anything.sam_model_registry`: 'vit_h', 'vit_l', 'vit_b'.
        classes: Names to look for, in the order of their values; by default the 13 of OLIVINE's first labels.
        detector: Grounding DINO for transformers: a folder or the name of a model on the Hugging Face hub.
        box_threshold: Smallest score of a box.
        text_threshold: Smallest probability of a word piece that counts for the class.
    """

    kind = 'labels'
    ignore = UNLABELED

    def __init__(
        self,
        checkpoint: str,
        model_type: str = 'vit_h',
        classes: Sequence[str] | str = CLASSES,
        detector: str = 'IDEA-Research/grounding-dino-tiny',
        box_threshold: float = 0.25,
        text_threshold: float = 0.25,
    ) -> None:
        self.classes = check_classes('grounded-sam', classes)
        if (wrong := next((name for name in self.classes if '.' in name), None)) is not None:
            raise ConfigError(f'grounded-sam: the class name {wrong!r} holds a dot, which ends a name in the text')
        self.checkpoint = Path(checkpoint)
        self.model_type = model_type
        self.detector = detector
        self.box_threshold = float(box_threshold)
        self.text_threshold = float(text_threshold)

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return {
            'detector': self.detector,
            'box_threshold': self.box_threshold,
            'text_threshold': self.text_threshold,
            'model_type': self.model_type,
            'checkpoint': fingerprint(self.checkpoint),
        }

    def load(self) -> _Networks:
        """Both networks and the encoded class names."""
        processor, detector = load_detector(self.detector)
        text, spans = encode_names(processor.tokenizer, self.classes)
        if (length := text['input_ids'].shape[1]) > detector.config.max_text_len:
            raise ConfigError(
                f'grounded-sam: the {len(self.classes)} class names make {length} word pieces, the detector reads '
                f'{detector.config.max_text_len}: give fewer or shorter --options classes=NAME,NAME,...'
            )
        model = load_sam(self.model_type, self.checkpoint, 'grounded-sam')
        from segment_anything import SamPredictor

        return _Networks(processor, detector, SamPredictor(model), text.to(device()), spans.to(device()))

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Classes uint8 (H, W) of an RGB image uint8 (H, W, 3); 255 where there is no mask."""
        size, predictor = image.shape[:2], self.network.predictor
        boxes, classes = self._detect(image)
        labels = torch.full(size, self.ignore, dtype=torch.uint8, device=boxes.device)
        if not len(boxes):
            return labels.cpu().numpy()
        predictor.set_image(image)
        for chunk, values in zip(boxes.split(BOXES_AT_A_TIME), classes.split(BOXES_AT_A_TIME)):
            prompts = predictor.transform.apply_boxes_torch(chunk, size)
            masks, _, _ = predictor.predict_torch(None, None, boxes=prompts, multimask_output=False)
            for mask, value in zip(masks[:, 0], values):
                labels[mask] = value.to(torch.uint8)
        return labels.cpu().numpy()

    def _detect(self, image: np.ndarray) -> tuple[Tensor, Tensor]:
        """Boxes float (N, 4), x and y of two corners in pixels, and classes int64 (N,), in the order of painting."""
        processor, detector, _, text, spans = self.network
        pixels = processor.image_processor(image, return_tensors='pt').to(device())
        output = detector(**pixels, **text)
        from transformers.image_transforms import center_to_corners_format

        height, width = image.shape[:2]
        boxes = center_to_corners_format(output.pred_boxes[0]) * spans.new_tensor([width, height, width, height])
        probabilities = output.logits[0, :, : spans.shape[1]].sigmoid()
        order, classes = choose_boxes(probabilities, spans, self.box_threshold, self.text_threshold)
        return boxes[order], classes


def choose_boxes(
    probabilities: Tensor, spans: Tensor, box_threshold: float, text_threshold: float
) -> tuple[Tensor, Tensor]:
    """Choose the boxes to paint and their classes, by the rule of `GroundedSamGenerator`.

    Args:
        probabilities: Float (Q, T), probability of each word piece for each box.
        spans: Float (K, T), 1 where a word piece belongs to the name of a class, else 0.
        box_threshold: Smallest score of a box.
        text_threshold: Smallest probability that counts for the class.

    Returns:
        Indices of boxes, lowest score first, and their classes, int64 (N,) each.
    """
    scores = (probabilities * spans.amax(0)).amax(1)
    counting = probabilities * (probabilities > text_threshold)
    best, classes = (counting @ (spans / spans.sum(1, keepdim=True)).T).max(1)
    order = scores.argsort(stable=True)
    order = order[((scores > box_threshold) & (best > 0))[order]]
    return order, classes[order]


def encode_names(tokenizer, classes: Sequence[str]) -> tuple['BatchEncoding', Tensor]:
    """Encode class names as word pieces.

    Args:
        tokenizer: Fast tokenizer of the detector.
        classes: Class names.

    Returns:
        Encoded text (a batch of one), and float32 (K, T), 1 where a word piece belongs to the name of a class.

    Raises:
        ConfigError: The tokenizer finds no word piece in a name.
    """
    names = [name.replace('_', ' ').strip().lower() for name in classes]
    text = tokenizer(' . '.join(names) + ' .', return_tensors='pt', return_offsets_mapping=True)
    offsets = text.pop('offset_mapping')[0]
    starts = torch.tensor([0, *(len(name) + 3 for name in names)]).cumsum(0)
    ends = starts[:-1] + torch.tensor([len(name) for name in names])
    inside = (offsets[:, 0] >= starts[:-1, None]) & (offsets[:, 1] <= ends[:, None])
    spans = (inside & (offsets[:, 0] < offsets[:, 1])).float()
    if (empty := (spans.sum(1) == 0).nonzero()).numel():
        raise ConfigError(f'grounded-sam: the detector cannot read the class name {classes[empty[0, 0]]!r}: rename it')
    return text, spans


def load_detector(name: str) -> tuple['GroundingDinoProcessor', 'GroundingDinoForObjectDetection']:
    """Grounding DINO and its processor, on the GPU if there is one.

    Args:
        name: Folder, or name of a model on the Hugging Face hub.

    Raises:
        CheckpointError: It cannot be found or read, or is another network.
        ConfigError: transformers is not installed.
    """
    transformers = import_package('transformers', 'grounded-sam')
    hint = 'give --options detector=DIR with all files of IDEA-Research/grounding-dino-tiny from huggingface.co'
    with _one_line(f'grounded-sam: detector {name} cannot be loaded', hint):
        config = transformers.AutoConfig.from_pretrained(name)
        if config.model_type != 'grounding-dino':
            raise CheckpointError(f'grounded-sam: detector {name} is of type {config.model_type!r}: {hint}')
        processor = transformers.GroundingDinoProcessor.from_pretrained(name)
        detector, report = transformers.GroundingDinoForObjectDetection.from_pretrained(
            name, config=config, output_loading_info=True
        )
    if absent := sorted(report['missing_keys']):
        raise CheckpointError(f'grounded-sam: detector {name} lacks {len(absent)} tensors, first {absent[0]!r}: {hint}')
    return processor, detector.to(device()).eval()


@contextmanager
def _one_line(start: str, hint: str) -> Iterator[None]:
    """Turn the multi-line errors of transformers into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f'{start} ({reason}): {hint}') from None

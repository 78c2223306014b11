"""Spaces in which a network's features are compared: those of its points alone, or with those of pixels."""

from dataclasses import dataclass

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from peridot.errors import ConfigError
from peridot.models.heads import CLASS_TOKEN, Head
from peridot.visualization.scenes import point_features


@dataclass(frozen=True)
class Space:
    """Features of one kind.

    Attributes:
        title: Name for readers.
        points: Float (N, C).
        pixels: Float (V, C, h, w), features of whole images, which may be compared with those of points; None without.
        align_corners: How they lie over the images, see `peridot.models.functional.read_at`.
    """

    title: str
    points: Tensor
    pixels: Tensor | None = None
    align_corners: bool = True


def joint_heads(model: nn.Module) -> list[str]:
    """Names of the heads that map points and pixels into one space; none for other models than a `Pretrainer`."""
    if getattr(model, 'teacher', None) is None:
        return []
    return [
        name
        for name, head in model.heads.items()
        if type(head).project_teacher_map is not Head.project_teacher_map and head.teacher_layer != CLASS_TOKEN
    ]


@torch.no_grad()
def feature_spaces(model: nn.Module, sample: dict, head: str | None = None) -> list[Space]:
    """The features of one packed sample: the network's own and, in pre-training with a teacher, those of a head.

    Args:
        model: See `point_features`.
        sample: As its pipeline packs it: whole images, not cropped.
        head: The head, by default the first that maps points and pixels into one space.

    Raises:
        ConfigError: There is no such head, or the model is another network.
    """
    own = Space('student' if hasattr(model, 'embed_points') else 'network', point_features(model, sample))
    known = joint_heads(model)
    if head is not None and head not in known:
        raise ConfigError(
            f'no head {head!r} compares points with pixels here: --head can be {" or ".join(known) or "left out"}'
        )
    inputs = sample['inputs']
    if not known or not ('images' in inputs or 'teacher_maps' in inputs):
        return [own]
    name = head or known[0]
    data = model.data_preprocessor(pseudo_collate([sample]), False)
    batch = model.encode(data['inputs'], data['data_samples'])
    pixels = batch.project_teacher_map(name)
    points = batch.embed_points(name, torch.arange(len(batch.points), device=batch.device))
    joint = Space(f'head {name}, with pixels', points.float().cpu(), pixels.float().cpu(), batch.align_corners)
    return [joint, own]

"""CLIP's image network with a text-aligned feature for every patch."""

import json
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from peridot.errors import CheckpointError, ConfigError
from peridot.models.teachers.timm_teacher import TimmTeacher, set_activation
from peridot.models.teachers.weights import load_checked, read_weights
from peridot.registry import MODELS
from peridot.teacher_files import TRANSFORMERS_FILES

# transformers' names of CLIP's image network -> timm's
TRANSFORMERS_NAMES = (
    ('vision_model.encoder.layers.', 'blocks.'),
    ('vision_model.embeddings.class_embedding', 'cls_token'),
    ('vision_model.embeddings.patch_embedding.', 'patch_embed.proj.'),
    ('vision_model.embeddings.position_embedding.weight', 'pos_embed'),
    ('vision_model.pre_layrnorm.', 'norm_pre.'),
    ('vision_model.post_layernorm.', 'norm.'),
    ('visual_projection.', 'head.'),
    ('.layer_norm', '.norm'),
    ('.self_attn.out_proj.', '.attn.proj.'),
)


class ValueAttention(nn.Module):
    """Attention in which every token reads its own value: output projection of the value projection.

    Args:
        attention: The timm layer whose weights it takes, under the same names.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj

    def forward(self, tokens: Tensor, **masks) -> Tensor:
        """(B, N, C) to (B, N, C); attention masks have no effect."""
        weight, bias = self.qkv.weight.chunk(3)[2], self.qkv.bias.chunk(3)[2]
        return self.proj(F.linear(tokens, weight, bias))


@MODELS.register_module()
class MaskClipTeacher(TimmTeacher):
    """A frozen CLIP image network that gives patch features in CLIP's joint space of images and texts.

    As in "Extract Free Dense Labels from CLIP" (MaskCLIP, ECCV 2022): in the last block every patch reads its own
    value instead of attending to others; residual, MLP, final normalization and visual projection stay. A text
    embedding of the same CLIP and a feature are compared by their cosine. The activation is always the one that the
    weights were trained with, also under timm's names that have another.

    Args:
        model: timm's name of a CLIP vision transformer with the tag of its image-text training, e.g.
            'vit_base_patch16_clip_quickgelu_224.openai' or 'vit_base_patch16_clip_224.laion2b'. It also gives the
            normalization of images.
        weights: As for `TimmTeacher`, files of OpenCLIP included, or a folder that `transformers` saved a CLIP in
            (the folder that `tools/embed_text.py` takes).
        align_corners: How the map lies over the image, see `peridot.models.functional.read_at`.
        dtype: As for `TimmTeacher`.
        compile: As for `TimmTeacher`.

    Attributes:
        out_channels: Dimension of the joint space: 512 for ViT-B, 768 for ViT-L.
        stride: Pixels a patch.

    Raises:
        ConfigError: The model is no CLIP, or images do not divide into its patches.
        CheckpointError: Weights are absent, unreadable or of another network.
    """

    def __init__(
        self,
        model: str,
        *,
        weights: str | None,
        align_corners: bool = True,
        dtype: str | None = None,
        compile: bool | str = False,
    ) -> None:
        self.joint_channels = _joint_channels(model)
        super().__init__(model, weights=weights, align_corners=align_corners, dtype=dtype, compile=compile)
        self.out_channels = self.joint_channels

    def _features(self, images: Tensor) -> Tensor:
        """Features (M, out_channels, h, w) of normalized images in channels-last memory, not normalized themselves."""
        patches = super()._features(images).permute(0, 2, 3, 1)
        return self.network.head(patches).permute(0, 3, 1, 2)

    def _load(self, model: str, weights: str | None) -> None:
        network = self.network
        network.head = nn.Linear(self.out_channels, self.joint_channels, bias=False)
        if 'QuickGELU' in str(timm.get_pretrained_cfg(model).notes):
            set_activation(network, 'quick_gelu')
        if weights is not None and Path(weights).is_dir():
            self._load_folder(model, Path(weights))
        else:
            super()._load(model, weights)
        if weights == 'timm':
            # the network was made without classifier, which is where timm keeps the projection
            network.head.load_state_dict({'weight': timm.create_model(model, pretrained=True).head.weight})
        network.blocks[-1].attn = ValueAttention(network.blocks[-1].attn)

    def _load_folder(self, model: str, folder: Path) -> None:
        path = next((folder / name for name in TRANSFORMERS_FILES if (folder / name).is_file()), None)
        if path is None or not (folder / 'config.json').is_file():
            raise CheckpointError(
                f'teacher weights {folder}: no CLIP of transformers (config.json and '
                f'{" or ".join(TRANSFORMERS_FILES)}): get all files of e.g. openai/clip-vit-base-patch16 from the '
                'Hugging Face hub, or set model.teacher.weights to a file'
            )
        config = json.loads((folder / 'config.json').read_text())
        vision = config.get('vision_config', config)
        set_activation(self.network, vision.get('hidden_act', 'quick_gelu'))
        count = load_checked(self.network, from_transformers(read_weights(path)), str(path), model)
        print_log(f'teacher {model}: {count} tensors from {path}', logger='current')


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's image network in timm's names.

    Args:
        state: Tensors of transformers' `CLIPModel` or `CLIPVisionModelWithProjection`.
    """
    renamed = {}
    for name, value in state.items():
        for theirs, ours in TRANSFORMERS_NAMES:
            name = name.replace(theirs, ours)
        renamed[name] = value
    for name in [name for name in renamed if '.self_attn.q_proj.' in name]:
        parts = [renamed.pop(name.replace('.q_proj.', f'.{part}_proj.'), renamed.get(name)) for part in 'qkv']
        renamed[name.replace('.self_attn.q_proj.', '.attn.qkv.')] = torch.cat(parts)
    for name, leading in (('cls_token', 2), ('pos_embed', 1)):
        if name in renamed:
            renamed[name] = renamed[name][(None,) * leading]
    return renamed


def _joint_channels(model: str) -> int:
    """Dimension of the joint space; timm writes it down as the number of classes of an image-text training."""
    is_clip = timm.is_model(model) and model.startswith('vit_') and '_clip_' in model
    if not is_clip or '.' not in model or '_ft_' in model:
        raise ConfigError(
            f'model.teacher.model={model!r} is no CLIP vision transformer of timm with the tag of its image-text '
            "training: set for example 'vit_base_patch16_clip_quickgelu_224.openai' or "
            "'vit_base_patch16_clip_224.laion2b' (timm.list_models('vit_*_clip_*', pretrained=True) names all)"
        )
    return timm.get_pretrained_cfg(model).num_classes

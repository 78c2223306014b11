"""Vision transformers under mmsegmentation's names: DINO's as released, and Segmenter as Drive&Segment released it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmengine.registry import DefaultScope
from torch import Tensor, nn

from peridot.errors import CheckpointError
from peridot.models.teachers.weights import PREFIXES, read_weights
from peridot.optional import import_package
from peridot.teacher_files import find_weights
from peridot.weights.conversion import Conversion

if TYPE_CHECKING:
    from mmseg.models.backbones import VisionTransformer

# renaming of a block's tensors from timm's names to mmsegmentation's
BLOCK = (
    (r'\bblocks\.', 'layers.'),
    (r'\.norm(\d)\.', r'.ln\1.'),
    (r'\.attn\.qkv\.', '.attn.attn.in_proj_'),
    (r'\.attn\.proj\.', '.attn.attn.out_proj.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
)
ENCODER = ((r'^patch_embed\.proj\.', 'patch_embed.projection.'), (r'^norm\.', 'ln1.'), *BLOCK)
DECODER = (
    (r'^proj_dec\.', 'dec_proj.'),
    # matrices that tokens are multiplied by from the right
    (r'^proj_patch$', 'patch_proj.weight'),
    (r'^proj_classes$', 'classes_proj.weight'),
    *BLOCK,
)


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


def load_dino(backbone: VisionTransformer, weights: str) -> None:
    """Load a file of DINO into mmsegmentation's `VisionTransformer`; position embeddings are resized (bicubic).

    Args:
        backbone: The network.
        weights: File as DINO released it (backbone alone, or a full training checkpoint).

    Raises:
        CheckpointError: The file is absent or damaged, or file and network do not have the same tensors with the
            same shapes.
    """
    path = find_weights(weights)
    state = read_weights(path)
    prefix = next((prefix for prefix in PREFIXES if f'{prefix}patch_embed.proj.weight' in state), '')
    found = {
        _renamed(name.removeprefix(prefix), ENCODER): value for name, value in state.items() if name.startswith(prefix)
    }
    wanted = backbone.state_dict()
    if 'pos_embed' in found and found['pos_embed'].shape[-1] == wanted['pos_embed'].shape[-1]:
        found['pos_embed'] = _on_grid(backbone, found['pos_embed'])
    fitting = [name for name in wanted if name in found and found[name].shape == wanted[name].shape]
    other = [name for name in {**wanted, **found} if name not in fitting and not name.startswith('head.')]
    if other:
        raise CheckpointError(
            f'{path}: {len(fitting)} of {len(wanted)} tensors fit the image network (first other {other[0]!r}): set '
            'model.backbone.weights to a file of DINO for this network (dino_deitsmall16_pretrain.pth for ViT-S/16)'
        )
    backbone.load_state_dict({name: found[name] for name in wanted})


def _on_grid(backbone: VisionTransformer, positions: Tensor) -> Tensor:
    """Resize position embeddings (1, 1 + h w, C) of a square grid to the grid of the network."""
    side = round((positions.shape[1] - 1) ** 0.5)
    grid = tuple(pixels // backbone.patch_size for pixels in backbone.img_size)
    if side**2 + 1 != positions.shape[1] or (side, side) == grid:
        return positions
    return backbone.resize_pos_embed(positions, grid, (side, side), backbone.interpolate_mode)


def released_segmenter(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """Drive&Segment's released Segmenter (encoder of DINO, decoder with class tokens) under mmsegmentation's names.

    Raises:
        CheckpointError: It has another shape.
        ConfigError: mmsegmentation is not installed.
    """
    found = {}
    for name, value in state.items():
        part, _, rest = name.partition('.')
        if part == 'encoder' and not rest.startswith('head.'):
            found[f'backbone.{_renamed(rest, ENCODER)}'] = value
        elif part == 'decoder':
            transposed = rest in ('proj_patch', 'proj_classes')
            found[f'decode_head.{_renamed(rest, DECODER)}'] = value.T.contiguous() if transposed else value
    return Conversion(found, _segmenter(found), settings={})


def _segmenter(found: Mapping[str, Tensor]) -> nn.Module:
    """mmsegmentation's Segmenter with the shapes of the given tensors."""
    models = import_package('mmseg.models', 'Segmenter')
    try:
        channels = found['backbone.cls_token'].shape[-1]
        patch = found['backbone.patch_embed.projection.weight'].shape[-1]
        side = round((found['backbone.pos_embed'].shape[1] - 1) ** 0.5) * patch
        classes = found['decode_head.cls_emb'].shape[1]
    except (KeyError, IndexError) as error:
        raise CheckpointError(f'it looks like a Segmenter of another shape: it has no {error.args[0]}') from None
    # the number of heads is not in the file and does not change shapes
    common = dict(embed_dims=channels, num_heads=1)
    network = nn.Module()
    network.backbone = models.VisionTransformer(
        img_size=side,
        patch_size=patch,
        patch_bias=True,
        num_layers=_blocks(found, 'backbone'),
        final_norm=True,
        **common,
    )
    # the head builds its loss from the registry of its own package
    with DefaultScope.overwrite_default_scope('mmseg'):
        network.decode_head = models.decode_heads.SegmenterMaskTransformerHead(
            in_channels=channels,
            channels=channels,
            num_classes=classes,
            num_layers=_blocks(found, 'decode_head'),
            dropout_ratio=0.0,
            **common,
        )
    return network


def _blocks(found: Mapping[str, Tensor], part: str) -> int:
    return len({name.split('.')[2] for name in found if name.startswith(f'{part}.layers.')})

"""Weights of image networks: fitting their names to timm's."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from peridot.checkpoints import read_checkpoint, state_of
from peridot.errors import CheckpointError
from peridot.teacher_files import EFFICIENTNET_PACKAGE

# prefixes of the networks inside published files, tried in this order
PREFIXES = (
    '',
    'encoder_q.',  # MoCo v1 and v2
    'base_encoder.',  # MoCo v3
    'backbone.',  # DINO, full training checkpoint
    'encoder.',
)

# names in `transformers`' Dinov2Model and in the DINOv2 release, which are timm's but for a few
DINOV2 = (
    (r'^dinov2(_with_registers)?\.', ''),
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.', ''),  # cls_token, mask_token, register_tokens
    (r'^encoder\.layer\.', 'blocks.'),
    (r'\.attention\.attention\.query\.', '.attn.qkv.'),
    (r'\.attention\.output\.dense\.', '.attn.proj.'),
    (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
    (r'\.mlp\.weights_in\.', '.mlp.w12.'),
    (r'\.mlp\.weights_out\.', '.mlp.w3.'),
    (r'^layernorm\.', 'norm.'),
)
# the same for DINOv3ViTModel and the DINOv3 release; gated layers have a `gate_proj`
DINOV3 = (
    (r'^dinov3_vit\.', ''),
    (r'^embeddings\.patch_embeddings\.', 'patch_embed.proj.'),
    (r'^embeddings\.register_tokens$', 'storage_tokens'),
    (r'^embeddings\.', ''),  # cls_token, mask_token
    (r'^(model\.)?layer\.', 'blocks.'),
    (r'\.attention\.q_proj\.', '.attn.qkv.'),
    (r'\.attention\.o_proj\.', '.attn.proj.'),
    (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
)
DINOV3_MLP = ((r'\.mlp\.up_proj\.', '.mlp.fc1.'), (r'\.mlp\.down_proj\.', '.mlp.fc2.'))
DINOV3_GATED = (
    (r'\.mlp\.gate_proj\.', '.mlp.w1.'),
    (r'\.mlp\.up_proj\.', '.mlp.w2.'),
    (r'\.mlp\.down_proj\.', '.mlp.w3.'),
)
# the same for ConvNeXt, in its release's names and in those of DINOv3ConvNextModel
CONVNEXT = (
    (r'^dinov3_convnext\.', ''),
    (r'^(downsample_layers\.0|stages\.0\.downsample_layers)\.', 'stem.'),
    (r'^downsample_layers\.(\d+)\.', r'stages.\1.downsample.'),
    (r'\.downsample_layers\.', '.downsample.'),
    (r'^stages\.(\d+)\.(layers\.)?(\d+)\.', r'stages.\1.blocks.\3.'),
    (r'\.(dwconv|depthwise_conv)\.', '.conv_dw.'),
    (r'\.(pwconv|pointwise_conv)([12])\.', r'.mlp.fc\2.'),
    (r'\.layer_norm\.', '.norm.'),
    (r'^(layer_)?norm\.', 'head.norm.'),
)
# the same for SiglipVisionModel
SIGLIP_START = 'vision_model.'
SIGLIP = (
    (rf'^{SIGLIP_START}', ''),
    (r'^embeddings\.patch_embedding\.', 'patch_embed.proj.'),
    (r'^embeddings\.position_embedding\.weight$', 'pos_embed'),
    (r'^encoder\.layers\.', 'blocks.'),
    (r'^post_layernorm\.', 'norm.'),
    (r'^head\.probe$', 'attn_pool.latent'),
    (r'^head\.attention\.out_proj\.', 'attn_pool.proj.'),
    (r'^head\.layernorm\.', 'attn_pool.norm.'),
    (r'^head\.mlp\.', 'attn_pool.mlp.'),
    (r'\.layer_norm([12])\.', r'.norm\1.'),
    (r'\.self_attn\.q_proj\.', '.attn.qkv.'),
    (r'\.self_attn\.out_proj\.', '.attn.proj.'),
)
# a convolution in timm's transformers
PATCHES = 'patch_embed.proj.weight'


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a file by name, see `read_checkpoint`."""
    return state_of(read_checkpoint(path, 'teacher file'))


def fit_names(state: dict[str, Tensor], network: nn.Module, architecture: str, weights: str) -> dict[str, Tensor]:
    """Rename published tensors to timm's names.

    Args:
        state: Tensors as read.
        network: The timm network.
        architecture: Name of the network in timm.
        weights: Where the tensors come from, see `find_weights`.

    Raises:
        CheckpointError: The tensors are of a network with other patches, positions or biases.
    """
    if weights == EFFICIENTNET_PACKAGE:
        return _by_order(state, architecture)
    state = _published(state, architecture, weights)
    own = network.state_dict()
    prefix = max(PREFIXES, key=lambda p: sum(p + name in state for name in own))
    state = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    _check_patches(state, own, architecture, weights)
    state = _without_zero_biases(state, own, architecture, weights)
    module = sys.modules[timm.model_entrypoint(architecture).__module__]
    if hasattr(network, 'pos_embed') and hasattr(module, 'checkpoint_filter_fn'):
        # timm knows how the published transformers differ from its own
        try:
            state = module.checkpoint_filter_fn(state, network)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split('\n')[0]
            raise CheckpointError(
                f'teacher weights {weights} do not fit timm model {architecture!r} ({type(error).__name__}: {reason}): '
                'set model.teacher.weights to a file made for this network, or model.teacher.model to its network'
            ) from error
    return state


def load_checked(network: nn.Module, state: dict[str, Tensor], source: str, architecture: str) -> int:
    """Load tensors by name; every tensor of the network must be there in its shape, others are left out.

    Returns:
        Number of tensors loaded.

    Raises:
        CheckpointError: Some are absent or of another shape.
    """
    # files from before 2018 have no batch counters, and frozen batch normalization does not use them
    own = {k: v for k, v in network.state_dict().items() if not k.endswith('num_batches_tracked')}
    absent = [name for name in own if name not in state]
    other = [name for name in own if name in state and state[name].shape != own[name].shape]
    if absent or other:
        fitting = len(own) - len(absent) - len(other)
        raise CheckpointError(
            f'teacher weights {source}: {fitting} of {len(own)} tensors fit timm model {architecture!r} '
            f'({len(absent)} absent, {len(other)} of another shape, first {(absent + other)[0]!r}): set '
            'model.teacher.weights to a file made for this network, or model.teacher.model to its network'
        )
    network.load_state_dict({name: state[name] for name in own}, strict=False)
    return len(own)


def _published(state: dict[str, Tensor], architecture: str, weights: str) -> dict[str, Tensor]:
    """Networks of `transformers` and ConvNeXt's release under names that timm takes; others stay as they are."""
    if any('.attention.attention.query.' in name for name in state):
        # its presence tells timm that the names are those of the release
        return {'mask_token': torch.zeros(1), **_release_names(state, DINOV2, ('.query.', '.key.', '.value.'))}
    if any('.attention.q_proj.' in name for name in state):
        queries = [name for name in state if name.endswith('.attention.q_proj.bias')]
        # keys have no bias, which is a zero in the release
        state = {**{name.replace('.q_', '.k_'): torch.zeros_like(state[name]) for name in queries}, **state}
        gated = any('.mlp.gate_proj.' in name for name in state)
        patterns = DINOV3 + (DINOV3_GATED if gated else DINOV3_MLP)
        return _release_names(state, patterns, ('.q_proj.', '.k_proj.', '.v_proj.'))
    if architecture.startswith('convnext'):
        return _release_names(state, CONVNEXT)
    embeddings = f'{SIGLIP_START}embeddings.'
    # CLIP has the same names and a class token
    if f'{embeddings}patch_embedding.weight' in state and f'{embeddings}class_embedding' not in state:
        return _siglip(state, weights)
    return state


def _siglip(state: dict[str, Tensor], weights: str) -> dict[str, Tensor]:
    """SigLIP's image network of `transformers` under timm's names, its pooling head too; texts are left out.

    Raises:
        CheckpointError: It is a network for images of any aspect, which timm would take for another one.
    """
    state = {name: value for name, value in state.items() if name.startswith(SIGLIP_START)}
    renamed = _release_names(state, SIGLIP, ('.q_proj.', '.k_proj.', '.v_proj.'))
    if renamed[PATCHES].ndim == 2:
        raise CheckpointError(
            f"teacher weights {weights}: SigLIP 2's naflex files are of another network, whose patches are rows of a "
            'matrix: get a file for one image size, e.g. model.safetensors of google/siglip2-base-patch16-224'
        )
    if 'pos_embed' in renamed:
        renamed['pos_embed'] = renamed['pos_embed'][None]
    for kind in ('weight', 'bias'):
        joint = state.get(f'{SIGLIP_START}head.attention.in_proj_{kind}')
        if joint is not None:
            query, *others = joint.chunk(3)
            renamed[f'attn_pool.q.{kind}'], renamed[f'attn_pool.kv.{kind}'] = query, torch.cat(others)
    return renamed


def _release_names(
    state: dict[str, Tensor], patterns: Sequence[tuple[str, str]], parts: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Tensors under other names, query, key and value (`parts` of a name) as one."""
    renamed = {}
    for name, value in state.items():
        if parts and parts[0] in name:
            names = [name.replace(parts[0], part) for part in parts]
            value = torch.cat([state[part] for part in names if part in state])
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def _check_patches(state: Mapping[str, Tensor], own: Mapping[str, Tensor], architecture: str, weights: str) -> None:
    """Compare patches and positions with those of the network: timm would resample the tensors of another one.

    Raises:
        CheckpointError: Patches have another size. Positions on another grid are a warning.
    """
    shapes = [tensors[PATCHES].shape for tensors in (state, own) if PATCHES in tensors]
    if [len(shape) for shape in shapes] == [4, 4]:
        found, wanted = ('x'.join(map(str, shape[2:])) for shape in shapes)
        if found != wanted:
            raise CheckpointError(
                f'teacher weights {weights}: patches of {found} pixels, timm model {architecture!r} has {wanted}: set '
                'model.teacher.model to the network of the file'
            )
    positions = [tensors.get('pos_embed') for tensors in (state, own)]
    counts = [tensor.shape[1] for tensor in positions if tensor is not None and tensor.ndim == 3]
    # files may count the class token, networks may not
    if len(counts) == 2 and abs(counts[0] - counts[1]) > 1:
        print_log(
            f'teacher weights {weights}: {counts[0]} positions are resampled to the {counts[1]} of timm model '
            f'{architecture!r} before they are to those of the images: take the name with the image size of the file',
            'current',
            logging.WARNING,
        )


def _without_zero_biases(
    state: dict[str, Tensor], own: Mapping[str, Tensor], architecture: str, weights: str
) -> dict[str, Tensor]:
    """Tensors without the zero biases of queries, keys and values that the network lacks, as some DINOv3 of timm do.

    Raises:
        CheckpointError: Such a bias is not zero, or the network has biases and the file has none.
    """
    fused = [name for name in state if name.endswith('.attn.qkv.bias')]
    single = [name for name in state if name.endswith(('.attn.q_bias', '.attn.v_bias'))]
    attends = [any(name.endswith('.attn.qkv.weight') for name in tensors) for tensors in (state, own)]
    if not all(attends):
        return state
    if any(name.endswith(('.attn.qkv.bias', '.attn.q_bias')) for name in own):
        if '_dinov3_qkvb' in architecture and not fused + single:
            raise CheckpointError(
                f'teacher weights {weights}: no biases of queries and values, which timm model {architecture!r} has: '
                f'set model.teacher.model={architecture.replace("_dinov3_qkvb", "_dinov3")!r}'
            )
        return state
    # the keys' part has no meaning: the release masks it
    values = [state[name] for name in single] + [part for name in fused for part in state[name].chunk(3)[::2]]
    if any(value.any() for value in values):
        other = architecture.replace('_dinov3', '_dinov3_qkvb')
        known = other != architecture and timm.is_model(other)
        raise CheckpointError(
            f'teacher weights {weights}: queries and values have biases, which timm model {architecture!r} lacks: set '
            f'model.teacher.model{f"={other!r}" if known else " to the network of the file"}'
        )
    return {name: value for name, value in state.items() if name not in {*fused, *single}}


def _by_order(state: dict[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """Names of timm's whole network for tensors whose order and shapes are the same."""
    with torch.device('meta'):
        whole = timm.create_model(architecture).state_dict()
    mismatch = len(whole) != len(state) or any(
        ours.shape != theirs.shape for ours, theirs in zip(whole.values(), state.values())
    )
    if mismatch:
        raise CheckpointError(
            f'the weights of {EFFICIENTNET_PACKAGE} do not fit timm model {architecture!r}: set '
            "model.teacher.model='tf_efficientnet_lite0'"
        )
    return dict(zip(whole, state.values()))

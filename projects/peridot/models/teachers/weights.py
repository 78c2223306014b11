"""Weights of image networks: fitting their names to timm's."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torch
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
    """
    if weights == EFFICIENTNET_PACKAGE:
        return _by_order(state, architecture)
    state = _from_hugging_face(state)
    own = network.state_dict()
    prefix = max(PREFIXES, key=lambda p: sum(p + name in state for name in own))
    state = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    state = _without_zero_biases(state, own, architecture, weights)
    module = sys.modules[timm.model_entrypoint(architecture).__module__]
    if hasattr(network, 'pos_embed') and hasattr(module, 'checkpoint_filter_fn'):
        # timm knows how the published transformers differ from its own
        state = module.checkpoint_filter_fn(state, network)
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


def _from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2 and DINOv3 of `transformers` under the names of their releases; others stay as they are."""
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
    return state


def _release_names(
    state: dict[str, Tensor], patterns: Sequence[tuple[str, str]], parts: tuple[str, str, str]
) -> dict[str, Tensor]:
    """Tensors under other names, query, key and value (`parts` of a name) as one."""
    renamed = {}
    for name, value in state.items():
        if parts[0] in name:
            names = [name.replace(parts[0], part) for part in parts]
            value = torch.cat([state[part] for part in names if part in state])
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def _without_zero_biases(
    state: dict[str, Tensor], own: Mapping[str, Tensor], architecture: str, weights: str
) -> dict[str, Tensor]:
    """Tensors without the zero biases of queries, keys and values that the network lacks, as some DINOv3 of timm do.

    Raises:
        CheckpointError: Such a bias is not zero.
    """
    fused = [name for name in state if name.endswith('.attn.qkv.bias')]
    single = [name for name in state if name.endswith(('.attn.q_bias', '.attn.v_bias'))]
    if any(name.endswith(('.attn.qkv.bias', '.attn.q_bias')) for name in own):
        return state
    # the keys' part has no meaning: the release masks it
    values = [state[name] for name in single] + [part for name in fused for part in state[name].chunk(3)[::2]]
    if any(value.any() for value in values):
        raise CheckpointError(
            f'teacher weights {weights}: queries and values have biases, which timm model {architecture!r} lacks: set '
            f'model.teacher.model={architecture.replace("_dinov3", "_dinov3_qkvb")!r}'
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

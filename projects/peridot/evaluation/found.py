"""First stage of FOUND: the background of images, from the attention of an image network.

Simeoni et al., "Unsupervised Object Localization: Observing the Background to Discover Objects", CVPR 2023.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peridot.errors import ConfigError

EPSILON = 1e-10


def find_background(teacher: nn.Module, images: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features (M, P, F) of patches, background bool (M, P) and the seeds' features (M, F) of M images."""
    output = class_attention(teacher, images)
    seed, background = background_patches(output.attention, output.keys, threshold)
    return output.features, background, output.features[torch.arange(len(seed), device=seed.device), seed]


@dataclass(frozen=True)
class Attention:
    """Output of a transformer's last block for M images of P patches, with H heads.

    Attributes:
        features: Float (M, P, F), unit features of the patches, those of the teacher.
        attention: Float (M, H, P), attention of the class token to the patches.
        keys: Float (M, H, P, d), keys of the patches.
    """

    features: Tensor
    attention: Tensor
    keys: Tensor


@torch.no_grad()
def class_attention(teacher: nn.Module, images: Tensor) -> Attention:
    """Attention of the class token in the last block of a transformer.

    Args:
        teacher: `peridot.TimmTeacher` with a vision transformer that has a class token.
        images: As the teacher takes them.

    Raises:
        ConfigError: The teacher is another network.
    """
    layer, network = last_attention(teacher), teacher.network
    taken = {}
    hook = layer.register_forward_pre_hook(lambda _, args: taken.update(tokens=args[0]))
    try:
        features = teacher(images)
    finally:
        hook.remove()
    if not taken:
        raise _without_attention(network)
    qkv = layer.qkv(taken['tokens']).float().unflatten(2, (3, layer.num_heads, -1))
    query, key, _ = qkv.permute(2, 0, 3, 1, 4)
    query, key = layer.q_norm(query[:, :, :1]), layer.k_norm(key)
    attention = (query * layer.scale @ key.transpose(2, 3)).softmax(3)[:, :, 0]
    return Attention(
        features=F.normalize(features.float().flatten(2).transpose(1, 2), dim=2),
        attention=attention[:, :, network.num_prefix_tokens :],
        keys=key[:, :, network.num_prefix_tokens :],
    )


def background_patches(attention: Tensor, keys: Tensor, threshold: float = 0.3) -> tuple[Tensor, Tensor]:
    """Find background patches by FOUND's first stage.

    With a_h(p) the attention of head h to patch p and Q_h the fraction of patches that it attends to more than the
    image's mean, heads that attend to few patches count more:

        beta_h = log( sum_h' Q_h' / Q_h ),   seed = argmin_p sum_h beta_h a_h(p)

    Background patches resemble the seed: cos( D(p), D(seed) ) > threshold, D(p) = concat_h( beta_h k_h(p) ).

    Args:
        attention: Float (M, H, P), of the class token.
        keys: Float (M, H, P, d).
        threshold: Cosine similarity above which a patch is background.

    Returns:
        Seeds int64 (M,), and background bool (M, P).
    """
    fraction = (attention > attention.mean((1, 2), keepdim=True)).float().mean(2) + EPSILON
    beta = (fraction.sum(1, keepdim=True) / fraction).log()[:, :, None]
    seed = (beta * attention).sum(1).argmin(1)
    descriptor = F.normalize((beta[..., None] * keys).transpose(1, 2).flatten(2), dim=2)
    of_seed = descriptor[torch.arange(len(seed), device=seed.device), seed]
    return seed, torch.einsum('mpd,md->mp', descriptor, of_seed) > threshold


def last_attention(teacher: nn.Module | None) -> nn.Module:
    """Attention layer of the block whose tokens are the teacher's features.

    Raises:
        ConfigError: There is none, or no class token.
    """
    network = getattr(teacher, 'network', None)
    blocks = getattr(network, 'blocks', None)
    layer = getattr(blocks[-1], 'attn', None) if blocks is not None and len(blocks) else None
    if getattr(network, 'rope', None) is not None:
        raise ConfigError(
            'discovery does not rotate queries and keys by their positions, as the attention of the teacher (DINOv3) '
            "does: set model.teacher.model to a network such as 'vit_small_patch14_dinov2.lvd142m'"
        )
    has_class_token = getattr(network, 'cls_token', None) is not None
    if not has_class_token or not isinstance(getattr(layer, 'qkv', None), nn.Linear):
        raise _without_attention(network or teacher)
    return layer


def _without_attention(network: nn.Module | None) -> ConfigError:
    return ConfigError(
        f'discovery looks at the attention of a class token, which {type(network).__name__} does not have or use: set '
        'model.teacher to peridot.TimmTeacher with a vision transformer, e.g. vit_small_patch14_dinov2.lvd142m'
    )

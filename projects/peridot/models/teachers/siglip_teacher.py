"""SigLIP's image network with a text-aligned feature for every patch."""

from functools import partial

import timm
import torch.nn.functional as F
from timm.layers import AttentionPoolLatent, create_act_layer
from torch import Tensor, nn

from peridot.errors import ConfigError
from peridot.models.teachers.timm_teacher import TimmTeacher
from peridot.registry import MODELS

# activation of all SigLIPs
ACTIVATION = 'gelu_tanh'


class TokenPool(nn.Module):
    """SigLIP's pooling head on every token alone.

    The head attends to the tokens with one learned query. With a single token, the attention is 1 whatever the query:

        v = W_o (W_v x + b_v) + b_o,   y = v + MLP(norm(v))

    Args:
        pool: The timm layer whose weights it takes, under the same names.
    """

    def __init__(self, pool: AttentionPoolLatent) -> None:
        super().__init__()
        self.kv, self.proj, self.norm, self.mlp = pool.kv, pool.proj, pool.norm, pool.mlp

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        weight, bias = self.kv.weight.chunk(2)[1], self.kv.bias.chunk(2)[1]
        values = self.proj(F.linear(tokens, weight, bias))
        return values + self.mlp(self.norm(values))


@MODELS.register_module()
class SiglipTeacher(TimmTeacher):
    """A frozen SigLIP or SigLIP 2 that gives patch features in the joint space of images and texts.

    Only the vector that SigLIP's pooling head makes of all patches was trained to match texts, not the patches
    themselves. Here the head sees every patch alone, see `TokenPool`: what MaskCLIP does for CLIP, carried over to
    SigLIP. **This is our reading**; we know of no publication that does it, and its quality was not measured. A text
    embedding of the same SigLIP and a feature are compared by their cosine.

    Args:
        model: timm's name of a SigLIP vision transformer with its pooling head, e.g.
            'vit_base_patch16_siglip_224.v2_webli'; those with `_gap_` have none.
        weights: As for `TimmTeacher`, files of OpenCLIP included, or a folder that `transformers` saved a SigLIP in
            (the folder that `tools/embed_text.py` takes).
        align_corners: How the map lies over the image, see `peridot.models.functional.read_at`.
        dtype: As for `TimmTeacher`.
        compile: As for `TimmTeacher`.

    Attributes:
        out_channels: Dimension of the joint space, the width of the network: 768 for ViT-B, 1152 for SO400M.
        stride: Pixels a patch.

    Raises:
        ConfigError: The model is no SigLIP with a pooling head, or images do not divide into its patches.
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
        if not timm.is_model(model) or '_siglip_' not in model or '_gap_' in model or '_ft_' in model:
            raise ConfigError(
                f'model.teacher.model={model!r} is no SigLIP of timm with its pooling head: set for example '
                "'vit_base_patch16_siglip_224.v2_webli' (timm.list_models('vit_*_siglip_*') names all; those with "
                '_gap_ have no head)'
            )
        super().__init__(model, weights=weights, align_corners=align_corners, dtype=dtype, compile=compile)

    def _features(self, images: Tensor) -> Tensor:
        """Features (M, out_channels, h, w) of normalized images in channels-last memory, not normalized themselves."""
        patches = super()._features(images).permute(0, 2, 3, 1)
        return self.network.attn_pool(patches).permute(0, 3, 1, 2)

    def _load(self, model: str, weights: str | None) -> None:
        network = self.network
        network.attn_pool = pool = self._pool()
        super()._load(model, weights)
        if weights == 'timm':
            # the head was taken off the network that has its weights
            pool.load_state_dict(timm.create_model(model, pretrained=True).attn_pool.state_dict())
        network.attn_pool = TokenPool(pool)

    def _pool(self) -> AttentionPoolLatent:
        """The network's pooling head with random weights."""
        block = self.network.blocks[0]
        hidden = block.mlp.fc1.out_features
        return AttentionPoolLatent(
            self.out_channels,
            num_heads=block.attn.num_heads,
            # timm rounds down
            mlp_ratio=(hidden + 0.5) / self.out_channels,
            norm_layer=partial(nn.LayerNorm, eps=block.norm1.eps),
            act_layer=partial(create_act_layer, ACTIVATION),
        )

"""DINOv3 as a teacher: files of `transformers` and of the release give the tokens of `transformers`' own network."""

import pytest
import timm
import torch
from peridot.errors import CheckpointError
from peridot.models.teachers.weights import fit_names, load_checked
from torch import Tensor, nn

SIZE = (64, 112)
REGISTERS = 4


def ours(name: str) -> nn.Module:
    """timm's network, small enough for a test."""
    return timm.create_model(name, num_classes=0, embed_dim=48, depth=2, num_heads=3, dynamic_img_size=True).eval()


def theirs(plus: bool = False, bias: bool = False) -> nn.Module:
    """transformers' network of the same size with random weights; biases of queries and values are zero by default."""
    transformers = pytest.importorskip('transformers')
    if not hasattr(transformers, 'DINOv3ViTModel'):
        pytest.skip('this transformers has no DINOv3')
    settings = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=192)
    gated = dict(use_gated_mlp=True, hidden_act='silu') if plus else dict(hidden_act='gelu')
    # timm makes gated layers as wide as this
    settings['intermediate_size'] = ours(names(plus, bias)).blocks[0].mlp.fc2.in_features
    config = transformers.DINOv3ViTConfig(
        **settings, **gated, num_register_tokens=REGISTERS, patch_size=16, image_size=64, layer_norm_eps=1e-5
    )
    torch.manual_seed(0)
    network = transformers.DINOv3ViTModel(config).eval()
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, std=0.3)
        if not bias and name.endswith(('q_proj.bias', 'v_proj.bias')):
            nn.init.zeros_(parameter)
    return network


def names(plus: bool, bias: bool) -> str:
    return f'vit_small{"_plus" * plus}_patch16_dinov3{"_qkvb" * bias}'


@torch.no_grad()
def tokens(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Tokens (B, N, C) of patches by both networks on an image that is not square, after the last normalization."""
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    if hasattr(network, 'layer'):
        return network(images).last_hidden_state[:, 1 + REGISTERS :]
    (found,) = network.forward_intermediates(images, indices=[-1], norm=True, intermediates_only=True)
    return found.flatten(2).transpose(1, 2)


@pytest.mark.parametrize('prefix', ['', 'dinov3_vit.'])
@pytest.mark.parametrize('plus, bias', [(False, False), (False, True), (True, False), (True, True)])
def test_tokens_equal_those_of_transformers(plus, bias, prefix):
    source, name = theirs(plus, bias), names(plus, bias)
    state = {f'{prefix}{key}': value for key, value in source.state_dict().items()}
    assert f'{prefix}layer.0.attention.q_proj.weight' in state
    assert f'{prefix}layer.0.attention.k_proj.bias' not in state
    network = ours(name)
    count = load_checked(network, fit_names(state, network, name, 'file'), 'file', name)
    assert count == len(network.state_dict())
    torch.testing.assert_close(tokens(network), tokens(source), atol=1e-4, rtol=1e-4)


def test_zero_biases_are_left_out_and_others_are_refused():
    """timm has networks with and without biases; without them, it drops those of a file without a word."""
    zero, name = theirs().state_dict(), names(False, False)
    network = ours(name)
    fit_names(zero, network, name, 'file')
    some = theirs(bias=True).state_dict()
    with pytest.raises(
        CheckpointError, match=r"file: queries and values have biases.*model='vit_small_patch16_dinov3_qkvb'"
    ):
        fit_names(some, network, name, 'file')
    # timm's own names
    own = ours(names(False, True)).state_dict()
    with pytest.raises(CheckpointError, match='queries and values have biases'):
        fit_names({**own, 'blocks.1.attn.v_bias': torch.ones(48)}, network, name, 'file')


def release(network: nn.Module) -> dict[str, Tensor]:
    """timm's network under the names of Meta's release, where keys have biases that are masked and may be anything."""
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith('attn.q_bias'):
            parts = value, torch.full_like(value, torch.nan), network.get_parameter(name.replace('q_bias', 'v_bias'))
            name, value = name.replace('q_bias', 'qkv.bias'), torch.cat([part.detach() for part in parts])
        if not name.endswith('attn.v_bias'):
            state[name.replace('gamma_', 'ls').replace('reg_token', 'storage_tokens')] = value
    return {f'{k}.gamma' if k[-3:-1] == 'ls' else k: v for k, v in state.items()} | {'mask_token': torch.zeros(1, 48)}


def test_release(capsys):
    source, name = ours(names(False, True)), names(False, True)
    for parameter in source.parameters():
        nn.init.normal_(parameter, std=0.3)
    network = ours(name)
    load_checked(network, fit_names(release(source), network, name, 'file'), 'file', name)
    assert torch.equal(tokens(network), tokens(source))
    without = ours(names(False, False))
    with pytest.raises(CheckpointError, match='queries and values have biases'):
        fit_names(release(source), without, names(False, False), 'file')
    assert not capsys.readouterr().out


def test_half_a_file_is_refused():
    state = {name: value for name, value in theirs().state_dict().items() if '.k_proj.' not in name}
    network, name = ours(names(False, False)), names(False, False)
    with pytest.raises(CheckpointError, match='of another shape'):
        load_checked(network, fit_names(state, network, name, 'file'), 'file', name)

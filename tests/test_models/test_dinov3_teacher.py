"""DINOv3 as a teacher: files of `transformers` and of the release give the tokens of `transformers`' own network."""

import sys

import pytest
import timm
import torch
from peridot.errors import CheckpointError, ConfigError
from peridot.models.teachers import TimmTeacher
from peridot.models.teachers.weights import fit_names, load_checked
from safetensors.torch import save_file
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
    unused = {f'blocks.{block}.attn.qkv.bias_mask': torch.ones(144) for block in range(2)}
    unused |= {'mask_token': torch.zeros(1, 48), 'rope_embed.periods': torch.ones(4)}
    return {f'{k}.gamma' if k[-3:-1] == 'ls' else k: v for k, v in state.items()} | unused


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


def test_file_without_biases_is_refused_where_they_belong():
    """timm's own files and those of timm's names without `_qkvb`."""
    network, name = ours(names(False, True)), f'{names(False, True)}.lvd1689m'
    with pytest.raises(CheckpointError, match=r"file: no biases.*set .*model='vit_small_patch16_dinov3.lvd1689m'"):
        fit_names(ours(names(False, False)).state_dict(), network, name, 'file')


def test_file_for_another_kind_of_network_is_not_taken_for_one_without_biases():
    network = timm.create_model('resnet18')
    state = fit_names(
        {'blocks.0.attn.qkv.weight': torch.ones(9, 3), 'blocks.0.attn.qkv.bias': torch.ones(9)},
        network,
        'resnet18',
        'file',
    )
    with pytest.raises(CheckpointError, match='0 of 102 tensors fit'):
        load_checked(network, state, 'file', 'resnet18')


@pytest.fixture
def small_networks(monkeypatch):
    """timm builds its DINOv3 as small as `ours`; files of another size have another width."""
    for family, make, sizes in (
        ('eva', '_create_eva', dict(embed_dim=48, depth=2, num_heads=3)),
        ('convnext', '_create_convnext', dict(depths=(1, 2, 1, 1), dims=(8, 12, 16, 24))),
    ):
        module = sys.modules[f'timm.models.{family}']
        full = getattr(module, make)
        # a default, as the loop's variables change
        monkeypatch.setattr(module, make, lambda *a, _full=full, _sizes=sizes, **k: _full(*a, **{**k, **_sizes}))


@torch.no_grad()
@pytest.mark.parametrize('plus', [False, True])
def test_teacher_reads_the_file_of_transformers(plus, tmp_path, small_networks):
    source, name = theirs(plus, bias=True), f'{names(plus, True)}.lvd1689m'
    source.save_pretrained(tmp_path)
    images = torch.randint(0, 256, (1, 3, 224, 416), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for weights in (tmp_path, tmp_path / 'model.safetensors'):
        teacher = TimmTeacher(name, weights=str(weights), image_size=(224, 416))
        assert (teacher.out_channels, teacher.stride) == (48, 16)
        normalized = (images / 255 - torch.tensor([[[0.485]], [[0.456]], [[0.406]]])) / torch.tensor(
            [[[0.229]], [[0.224]], [[0.225]]]
        )
        found = teacher(images)
        expected = source(normalized).last_hidden_state[:, 1 + REGISTERS :]
        assert found.shape == (1, 48, 14, 26)
        torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(
        CheckpointError, match=r"biases.*set model.teacher.model='vit_small\w*_dinov3_qkvb.lvd1689m'"
    ) as error:
        TimmTeacher(f'{names(plus, False)}.lvd1689m', weights=str(tmp_path))
    assert '\n' not in str(error.value)


def test_file_of_another_size_is_refused(tmp_path, small_networks):
    state = timm.create_model(names(False, True)).state_dict()
    save_file({name: torch.cat([value, value]) for name, value in state.items()}, tmp_path / 'larger.safetensors')
    with pytest.raises(
        CheckpointError, match=r'larger\.safetensors: 0 of \d+ tensors fit .* of another shape'
    ) as error:
        TimmTeacher(names(False, True), weights=str(tmp_path / 'larger.safetensors'))
    assert '\n' not in str(error.value)


@torch.no_grad()
def test_class_token_and_registers_are_not_in_the_map(small_networks):
    teacher = TimmTeacher(names(False, True), weights=None, final_norm=False)
    network = teacher.network
    for token in (network.cls_token, network.reg_token):
        nn.init.constant_(token, 1e6)
    images = torch.rand(1, 3, 32, 48)
    found = teacher(images)
    assert found.shape == (1, 48, 2, 3) and found.abs().max() < 1e4
    x = network.patch_embed((images - teacher.mean) / teacher.std)
    x, rope = network._pos_embed(x)
    for block in network.blocks:
        x = block(x, rope=rope)
    assert x.shape[1] == 1 + REGISTERS + 6 and (x[:, : 1 + REGISTERS].abs() > 1e5).all()
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), x[:, 1 + REGISTERS :])


def test_normalization_is_that_of_the_training(small_networks):
    for tag, mean, std in (
        ('lvd1689m', [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ('sat493m', [0.430, 0.411, 0.296], [0.213, 0.156, 0.143]),
    ):
        teacher = TimmTeacher(f'vit_large_patch16_dinov3_qkvb.{tag}', weights=None)
        torch.testing.assert_close(teacher.mean.flatten(), torch.tensor(mean))
        torch.testing.assert_close(teacher.std.flatten(), torch.tensor(std))


def test_rotated_positions_have_no_grid(small_networks):
    with pytest.raises(ConfigError, match=r"position_grid='dinov2': 'timm' fits all networks"):
        TimmTeacher(names(False, True), weights=None, position_grid='dinov2', image_size=(224, 416))


def convnext_of_transformers() -> nn.Module:
    transformers = pytest.importorskip('transformers')
    if not hasattr(transformers, 'DINOv3ConvNextModel'):
        pytest.skip('this transformers has no DINOv3')
    config = transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 12, 16, 24], depths=[1, 2, 1, 1])
    torch.manual_seed(0)
    network = transformers.DINOv3ConvNextModel(config).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def convnext_release(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of `transformers` under the names of ConvNeXt's release."""
    renamed = {}
    for name, value in state.items():
        words = name.split('.')
        if 'downsample_layers' in words:
            words = ['downsample_layers', words[1], *words[3:]]
        elif 'layers' in words:
            words.remove('layers')
        new = '.'.join(words).replace('depthwise_conv', 'dwconv').replace('pointwise_conv', 'pwconv')
        renamed[new.replace('layer_norm', 'norm')] = value
    return renamed


@torch.no_grad()
@pytest.mark.parametrize('published', ['transformers', 'release'])
def test_convnext(published, tmp_path, small_networks):
    source = convnext_of_transformers()
    state = source.state_dict()
    save_file(state if published == 'transformers' else convnext_release(state), tmp_path / 'convnext.safetensors')
    settings = dict(model='convnext_tiny.dinov3_lvd1689m', weights=str(tmp_path / 'convnext.safetensors'))
    images = torch.rand(1, 3, 64, 96)
    for index, stride in ((-1, 32), (2, 16)):
        teacher = TimmTeacher(**settings, out_index=index)
        normalized = (images - teacher.mean) / teacher.std
        expected = source(normalized, output_hidden_states=True).hidden_states[index if index < 0 else index + 1]
        assert teacher.stride == stride and expected.shape[3] == 96 // stride
        torch.testing.assert_close(teacher(images), expected, atol=1e-4, rtol=1e-4)

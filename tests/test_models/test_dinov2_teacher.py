"""DINOv2 as a teacher: published layouts of its weights, its position embeddings, its image sizes."""

import math

import pytest
import torch
import torch.nn.functional as F
from peridot.errors import CheckpointError, ConfigError
from peridot.models.teachers import TimmTeacher
from peridot.models.teachers.timm_teacher import release_positions
from peridot.models.teachers.weights import fit_names, load_checked
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer

NAME = 'vit_small_patch14_dinov2'


def tiny(swiglu=False, **settings) -> VisionTransformer:
    """timm's network, small enough for a test."""
    kind = dict(mlp_layer=SwiGLUPacked, mlp_ratio=2 * 64 / 24, act_layer=torch.nn.SiLU) if swiglu else {}
    size = dict(img_size=70, patch_size=14, embed_dim=24, depth=2, num_heads=3, num_classes=0, init_values=1e-5)
    return VisionTransformer(**size, **kind, **settings).eval()


def hugging_face(swiglu=False, registers=0):
    transformers = pytest.importorskip('transformers')
    settings = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=70, patch_size=14)
    settings.update(use_swiglu_ffn=swiglu, mlp_ratio=4, layer_norm_eps=1e-6)
    torch.manual_seed(0)
    if registers:
        config = transformers.Dinov2WithRegistersConfig(num_register_tokens=registers, **settings)
        network = transformers.Dinov2WithRegistersModel(config)
    else:
        network = transformers.Dinov2Model(transformers.Dinov2Config(**settings))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def tokens_of(network: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    (tokens,) = network.forward_intermediates(images, indices=[-1], norm=False, intermediates_only=True)
    return tokens.flatten(2).transpose(1, 2)


def test_tokens_equal_those_of_transformers():
    for settings in (dict(), dict(swiglu=True), dict(registers=4)):
        theirs, swiglu = hugging_face(**settings), settings.get('swiglu', False)
        registers = dict(reg_tokens=4, no_embed_class=True) if 'registers' in settings else {}
        ours = tiny(swiglu, **registers)
        state = {f'dinov2.{name}': value for name, value in theirs.state_dict().items()}
        for names in (theirs.state_dict(), state):
            count = load_checked(ours, fit_names(dict(names), ours, NAME, 'dinov2'), 'file', NAME)
            assert count == len(ours.state_dict())
        images = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            # before the final normalization
            expected = theirs(images, output_hidden_states=True).hidden_states[-1][:, 1 + len(registers) * 2 :]
            torch.testing.assert_close(tokens_of(ours, images), expected, atol=1e-4, rtol=1e-4)


def test_release_layout_with_gated_layers():
    """`dinov2_vitg14_pretrain.pth` has w12 and w3 where timm has fc1 and fc2."""
    network = tiny(swiglu=True)
    own = {name: torch.randn_like(value) for name, value in network.state_dict().items()}
    published = {name.replace('mlp.fc1', 'mlp.w12').replace('mlp.fc2', 'mlp.w3'): v for name, v in own.items()}
    load_checked(network, fit_names({**published, 'mask_token': torch.zeros(1, 24)}, network, NAME, ''), 'file', NAME)
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


def test_half_a_file_of_transformers_is_refused():
    state = {name: value for name, value in hugging_face().state_dict().items() if '.key.' not in name}
    network = tiny()
    with pytest.raises(CheckpointError, match='of another shape'):
        load_checked(network, fit_names(state, network, NAME, 'dinov2'), 'file', NAME)


@pytest.mark.parametrize('size', ['small', 'base', 'large', 'giant'])
def test_networks_of_all_sizes_are_known(size, monkeypatch):
    with torch.device('meta'):
        teacher = TimmTeacher(f'vit_{size}_patch14_dinov2.lvd142m', weights=None, final_norm=False)
    assert teacher.out_channels == {'small': 384, 'base': 768, 'large': 1024, 'giant': 1536}[size]
    assert teacher.stride == 14 and 'norm.weight' not in teacher.network.state_dict()


def test_release_positions_equal_the_formula():
    positions = torch.randn(1, 1 + 25, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = release_positions(positions, (5, 5), (3, 8))
    assert torch.equal(found[:, :1], positions[:, :1])
    grid = positions[0, 1:].reshape(5, 5, 3)
    for row in range(3):
        for column in range(8):
            expected = torch.zeros(3, dtype=torch.float64)
            y, x = (row + 0.5) * 5 / 3.1 - 0.5, (column + 0.5) * 5 / 8.1 - 0.5
            for i in range(-1, 3):
                for j in range(-1, 3):
                    at = [min(max(math.floor(v) + step, 0), 4) for v, step in ((y, i), (x, j))]
                    weight = cubic(y - math.floor(y) - i) * cubic(x - math.floor(x) - j)
                    expected += weight * grid[at[0], at[1]]
            torch.testing.assert_close(found[0, 1 + row * 8 + column], expected)
    assert torch.equal(release_positions(positions, (5, 5), (5, 5)), positions)


def cubic(t: float, a: float = -0.75) -> float:
    """Keys' kernel with torch's parameter."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def test_teacher_with_the_positions_of_the_release():
    settings = dict(weights=None, out_index=0, final_norm=False, image_size=(32, 48))
    torch.manual_seed(0)
    timm_like = TimmTeacher('vit_tiny_patch16_224', **settings)
    release = TimmTeacher('vit_tiny_patch16_224', position_grid='dinov2', **settings)
    original = timm_like.network.state_dict()
    grid = release_positions(original['pos_embed'], (14, 14), (2, 3))
    release.network.load_state_dict({**original, 'pos_embed': grid})
    images = torch.rand(1, 3, 32, 48)
    blocks = timm_like.network
    x = (images - timm_like.mean) / timm_like.std
    with torch.no_grad():
        tokens = blocks.patch_embed.proj(x).flatten(2).transpose(1, 2)
        expected = blocks.blocks[0](torch.cat([blocks.cls_token, tokens], 1) + grid)[:, 1:]
    torch.testing.assert_close(release(images).flatten(2).transpose(1, 2), expected, atol=1e-5, rtol=1e-5)
    assert (release(images) - timm_like(images)).abs().max() > 1e-4
    assert F.mse_loss(release(images), timm_like(images)) < 0.1


def test_size_that_patches_do_not_divide_is_an_error_before_training():
    with pytest.raises(ConfigError, match=r'\(224, 416\).*ResizeViews.*\(224, 420\)'):
        TimmTeacher('vit_small_patch14_dinov2', weights=None, out_index=0, image_size=(224, 416))
    for settings in (dict(position_grid='dinov2'), dict(position_grid='other', image_size=(224, 448))):
        with pytest.raises(ConfigError, match='position_grid'):
            TimmTeacher('vit_tiny_patch16_224', weights=None, out_index=0, **settings)


def test_file_with_registers_for_a_network_without_and_the_other_way_round():
    """Positions do not fit, which timm notices while it resamples them."""
    for registers, network in ((4, tiny()), (0, tiny(reg_tokens=4, no_embed_class=True))):
        state = hugging_face(registers=registers).state_dict()
        with pytest.raises(
            CheckpointError, match=f'^teacher weights file do not fit timm model {NAME!r}.*: set'
        ) as error:
            fit_names(state, network, NAME, 'file')
        assert '\n' not in str(error.value)


def test_file_with_other_patches_is_refused():
    """timm would resample its kernels without a word."""
    state = tiny().state_dict()
    state['patch_embed.proj.weight'] = torch.zeros(24, 3, 16, 16)
    with pytest.raises(
        CheckpointError, match=r'file: patches of 16x16 pixels, timm model .* has 14x14: set model'
    ) as error:
        fit_names(state, tiny(), NAME, 'file')
    assert '\n' not in str(error.value)


def test_positions_of_another_image_size_are_told(monkeypatch):
    told = []
    monkeypatch.setattr('peridot.models.teachers.weights.print_log', lambda text, *_: told.append(text))
    state = tiny().state_dict()
    fit_names(state, tiny(), NAME, 'file')
    assert not told
    state['pos_embed'] = torch.randn(1, 1 + 16, 24)
    assert fit_names(state, tiny(), NAME, 'file')['pos_embed'].shape == (1, 26, 24)
    assert len(told) == 1 and '17 positions are resampled to the 26' in told[0]

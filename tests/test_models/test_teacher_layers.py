"""Several layers of a teacher, and its class token."""

import pytest
import torch
from peridot.errors import ConfigError
from peridot.models.teachers import TimmTeacher

# timm's smallest transformer
VIT = 'test_vit'
REGISTERS = 'vit_small_patch14_reg4_dinov2.lvd142m'


def images(size=(64, 96)):
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=g)


def build(model, **settings):
    torch.manual_seed(0)
    return TimmTeacher(model, weights=None, **settings)


def block_by_block(teacher, x):
    """Tokens (2, N, C) after every block."""
    network, tokens = teacher.network, []
    x = network.patch_embed((x / 255 - teacher.mean) / teacher.std)
    x = network.norm_pre(network._pos_embed(x))
    for block in network.blocks:
        x = block(x)
        tokens.append(x)
    return tokens


def as_tokens(feature_map):
    return feature_map.flatten(2).transpose(1, 2)


@pytest.mark.parametrize('final_norm', [False, True])
@pytest.mark.parametrize('model, size, prefix', [(VIT, (64, 96), 1), (REGISTERS, (28, 42), 5)])
def test_maps_and_class_token_are_those_of_the_blocks(model, size, prefix, final_norm):
    teacher = build(model, final_norm=final_norm, out_indices=(-2, -1), class_token=True)
    network, x = teacher.network, images(size)
    with torch.no_grad():
        # the class token and the registers would be seen in a map
        for tokens in (network.cls_token, network.reg_token)[:prefix]:
            tokens.copy_(50 * torch.randn_like(tokens))
        before, last = block_by_block(teacher, x)[-2:]
        # that a token is normalized on its own
        network.norm.weight.copy_(torch.rand(len(network.norm.weight)) + 0.5)
        shown = [network.norm(tokens) for tokens in (before, last)] if final_norm else [before, last]
        token = network.norm(last)[:, 0]
    found = teacher(x, layers=True)
    assert set(found) == {None, -2, -1, 'class_token'}
    for name, expected in {-2: shown[0], -1: shown[1], None: shown[1]}.items():
        assert found[name].is_contiguous(memory_format=torch.channels_last) and not found[name].requires_grad
        torch.testing.assert_close(as_tokens(found[name]), expected[:, prefix:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found['class_token'], token, atol=1e-4, rtol=1e-4)
    width = expected.shape[2]
    assert teacher.layer_channels == {-2: width, -1: width, 'class_token': width}


def test_settings_of_one_layer_keep_every_bit():
    alone, several = build(VIT, final_norm=False), build(VIT, final_norm=False, out_indices=(0, 2), class_token=True)
    assert not alone.layer_channels and 'norm.weight' not in alone.network.state_dict()
    assert torch.equal(alone(images()), several(images()))
    assert torch.equal(alone(images()), several(images(), layers=True)[None])
    earlier = build(VIT, out_index=2, final_norm=False)
    assert torch.equal(earlier(images()), several(images(), layers=True)[2])
    assert len(earlier.network.blocks) == 3
    assert several.state_dict().keys() == alone.state_dict().keys()


def test_the_class_token_is_that_of_the_last_block():
    early = build(VIT, out_index=1, out_indices=(0,), class_token=True)
    assert len(early.network.blocks) == len(early.network.feature_info)
    last = build(VIT, class_token=True)
    assert torch.equal(early(images(), layers=True)['class_token'], last(images(), layers=True)['class_token'])


def test_stages_of_convolutional_networks():
    teacher = build('resnet18', out_index=3, out_indices=(2, 4))
    assert (teacher.out_channels, teacher.layer_channels) == (256, {2: 128, 4: 512})
    found = teacher(images(), layers=True)
    assert {name: tuple(part.shape) for name, part in found.items()} == {
        None: (2, 256, 4, 6),
        2: (2, 128, 8, 12),
        4: (2, 512, 2, 3),
    }
    for name, index in ((None, 3), (2, 2), (4, 4)):
        assert torch.equal(found[name], build('resnet18', out_index=index)(images()))


def test_layers_in_half_precision_come_in_float32():
    half, exact = (build(VIT, out_indices=(-2,), class_token=True, dtype=dtype) for dtype in ('bfloat16', None))
    for name, value in half(images(), layers=True).items():
        expected = exact(images(), layers=True)[name]
        assert value.dtype == torch.float32 and not torch.equal(value, expected)
        assert (value - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(
    'settings, match',
    [
        (dict(model='resnet18', class_token=True), "class_token=True: 'resnet18' has no class token"),
        (dict(model='vit_base_patch16_siglip_gap_224', class_token=True), 'has no class token'),
        (dict(model='resnet18', out_indices=(1, 5)), r"out_indices=5: 'resnet18' has 5 stages"),
        (dict(model='resnet18', out_indices=(-6,)), 'out_indices=-6'),
    ],
)
def test_layers_that_a_network_does_not_have(settings, match):
    with torch.device('meta'), pytest.raises(ConfigError, match=match):
        TimmTeacher(weights=None, **settings)

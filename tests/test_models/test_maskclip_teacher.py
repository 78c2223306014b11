import json
import sys

import pytest
import timm
import torch
import torch.nn.functional as F
from peridot.errors import CheckpointError, ConfigError
from peridot.models.teachers import MaskClipTeacher
from torch import nn

# smallest CLIP of timm: 256 channels, joint space of 512
TINY = 'vit_xsmall_patch16_clip_224.tinyclip_yfcc15m'


def images(height=32, width=48, count=2):
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=g)


@pytest.fixture(scope='module', autouse=True)
def two_blocks():
    """The tiny CLIP with two blocks and random weights of a size that matters everywhere."""
    module = sys.modules['timm.models.vision_transformer']
    full = module._create_vision_transformer
    patch = pytest.MonkeyPatch()
    patch.setattr(module, '_create_vision_transformer', lambda *a, **k: full(*a, **{**k, 'depth': 2}))
    yield
    patch.undo()


def published() -> nn.Module:
    g = torch.Generator().manual_seed(0)
    network = timm.create_model(TINY, dynamic_img_size=True)
    for value in network.parameters():
        scale = value[0].numel() ** -0.5 if value.ndim > 1 else 0.3
        value.data = scale * torch.randn(value.shape, generator=g) + (value.ndim == 1) * 0.5
    network.head.bias.data.zero_()
    return network.eval()


@pytest.fixture(scope='module')
def reference():
    return published()


@pytest.fixture
def weights(tmp_path, reference):
    torch.save(reference.state_dict(), tmp_path / 'clip.pth')
    return str(tmp_path / 'clip.pth')


def one_patch_after_another(network, x):
    """MaskCLIP's dense features (B, h, w, D), patch by patch, from CLIP's definition."""
    tokens = network._pos_embed(network.patch_embed(x))
    tokens = network.blocks[0](network.norm_pre(tokens))[:, 1:]
    block, result = network.blocks[1], []
    for token in tokens.flatten(0, 1):
        _, _, value = block.attn.qkv(block.norm1(token)).chunk(3)
        token = token + block.attn.proj(value)
        token = token + block.mlp(block.norm2(token))
        result.append(network.head(network.norm(token)))
    return torch.stack(result).view(len(x), x.shape[2] // 16, x.shape[3] // 16, -1)


@torch.no_grad()
def test_every_patch_reads_its_own_value(weights, reference):
    teacher = MaskClipTeacher(TINY, weights=weights)
    x = images(48, 64, 1)
    features = teacher(x)
    assert features.shape == (1, 512, 3, 4) and (teacher.out_channels, teacher.stride) == (512, 16)
    assert features.is_contiguous(memory_format=torch.channels_last) and not features.requires_grad
    expected = one_patch_after_another(reference, (x / 255 - teacher.mean) / teacher.std)
    torch.testing.assert_close(features.permute(0, 2, 3, 1), expected, atol=1e-4, rtol=1e-4)
    # CLIP's normalization, not ImageNet's
    assert teacher.mean.flatten().tolist() == pytest.approx([0.48145466, 0.4578275, 0.40821073])


def test_in_half_precision_the_joint_space_is_float32(weights):
    expected = MaskClipTeacher(TINY, weights=weights)(images())
    features = MaskClipTeacher(TINY, weights=weights, dtype='bfloat16')(images())
    assert features.dtype == torch.float32
    assert 2.0**-12 < (features - expected).norm() / expected.norm() < 2.0**-6


@torch.no_grad()
def test_one_token_attends_to_itself_only(weights, reference):
    """Where attention has one token to look at, dense CLIP is CLIP."""
    teacher, network = MaskClipTeacher(TINY, weights=weights), published()
    x = torch.randn(3, 1, 256)
    last = network.blocks[-1]
    torch.testing.assert_close(teacher.network.blocks[-1](x), last(x))
    several = torch.randn(3, 4, 256)
    assert (teacher.network.blocks[-1](several) - last(several)).abs().max() > 0.01


def test_size_of_images(weights):
    teacher = MaskClipTeacher(TINY, weights=weights)
    assert teacher(images(32, 80)).shape == (2, 512, 2, 5)
    with pytest.raises(ConfigError, match=r'do not divide into patches of \(16, 16\)'):
        teacher(images(32, 50))


def open_clip_names(network) -> dict:
    """As OpenCLIP and OpenAI name them, with the projection as a matrix (C, D)."""
    names = {
        'patch_embed.proj': 'conv1',
        'norm_pre': 'ln_pre',
        'norm.': 'ln_post.',
        'blocks.': 'transformer.resblocks.',
    }
    names |= {'norm1': 'ln_1', 'norm2': 'ln_2', 'qkv.': 'in_proj_', 'attn.proj': 'attn.out_proj'}
    names |= {'mlp.fc1': 'mlp.c_fc', 'mlp.fc2': 'mlp.c_proj', 'pos_embed': 'positional_embedding'}
    state = network.state_dict()
    del state['head.bias']
    special = dict(proj=state.pop('head.weight').T, class_embedding=state.pop('cls_token')[0, 0])
    special['pos_embed'] = state.pop('pos_embed')[0]
    renamed = {}
    for name, value in (state | special).items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        renamed[f'visual.{name}'] = value
    return {**renamed, 'text_projection': torch.zeros(3, 3), 'logit_scale': torch.zeros(())}


def test_files_of_open_clip(tmp_path, weights, reference):
    torch.save(open_clip_names(reference), tmp_path / 'open_clip_pytorch_model.bin')
    teacher = MaskClipTeacher(TINY, weights=str(tmp_path / 'open_clip_pytorch_model.bin'))
    torch.testing.assert_close(teacher(images()), MaskClipTeacher(TINY, weights=weights)(images()))


def clip_of_transformers(act='quick_gelu'):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = dict(hidden_size=256, intermediate_size=1024, num_attention_heads=4, num_hidden_layers=2)
    config = CLIPVisionConfig(image_size=224, patch_size=16, projection_dim=512, hidden_act=act, **sizes)
    torch.manual_seed(0)
    clip = CLIPVisionModelWithProjection(config).eval()
    for value in clip.parameters():
        value.data += 0.1 * torch.randn_like(value) / (value[0].numel() ** 0.5 if value.ndim > 1 else 1)
    return clip


@torch.no_grad()
@pytest.mark.parametrize('act', ['gelu', 'quick_gelu'])
def test_folder_of_transformers(tmp_path, act):
    clip = clip_of_transformers(act)
    clip.save_pretrained(tmp_path)
    teacher = MaskClipTeacher(TINY, weights=str(tmp_path))
    x = images(224, 224)
    vision, layer = clip.vision_model, clip.vision_model.encoder.layers[-1]
    pixels = (x / 255 - teacher.mean) / teacher.std
    tokens = vision(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    tokens = tokens + layer.self_attn.out_proj(layer.self_attn.v_proj(layer.layer_norm1(tokens)))
    tokens = tokens + layer.mlp(layer.layer_norm2(tokens))
    expected = clip.visual_projection(vision.post_layernorm(tokens))
    found = teacher(x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_folder_without_network(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match=r'config\.json and model\.safetensors') as error:
        MaskClipTeacher(TINY, weights=str(tmp_path))
    assert '\n' not in str(error.value)


def test_file_without_projection(tmp_path, reference):
    state = reference.state_dict()
    del state['head.weight']
    torch.save(state, tmp_path / 'clip.pth')
    with pytest.raises(CheckpointError, match=r"1 absent.*'head\.weight'"):
        MaskClipTeacher(TINY, weights=str(tmp_path / 'clip.pth'))


def test_activation_of_the_weights():
    """timm's name without `quickgelu` has weights that want it."""
    teacher = MaskClipTeacher('vit_base_patch32_clip_224.openai', weights=None)
    x = torch.randn(5)
    torch.testing.assert_close(teacher.network.blocks[0].mlp.act(x), x * torch.sigmoid(1.702 * x))
    assert isinstance(MaskClipTeacher(TINY, weights=None).network.blocks[0].mlp.act, nn.GELU)


@pytest.mark.parametrize(
    'model',
    ['resnet50', 'vit_base_patch16_clip_224', 'vit_base_patch16_clip_224.openai_ft_in1k', 'vit_nothing_clip_1.openai'],
)
def test_networks_without_text(model):
    with pytest.raises(ConfigError, match='is no CLIP vision transformer of timm with the tag'):
        MaskClipTeacher(model, weights=None)


def test_hub_gives_network_and_projection(monkeypatch, reference):
    create = timm.create_model

    def online(name, pretrained=False, **options):
        network = create(name, **options)
        if pretrained:
            state = reference.state_dict()
            network.load_state_dict({k: v for k, v in state.items() if k in network.state_dict()})
        return network

    monkeypatch.setattr(timm, 'create_model', online)
    teacher = MaskClipTeacher(TINY, weights='timm')
    assert torch.equal(teacher.network.head.weight, reference.head.weight)
    qkv = reference.blocks[1].attn.qkv
    x = torch.randn(2, 3, 256)
    value = F.linear(x, qkv.weight[512:], qkv.bias[512:])
    torch.testing.assert_close(teacher.network.blocks[1].attn(x), reference.blocks[1].attn.proj(value))

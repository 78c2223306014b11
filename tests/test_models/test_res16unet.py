"""Res16UNet equals the released network on MinkowskiEngine, and every likely mistake is seen.

Without the golden vectors the same is proven against a dense network written here.
"""

import copy
import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from peridot.errors import ConfigError
from peridot.models.backbones import Res16UNet
from peridot.registry import MODELS
from peridot.voxel_grid import padded_shape, shifted_to_grid
from peridot.weights import exported_state
from peridot.weights.minkowski import from_minkowski, res16unet
from spconv.pytorch import SparseConv3d, SparseConvTensor, SparseInverseConv3d, SubMConv3d
from torch import Tensor, nn
from torch.nn import functional as F

# largest difference of outputs and of gradients, relative to the largest value
LIMITS = {torch.float64: (2e-7, 2e-7), torch.float32: (2e-5, 1e-4)}
CONVOLUTIONS = (SubMConv3d, SparseConv3d, SparseInverseConv3d)
NARROW = dict(
    stem_channels=4, channels=(4, 6, 8, 8, 8, 6, 6, 6), layers=(1, 1, 2, 1, 1, 1, 1, 1), in_channels=2, stem_kernel=3
)


def relative(found: Tensor, wanted) -> float:
    """Largest difference relative to the largest wanted value."""
    wanted = torch.as_tensor(wanted).to(found.dtype)
    return float((found.detach() - wanted).abs().max() / wanted.abs().max())


def weights(arrays: Mapping[str, np.ndarray], dtype: torch.dtype) -> dict[str, Tensor]:
    """The released network's state dict."""
    found = {name.removeprefix('weight::'): value for name, value in arrays.items() if name.startswith('weight::')}
    tensors = {name: torch.from_numpy(value) for name, value in found.items()}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}


def shifted(coordinates: np.ndarray) -> Tensor:
    """Released coordinates, which may be negative, on our grid."""
    coords = torch.from_numpy(coordinates).int()
    return torch.cat((coords[:, :1], shifted_to_grid(coords[:, 1:], 16)), dim=1)


class Network(nn.Module):
    """Our trunk and last layer with released weights."""

    def __init__(self, state: dict[str, Tensor], dtype: torch.dtype, momentum: float = 0.05) -> None:
        super().__init__()
        converted = res16unet(state, {})
        blocks = [f'block{i + 1}' for i in range(8)]
        stem = state['conv0p1s1.kernel']
        self.backbone = Res16UNet(
            in_channels=stem.shape[1],
            stem_channels=stem.shape[2],
            channels=[state[f'{block}.0.conv1.kernel'].shape[2] for block in blocks],
            layers=[len({n.split('.')[1] for n in state if n.startswith(f'{block}.')}) for block in blocks],
            stem_kernel=round(len(stem) ** (1 / 3)),
            norm_momentum=momentum,
        )
        self.final = nn.Linear(*state['final.kernel'].shape)
        self.to(dtype)
        with torch.no_grad():
            own = {n.removeprefix('backbone.'): v for n, v in converted.state.items() if n.startswith('backbone.')}
            # in place: spconv permutes kernels that are loaded
            for name, value in self.backbone.state_dict().items():
                value.copy_(own.pop(name))
            assert not own
            self.final.weight.copy_(state['final.kernel'].T)
            self.final.bias.copy_(state['final.bias'][0])

    def forward(self, features: Tensor, coords: Tensor, normalize: bool) -> dict[str, Tensor]:
        """Outputs by the names of the golden vectors."""
        decoder = self.backbone(features, coords)
        final = self.final(decoder)
        output = final / final.norm(dim=1, keepdim=True) if normalize else final
        return dict(decoder=decoder, final=final, output=output)

    def gradient(self, name: str) -> Tensor:
        """Gradient of a tensor by its released name, in the released layout."""
        if name.startswith('final.'):
            gradient = getattr(self.final, 'weight' if name.endswith('kernel') else 'bias').grad
            return gradient.T if name.endswith('kernel') else gradient[None]
        ours = self.backbone.get_parameter(name.replace('.kernel', '.weight').replace('.bn.', '.')).grad
        if not name.endswith('.kernel'):
            return ours
        out, size, *_, channels = ours.shape
        if size == 1:
            return ours.reshape(channels, out)
        return ours.permute(3, 2, 1, 4, 0).reshape(size**3, channels, out)


def released(golden, name: str, dtype: torch.dtype) -> tuple[dict, Network, Tensor, Tensor, dict]:
    """Arrays, our network, features, coordinates and settings."""
    arrays = golden(name)
    settings = json.loads(str(arrays['settings']))
    network = Network(weights(arrays, dtype), dtype, settings['bn_momentum'])
    features = torch.from_numpy(arrays['features']).to(dtype).requires_grad_()
    return arrays, network, features, shifted(arrays['coordinates']), settings


@pytest.mark.parametrize('dtype', LIMITS, ids=str)
@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('name', ['res16unet_narrow', 'res16unet14_narrow'])
def test_equals_the_released_network(golden, name, mode, dtype):
    arrays, network, features, coords, settings = released(golden, name, dtype)
    network.train(mode == 'train')
    out = network(features, coords, settings['normalize_features'])
    (out['output'] * torch.from_numpy(arrays['cotangent']).to(dtype)).sum().backward()
    limit, gradient_limit = LIMITS[dtype]
    for key in ('decoder', 'final', 'output'):
        if f'{mode}::{key}' in arrays:
            assert relative(out[key], arrays[f'{mode}::{key}']) < limit, key
    assert relative(features.grad, arrays[f'{mode}::grad_features']) < gradient_limit
    names = [key.removeprefix(f'{mode}::grad::') for key in arrays if key.startswith(f'{mode}::grad::')]
    assert len(names) >= 6
    for key in names:
        assert relative(network.gradient(key), arrays[f'{mode}::grad::{key}']) < gradient_limit, key
    if mode == 'train':
        state = network.backbone.state_dict()
        after = {key.removeprefix('train::after::'): value for key, value in arrays.items() if '::after::' in key}
        assert len(after) > 60
        for key, value in after.items():
            assert relative(state[key.replace('.bn.', '.')].double(), value) < limit, key


@pytest.mark.parametrize('name', ['res16unet_narrow', 'res16unet14_narrow'])
def test_every_stage_equals_the_released_one(golden, name):
    arrays, network, features, coords, settings = released(golden, name, torch.float64)
    network.eval()
    outputs, strides = {}, dict(zip(('conv0p1s1', *(f'block{i}' for i in range(1, 9))), (1, 2, 4, 8, 16, 8, 4, 2, 1)))
    for name in strides:
        layer = getattr(network.backbone, name)
        layer.register_forward_hook(lambda module, args, out, key=name: outputs.update({key: out}))
    network(features, coords, settings['normalize_features'])
    shift = (coords[:, 1:] - torch.from_numpy(arrays['coordinates'])[:, 1:])[0]
    stages = [key.removeprefix('eval::stage::') for key in arrays if key.startswith('eval::stage::')]
    assert len(stages) >= 7
    for block in stages:
        wanted, stride = arrays[f'eval::stage::{block}'], strides[block]
        rows = {
            tuple(row): number for number, row in enumerate(arrays[f'coordinates::stride{stride}'].tolist())
        }  # rows of coarse levels have no order
        indices = outputs[block].indices.clone()
        indices[:, 1:] = indices[:, 1:] * stride - shift
        order = [rows[tuple(row)] for row in indices.tolist()]
        assert len(order) == len(wanted)
        assert relative(outputs[block].features, wanted[order]) < 2e-7, block


@pytest.mark.parametrize('mode', ['eval', 'train'])
def test_equals_the_full_res16unet34c(golden, mode):
    arrays = golden('res16unet34c_shapes')
    settings = json.loads(str(arrays['settings']))
    state = formula_weights(arrays, settings['seed'])
    network = Network(state, torch.float64).train(mode == 'train')
    ours = [(n, p) for n, p in network.backbone.named_parameters()]
    assert sum(p.numel() for _, p in ours) == settings['trunk_parameters'] == 37_842_976
    features = torch.from_numpy(arrays['features']).double().requires_grad_()
    out = network(features, shifted(arrays['coordinates']), normalize=True)
    cotangent = np.random.RandomState(settings['seed'] + 9999).standard_normal(out['output'].shape).astype('float32')
    (out['output'] * torch.from_numpy(cotangent)).sum().backward()
    assert relative(out['output'], arrays[f'{mode}::output']) < 2e-7
    assert relative(out['decoder'], arrays[f'{mode}::decoder']) < 2e-7
    assert relative(features.grad, arrays[f'{mode}::grad_features']) < 2e-7
    names = [str(name) for name, kept in zip(arrays['names'], arrays['is_parameter']) if kept]
    norms = torch.stack([network.gradient(name).norm() for name in names])
    wanted = arrays[f'{mode}::grad_norms'][arrays['is_parameter']]
    assert relative(norms, wanted) < 2e-7
    if mode == 'train':
        after = network.backbone.state_dict()
        for name, total in zip(arrays['names'], arrays['train::after_sums']):
            if 'running' in str(name):
                value = float(after[str(name).replace('.bn.', '.')].sum())
                assert value == pytest.approx(total, rel=1e-5, abs=1e-5), name


def formula_weights(arrays: Mapping[str, np.ndarray], seed: int) -> dict[str, Tensor]:
    """The weights of the full network, by the formula in the golden file."""
    state = {}
    for k, (name, shape, dims) in enumerate(zip(arrays['names'], arrays['shapes'], arrays['dims'])):
        name, shape = str(name), tuple(shape[:dims])
        u = np.random.RandomState(seed + k).uniform(-1, 1, shape)
        if name.endswith('num_batches_tracked'):
            value = np.zeros(shape, dtype='int64')
        elif name.endswith('running_mean'):
            value = 0.1 * u
        elif name.endswith('running_var'):
            value = 1 + 0.5 * u
        elif name.endswith('bn.weight'):
            value = 1 + 0.4 * u
        elif name.endswith('bn.bias'):
            value = 0.2 * u
        elif name == 'final.bias':
            value = 0.1 * u
        else:
            fan = shape[0] * shape[1] if len(shape) == 3 else shape[0]
            value = u * np.sqrt(6.0 / fan)
        tensor = torch.from_numpy(np.asarray(value))
        state[name] = tensor.float().double() if tensor.is_floating_point() else tensor
    return state


def spoil_kernels(network: Network, change, sizes: tuple[int, ...]) -> None:
    """Replace the kernels of some sizes by `change(kernel)`."""
    for module in network.backbone.modules():
        if isinstance(module, CONVOLUTIONS) and module.weight.shape[1] in sizes:
            with torch.no_grad():
                module.weight.copy_(change(module.weight.clone()))


def skip_first(network: Network) -> None:
    """Reverse the concatenation: the columns of the skip connection come first in the kernels."""
    backbone = network.backbone
    ups = [backbone.convtr4p16s2, backbone.convtr5p8s2, backbone.convtr6p4s2, backbone.convtr7p2s2]
    for up, block in zip(ups, ('block5', 'block6', 'block7', 'block8')):
        width = up.weight.shape[0]
        first = getattr(backbone, block)[0]
        for layer in (first.conv1, first.downsample[0] if first.downsample else None):
            if layer is None:
                continue
            with torch.no_grad():
                if layer.weight.shape[1] == 1:
                    # spconv reads (out, 1, 1, 1, in) as (in, out)
                    matrix = layer.weight.view(layer.weight.shape[-1], -1)
                    matrix.copy_(matrix.roll(-width, dims=0).clone())
                else:
                    layer.weight.copy_(layer.weight.roll(-width, dims=-1).clone())


def transposed(kernel: Tensor) -> Tensor:
    """A kernel of size 1, transposed as its shape suggests."""
    out, channels = kernel.shape[0], kernel.shape[-1]
    return kernel.view(channels, out).T.reshape(kernel.shape)


MISTAKES = {
    'last axis fastest': lambda n: spoil_kernels(n, lambda k: k.permute(0, 3, 2, 1, 4), (2, 3, 5)),
    'last axis fastest in kernels of 2': lambda n: spoil_kernels(n, lambda k: k.permute(0, 3, 2, 1, 4), (2,)),
    'flipped': lambda n: spoil_kernels(n, lambda k: k.flip(1, 2, 3), (2, 3, 5)),
    'kernels of size 1 transposed': lambda n: spoil_kernels(n, transposed, (1,)),
    'skip connection first': skip_first,
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes_in_the_weights_are_seen(golden, mistake):
    arrays, network, features, coords, _ = released(golden, 'res16unet_narrow', torch.float64)
    MISTAKES[mistake](network)
    out = network.eval()(features, coords, True)['output']
    difference = (out.detach() - torch.from_numpy(arrays['eval::output'])).abs()
    assert difference.max() > 0.5
    assert difference.mean() > 0.05


def test_mistakes_in_the_coordinates_are_seen(golden, monkeypatch):
    arrays, network, features, coords, _ = released(golden, 'res16unet_narrow', torch.float64)
    network.eval()
    wanted = torch.from_numpy(arrays['eval::output'])

    def difference(coords: Tensor) -> Tensor:
        return (network(features, coords, True)['output'].detach() - wanted).abs().max()

    original = torch.from_numpy(arrays['coordinates']).int()
    moved = original[:, 1:].amin(0)
    # the cloud's own minimum is not a multiple of 16
    assert (moved % 16).any()
    assert difference(torch.cat((original[:, :1], original[:, 1:] - moved), dim=1)) > 0.5
    assert difference(coords + torch.tensor([0, 8, 8, 8], dtype=torch.int32)) > 0.3
    assert difference(coords + torch.tensor([0, 16, 32, 48], dtype=torch.int32)) < 2e-7
    monkeypatch.setattr('peridot.models.backbones.res16unet.padded_shape', lambda shape, stride: list(map(int, shape)))
    assert difference(coords) > 0.1


def test_layers_equal_minkowski_engine(golden):
    convolutions = {
        'k3': SubMConv3d(6, 10, 3, bias=False, indice_key='a'),
        'k5': SubMConv3d(6, 10, 5, bias=False, indice_key='b'),
        'k2_s2': SparseConv3d(6, 10, 2, 2, bias=False, indice_key='c'),
        'k1': SubMConv3d(6, 10, 1, bias=True),
    }
    for name, layer in convolutions.items():
        arrays = golden(f'minkowski_conv_{name}')
        layer = layer.double()
        with torch.no_grad():
            layer.weight.copy_(from_minkowski('a.kernel', torch.from_numpy(arrays['weight::kernel']).double()))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(arrays['weight::bias'])[0])
        coords = shifted(arrays['coordinates'])
        shift = (coords - torch.from_numpy(arrays['coordinates']))[0]
        features = torch.from_numpy(arrays['input']).double().requires_grad_()
        shape = padded_shape(coords[:, 1:].amax(0) + 1, 16)
        out = layer(SparseConvTensor(features, coords, shape, int(coords[:, 0].max()) + 1))
        stride = 2 if name == 'k2_s2' else 1
        indices = out.indices * torch.tensor([1, stride, stride, stride]) - shift
        rows = {tuple(row): number for number, row in enumerate(arrays['output_coordinates'].tolist())}
        order = [rows[tuple(row)] for row in indices.tolist()]
        assert relative(out.features, arrays['output'][order]) < 2e-7
        (out.features * torch.from_numpy(arrays['cotangent'])[order]).sum().backward()
        assert relative(features.grad, arrays['grad_input']) < 2e-7
        wanted = from_minkowski('a.kernel', torch.from_numpy(arrays['grad::kernel']).double())
        assert relative(layer.weight.grad, wanted) < 2e-7


def test_up_convolution_equals_minkowski_engine(golden):
    """It fills the voxels that a strided convolution came from."""
    arrays = golden('minkowski_conv_transpose_k2_s2')
    fine, coarse = shifted(arrays['output_coordinates']), torch.from_numpy(arrays['coordinates'])
    shift = (fine - torch.from_numpy(arrays['output_coordinates']))[0]
    down = SparseConv3d(1, 1, 2, 2, bias=False, indice_key='a').double()
    up = SparseInverseConv3d(8, 10, 2, bias=False, indice_key='a').double()
    with torch.no_grad():
        up.weight.copy_(from_minkowski('a.kernel', torch.from_numpy(arrays['weight::kernel']).double()))
    shape = padded_shape(fine[:, 1:].amax(0) + 1, 16)
    ones = torch.ones(len(fine), 1, dtype=torch.float64)
    x = down(SparseConvTensor(ones, fine, shape, int(fine[:, 0].max()) + 1))
    rows = {tuple(row): number for number, row in enumerate((coarse + shift).tolist())}
    order = [rows[tuple(row)] for row in (x.indices * torch.tensor([1, 2, 2, 2])).tolist()]
    features = torch.from_numpy(arrays['input']).double().requires_grad_()
    out = up(x.replace_feature(features[order]))
    assert relative(out.features, arrays['output']) < 2e-7
    (out.features * torch.from_numpy(arrays['cotangent'])).sum().backward()
    assert relative(features.grad, arrays['grad_input']) < 2e-7
    assert (
        relative(up.weight.grad, from_minkowski('a.kernel', torch.from_numpy(arrays['grad::kernel']).double())) < 2e-7
    )


# without golden vectors: a dense network


def dense_volume(features: Tensor, coords: Tensor, shape: list[int]) -> Tensor:
    """(scans, C, X, Y, Z), zero where no voxel is."""
    volume = features.new_zeros(int(coords[:, 0].max()) + 1, features.shape[1], *shape)
    scan, *xyz = coords.long().T
    volume[(scan, slice(None), *xyz)] = features
    return volume


class Dense:
    """Res16UNet by dense convolutions that are masked by the occupied voxels."""

    def __init__(self, network: Res16UNet, shape: list[int]) -> None:
        self.network = network
        self.shape = shape

    def __call__(self, features: Tensor, coords: Tensor) -> Tensor:
        """Features of the voxels, in evaluation mode."""
        net = self.network
        x = dense_volume(features, coords, self.shape)
        mask = dense_volume(torch.ones_like(features[:, :1]), coords, self.shape)
        masks, skips = [mask], []
        x = self.norm(self.conv(x, net.conv0p1s1), net.bn0, mask)
        for i in range(4):
            skips.append(x)
            x = F.conv3d(x, self.kernel(getattr(net, f'conv{i + 1}p{2**i}s2')), stride=2)
            masks.append(F.max_pool3d(masks[-1], 2))
            x = self.norm(x, getattr(net, f'bn{i + 1}'), masks[-1])
            x = self.blocks(x, getattr(net, f'block{i + 1}'), masks[-1])
        for i in range(4, 8):
            up = getattr(net, f'convtr{i}p{2 ** (8 - i)}s2')
            masks.pop()
            x = F.conv_transpose3d(x, self.kernel(up).transpose(0, 1), stride=2)
            x = self.norm(x, getattr(net, f'bntr{i}'), masks[-1])
            x = self.blocks(torch.cat((x, skips.pop()), dim=1), getattr(net, f'block{i + 1}'), masks[-1])
        scan, *xyz = coords.long().T
        return x[(scan, slice(None), *xyz)]

    @staticmethod
    def kernel(layer) -> Tensor:
        """(out, in, K, K, K)."""
        weight = layer.weight
        if weight.shape[1] == 1:
            return weight.view(weight.shape[-1], -1).T[..., None, None, None]
        return weight.permute(0, 4, 1, 2, 3)

    def conv(self, x: Tensor, layer) -> Tensor:
        return F.conv3d(x, self.kernel(layer), padding=layer.weight.shape[1] // 2)

    @staticmethod
    def norm(x: Tensor, norm: nn.BatchNorm1d, mask: Tensor, relu: bool = True) -> Tensor:
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return (x.relu() if relu else x) * mask

    def blocks(self, x: Tensor, blocks, mask: Tensor) -> Tensor:
        for block in blocks:
            shortcut = x
            if block.downsample is not None:
                shortcut = self.norm(self.conv(x, block.downsample[0]), block.downsample[1], mask, relu=False)
            out = self.norm(self.conv(x, block.conv1), block.norm1, mask)
            x = (self.norm(self.conv(out, block.conv2), block.norm2, mask, relu=False) + shortcut).relu()
        return x


def random_voxels(seed: int = 0, number: int = 120, extent: int = 21) -> Tensor:
    """Int32 (M, 4), two scans, sorted."""
    generator = torch.Generator().manual_seed(seed)
    coords = torch.randint(extent, (2, number, 3), generator=generator)
    scans = [torch.unique(scan, dim=0) for scan in coords]
    scans = [F.pad(scan, (1, 0), value=number) for number, scan in enumerate(scans)]
    return torch.cat(scans).int()


@pytest.mark.parametrize('stem_kernel', [3, 5])
def test_equals_a_dense_network(stem_kernel):
    torch.manual_seed(0)
    network = Res16UNet(**{**NARROW, 'stem_kernel': stem_kernel}).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    network.eval()
    coords = random_voxels()
    features = torch.randn(len(coords), 2, dtype=torch.float64)
    out = network(features, coords)
    wanted = Dense(network, padded_shape(coords[:, 1:].amax(0) + 1, 16))(features, coords)
    torch.testing.assert_close(out, wanted)
    assert out.std() > 1e-3


def test_normalizations_have_the_published_momenta():
    network = Res16UNet(**NARROW, norm_momentum=0.02)
    momenta = {name: m.momentum for name, m in network.named_modules() if isinstance(m, nn.BatchNorm1d)}
    within = {name for name in momenta if name.endswith(('norm1', 'norm2'))}
    assert {momenta[name] for name in within} == {0.1}
    assert {momenta[name] for name in momenta.keys() - within} == {0.02}
    assert any('downsample' in name for name in momenta.keys() - within)


def test_initial_kernels_are_those_of_minkowski_engine():
    torch.manual_seed(0)
    network = Res16UNet()
    layers = {network.block4[1].conv1: 256 * 27, network.conv2p2s2: 32 * 8, network.convtr5p8s2: 128 * 8}
    layers |= {network.conv0p1s1: 27, network.block2[0].downsample[0]: 32}
    for layer, channels in layers.items():
        bound = channels**-0.5
        assert layer.weight.abs().max() <= bound
        assert float(layer.weight.std()) == pytest.approx(bound / 3**0.5, rel=0.04)


@pytest.mark.parametrize(
    'settings, text',
    [
        (dict(channels=(32, 64)), 'eight numbers'),
        (dict(layers=(2, 2, 2)), 'eight numbers'),
        (dict(stem_kernel=2), 'odd size'),
    ],
)
def test_wrong_settings(settings, text):
    with pytest.raises(ConfigError, match=text):
        Res16UNet(**settings)


def test_shape_is_a_whole_number_of_strides():
    assert padded_shape(torch.tensor([1, 16, 17]), 16) == [16, 16, 32]
    assert padded_shape([5, 8], 1) == [5, 8]


def test_shift_is_a_whole_number_of_strides():
    coords = torch.tensor([[-17, 3, 40], [5, -1, 33]])
    torch.testing.assert_close(shifted_to_grid(coords, 16), torch.tensor([[15, 19, 8], [37, 15, 1]]))


def test_layers_of_a_student_and_autocast():
    torch.manual_seed(0)
    student = MODELS.build(
        dict(
            type='peridot.SparseUNetStudent',
            backbone=dict(type='peridot.Res16UNet', **{**NARROW, 'in_channels': 1}),
            voxel_size=(0.5, 0.5, 0.5),
            coordinates='cartesian',
        )
    )
    assert student.out_channels == 6
    clouds = [torch.randn(200, 4) * 5, torch.randn(150, 4) * 5]
    student.eval()
    features = student(clouds).at(torch.arange(350))
    layers = student.layers(clouds)
    assert list(layers) == [f'{part}{i}' for part in ('encoder', 'decoder') for i in range(4)]
    torch.testing.assert_close(layers['decoder3'].at(torch.arange(350)), features)
    assert layers['encoder0'].at(torch.arange(350)).shape == (350, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = student(clouds).at(torch.arange(350))
    assert relative(half.float(), features.detach()) < 0.05


def test_gradients_under_autocast():
    torch.manual_seed(0)
    network, coords = Res16UNet(**NARROW), random_voxels()
    features = torch.randn(len(coords), 2)

    def gradients(half: bool) -> dict[str, Tensor]:
        network.zero_grad()
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
            network(features, coords).float().square().mean().backward()
        return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}

    exact, half = gradients(False), gradients(True)
    for name, value in half.items():
        assert value.dtype == torch.float32 and value.isfinite().all(), name
    # two convolutions that are not multiplied by zero anywhere
    for name in ('block8.0.conv2.weight', 'convtr7p2s2.weight'):
        assert relative(half[name], exact[name]) < 0.1, name


def test_copies_and_synchronized_statistics():
    network = Res16UNet(**NARROW, norm_momentum=0.02)
    twin = copy.deepcopy(network)
    coords = random_voxels()
    features = torch.randn(len(coords), 2)
    torch.testing.assert_close(twin.eval()(features, coords), network.eval()(features, coords))
    norms = [m for m in nn.SyncBatchNorm.convert_sync_batchnorm(twin).modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(norms) == sum(isinstance(m, nn.BatchNorm1d) for m in network.modules())
    assert {norm.momentum for norm in norms} == {0.02, 0.1}


def test_weights_of_init_cfg_are_loaded(tmp_path):
    network = Res16UNet(**NARROW)
    kernels = {name for name, module in network.named_modules() if isinstance(module, CONVOLUTIONS)}
    state = exported_state(network.state_dict(), {f'{name}.weight' for name in kernels})
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value in state.items()}), tmp_path / 'weights.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'), prefix='backbone.')
    other = Res16UNet(**NARROW, init_cfg=init)
    other.init_weights()
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_order_of_scans_does_not_matter():
    network = Res16UNet(**NARROW).double().eval()
    coords = random_voxels()
    features = torch.randn(len(coords), 2, dtype=torch.float64)
    order = torch.randperm(len(coords))
    torch.testing.assert_close(network(features[order], coords[order]), network(features, coords)[order])


def test_networks_of_another_stride_are_refused():
    five = dict(num_stages=5, encoder_channels=[4] * 5, encoder_blocks=[1] * 5, decoder_channels=[4] * 5)
    settings = dict(type='MinkUNetBackbone', in_channels=1, base_channels=4, decoder_blocks=[1] * 5, **five)
    with pytest.raises(ConfigError, match='total stride of 32'):
        MODELS.build(dict(type='peridot.SparseUNetStudent', backbone=dict(settings, sparseconv_backend='spconv')))


def test_kernels_of_a_collapsed_batch_stay_in_training(monkeypatch):
    """In evaluation mode spconv computes no gradients on GPUs."""
    student = MODELS.build(dict(type='peridot.SparseUNetStudent', backbone=dict(type='peridot.Res16UNet', **NARROW)))
    student.feature_columns = [2, 3]
    modes = {}
    for name, module in student.named_modules():
        if isinstance(module, (*CONVOLUTIONS, nn.BatchNorm1d)):
            module.register_forward_hook(lambda m, args, out, key=name: modes.update({key: (type(m), m.training)}))
    student.train()
    student([torch.tensor([[1.0, 1.0, 0.0, 5.0]])]).at(torch.arange(1)).sum().backward()
    assert {training for kind, training in modes.values() if kind is nn.BatchNorm1d} == {False}
    assert {training for kind, training in modes.values() if kind is not nn.BatchNorm1d} == {True}
    assert all(module.training for module in student.modules())

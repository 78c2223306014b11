"""Foreign weights give the same outputs in mmdet3d as in networks written here after the foreign programs.

The networks here are slow and naive; their parameters carry the names and the layout of the foreign programs.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import spconv.pytorch as spconv
import torch
from mmdet3d.models import MinkUNetBackbone
from mmengine.config import Config
from mmengine.runner.checkpoint import load_checkpoint
from peridot.errors import CheckpointError
from peridot.models.students import DetectorTrunk
from peridot.weights import convert_checkpoint, literal_config, verify_loading, write_openpcdet
from tiny import SECOND
from torch import Tensor, nn

REPO = Path(__file__).resolve().parents[2]


def soften(network: nn.Module) -> nn.Module:
    """Random weights and batch statistics of moderate size."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            fan_in = value[0].numel() if value.ndim > 1 else 1
            positive = 'var' in name or (value.ndim == 1 and 'weight' in name)
            value.copy_(noise.abs() * 0.3 + 0.5 if positive else noise / fan_in**0.5)
    return network.eval()


# torchsparse: tensors are pairs of features (N, C) and coordinates, a list of (scan, x, y, z)


def offsets(size: int) -> list[tuple[int, int, int]]:
    """torchsparse's order of the offsets of a kernel."""
    if size % 2:
        return [(x, y, z) for z in range(-1, 2) for y in range(-1, 2) for x in range(-1, 2)]
    return [(x, y, z) for x in range(2) for y in range(2) for z in range(2)]


class Conv3d(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.kernel = nn.Parameter(torch.zeros(size**3, inputs, outputs) if size > 1 else torch.zeros(inputs, outputs))

    def forward(self, features: Tensor, pairs: list[tuple[int, int, int]], rows: int) -> Tensor:
        """Sum over pairs (kernel offset, row of the input, row of the output)."""
        if self.size == 1:
            return features @ self.kernel
        out = features.new_zeros(rows, self.kernel.shape[-1])
        for k, i, o in pairs:
            out[o] += features[i] @ self.kernel[k]
        return out


class ConvModule(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Conv3d(inputs, outputs, size), nn.BatchNorm1d(outputs), nn.ReLU())

    def forward(self, features: Tensor, pairs: list, rows: int) -> Tensor:
        conv, norm, act = self.net
        return act(norm(conv(features, pairs, rows)))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        conv, norm = Conv3d(inputs, outputs, 3), nn.BatchNorm1d(outputs)
        self.net = nn.Sequential(conv, norm, nn.ReLU(), Conv3d(outputs, outputs, 3), nn.BatchNorm1d(outputs))
        self.downsample = nn.Identity()
        if inputs != outputs:
            self.downsample = nn.Sequential(Conv3d(inputs, outputs, 1), nn.BatchNorm1d(outputs))

    def forward(self, features: Tensor, pairs: list, rows: int) -> Tensor:
        first, norm1, act, second, norm2 = self.net
        out = norm2(second(act(norm1(first(features, pairs, rows))), pairs, rows))
        short = features
        if not isinstance(self.downsample, nn.Identity):
            short = self.downsample[1](self.downsample[0](features, pairs, rows))
        return torch.relu(out + short)


class TorchSparseUNet(nn.Module):
    """mmdet3d's MinkUNetBackbone as torchsparse computes it, with different numbers of channels everywhere."""

    encoder_channels, decoder_channels = [5, 6, 7, 8], [9, 10, 11, 12]
    encoder_blocks, decoder_blocks = [2, 1, 1, 1], [1, 2, 1, 1]

    def __init__(self) -> None:
        super().__init__()
        self.conv_input = nn.Sequential(ConvModule(3, 4, 3), ConvModule(4, 4, 3))
        wide, narrow = [4, *self.encoder_channels], [self.encoder_channels[-1], *self.decoder_channels]
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for i in range(4):
            blocks = [BasicBlock(wide[i + (j > 0)], wide[i + 1]) for j in range(self.encoder_blocks[i])]
            self.encoder.append(nn.Sequential(ConvModule(wide[i], wide[i], 2), *blocks))
            joined = narrow[i + 1] + wide[-2 - i]
            blocks = [
                BasicBlock(joined if j == 0 else narrow[i + 1], narrow[i + 1]) for j in range(self.decoder_blocks[i])
            ]
            self.decoder.append(nn.ModuleList([ConvModule(narrow[i], narrow[i + 1], 2), nn.Sequential(*blocks)]))

    def forward(self, x: Tensor, coords: list[tuple[int, ...]]) -> Tensor:
        levels, same, down = [coords], [], []
        for level in range(5):
            own, stride = levels[level], 2**level
            row = {c: i for i, c in enumerate(own)}
            around = [(k, [stride * d for d in offset]) for k, offset in enumerate(offsets(3))]
            near = [(k, (c[0], c[1] + d[0], c[2] + d[1], c[3] + d[2]), o) for o, c in enumerate(own) for k, d in around]
            same.append([(k, row[c], o) for k, c, o in near if c in row])
            parents = sorted({(c[0], *(v // (2 * stride) * 2 * stride for v in c[1:])) for c in own})
            inside = [(k, [stride * d for d in offset]) for k, offset in enumerate(offsets(2))]
            near = [
                (k, (c[0], c[1] + d[0], c[2] + d[1], c[3] + d[2]), o) for o, c in enumerate(parents) for k, d in inside
            ]
            down.append([(k, row[c], o) for k, c, o in near if c in row])
            levels.append(parents)
        for module in self.conv_input:
            x = module(x, same[0], len(coords))
        laterals = [x]
        for i, (first, *blocks) in enumerate(self.encoder):
            x = first(x, down[i], len(levels[i + 1]))
            for block in blocks:
                x = block(x, same[i + 1], len(levels[i + 1]))
            laterals.append(x)
        for i, (first, blocks) in enumerate(self.decoder):
            level = 3 - i
            x = first(x, [(k, o, n) for k, n, o in down[level]], len(levels[level]))
            x = torch.cat((x, laterals[level]), dim=1)
            for block in blocks:
                x = block(x, same[level], len(levels[level]))
        return x


@pytest.fixture(scope='module')
def torchsparse_unet() -> TorchSparseUNet:
    return soften(TorchSparseUNet())


def saved(tmp_path: Path, state: dict, **others) -> Path:
    torch.save(dict(state_dict=state, **others), tmp_path / 'foreign.pth')
    return tmp_path / 'foreign.pth'


def torchsparse_state(network: nn.Module, head: int = 12) -> dict:
    state = {f'backbone.{name}': value for name, value in network.state_dict().items()}
    return {**state, 'decode_head.conv_seg.weight': torch.ones(19, head), 'decode_head.conv_seg.bias': torch.ones(19)}


@torch.no_grad()
def test_torchsparse_minkunet_gives_the_same_features(torchsparse_unet, tmp_path):
    source = saved(tmp_path, torchsparse_state(torchsparse_unet))
    assert convert_checkpoint(source, tmp_path / 'backbone.pth')[0] == 'mmdet3d-torchsparse'
    model = nn.Module()
    model.backbone = MinkUNetBackbone(
        in_channels=3,
        base_channels=4,
        encoder_channels=TorchSparseUNet.encoder_channels,
        encoder_blocks=TorchSparseUNet.encoder_blocks,
        decoder_channels=TorchSparseUNet.decoder_channels,
        decoder_blocks=TorchSparseUNet.decoder_blocks,
        sparseconv_backend='spconv',
    ).eval()
    load_checkpoint(model, str(tmp_path / 'backbone.pth'), map_location='cpu')
    assert verify_loading(model, tmp_path / 'backbone.pth').fraction == 1

    rng = np.random.default_rng(0)
    # about half of the cells of a flat box: nearly every offset of every kernel occurs, and no two axes are alike
    cells = [(scan, *cell) for scan in range(2) for cell in product(range(6), range(5), range(3))]
    cells = [cell for cell in cells if rng.random() < 0.5]
    features = torch.rand(len(cells), 3, generator=torch.Generator().manual_seed(0))
    expected = torchsparse_unet(features, cells)
    assert (expected.std(0) > 1e-3).sum() >= 10
    torch.testing.assert_close(
        model.backbone(features, torch.tensor(cells, dtype=torch.int32)), expected, rtol=1e-3, atol=1e-4
    )


def test_settings_are_read_from_the_config_in_a_checkpoint(torchsparse_unet, tmp_path):
    name = 'mmdet3d::minkunet/minkunet18_w32_torchsparse_8xb2-amp-15e_semantickitti.py'
    text = Config.fromstring(f'_base_ = {name!r}', '.py').pretty_text
    convert_checkpoint(saved(tmp_path, torchsparse_state(torchsparse_unet), meta=dict(cfg=text)), tmp_path / 'out.pth')
    meta = torch.load(tmp_path / 'out.pth', weights_only=True)['meta']
    assert meta['input_settings'] == dict(voxel_size=[0.05] * 3, coordinates='cartesian', feature_columns=[0, 1, 2])


def test_config_in_a_checkpoint_is_not_run(torchsparse_unet, tmp_path):
    text = f"model = open('{tmp_path}/ran', 'w')"
    with pytest.raises(ValueError, match='calls a function'):
        literal_config(text)
    convert_checkpoint(saved(tmp_path, torchsparse_state(torchsparse_unet), meta=dict(cfg=text)), tmp_path / 'out.pth')
    assert not (tmp_path / 'ran').exists()
    assert torch.load(tmp_path / 'out.pth', weights_only=True)['meta']['input_settings'] is None


# OpenPCDet


def norm(channels: int, dimensions: int) -> nn.Module:
    return (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm1d)(channels, eps=1e-3, momentum=0.01)


def sparse_block(inputs: int, outputs: int, key: str, stride=1, padding=1, size=3) -> nn.Module:
    if key.startswith('subm'):
        conv = spconv.SubMConv3d(inputs, outputs, 3, bias=False, indice_key=key)
    else:
        conv = spconv.SparseConv3d(inputs, outputs, size, stride, padding, bias=False, indice_key=key)
    return spconv.SparseSequential(conv, norm(outputs, 3), nn.ReLU())


class VoxelBackBone8x(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_input = sparse_block(4, 16, 'subm1')
        self.conv1 = spconv.SparseSequential(sparse_block(16, 16, 'subm1'))
        for i, (inputs, outputs) in enumerate([(16, 32), (32, 64), (64, 64)], 2):
            first = sparse_block(inputs, outputs, f'spconv{i}', 2, (0, 1, 1) if i == 4 else 1)
            others = [sparse_block(outputs, outputs, f'subm{i}') for _ in range(2)]
            setattr(self, f'conv{i}', spconv.SparseSequential(first, *others))
        self.conv_out = sparse_block(64, 128, 'spconv_down2', (2, 1, 1), 0, (3, 1, 1))


class BaseBEVBackbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.deblocks = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs, stride in ((256, 128, 1), (128, 256, 2)):
            layers = [nn.ZeroPad2d(1), nn.Conv2d(inputs, outputs, 3, stride, bias=False), norm(outputs, 2), nn.ReLU()]
            for _ in range(5):
                layers += [nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), norm(outputs, 2), nn.ReLU()]
            self.blocks.append(nn.Sequential(*layers))
            up = nn.ConvTranspose2d(outputs, 256, stride, stride, bias=False)
            self.deblocks.append(nn.Sequential(up, norm(256, 2), nn.ReLU()))


class OpenPCDetSECOND(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone_3d = VoxelBackBone8x()
        self.backbone_2d = BaseBEVBackbone()
        self.dense_head = nn.Linear(2, 2)

    def forward(self, features: Tensor, coords: Tensor, shape: list[int]) -> Tensor:
        x = spconv.SparseConvTensor(features, coords, shape, 2)
        for _, module in self.backbone_3d.named_children():
            x = module(x)
        x = x.dense().flatten(1, 2)
        ups = []
        for block, deblock in zip(self.backbone_2d.blocks, self.backbone_2d.deblocks):
            x = block(x)
            ups.append(deblock(x))
        return torch.cat(ups, dim=1)


@pytest.fixture(scope='module')
def pcdet_second() -> OpenPCDetSECOND:
    return soften(OpenPCDetSECOND())


def pcdet_file(network: nn.Module, path: Path, form: str) -> Path:
    """The file as OpenPCDet writes it, with spconv 1 or 2, or as ALSO's conversion does."""
    state = dict(network.state_dict())
    if form == 'spconv1':
        state = {k: v.permute(1, 2, 3, 4, 0).contiguous() if v.ndim == 5 else v for k, v in state.items()}
    if form == 'also':
        state = {f'model.{name}': value for name, value in state.items()}
    torch.save(state if form == 'also' else dict(model_state=state), path / 'foreign.pth')
    return path / 'foreign.pth'


@pytest.mark.parametrize('form', ['spconv1', 'spconv2', 'also'])
@torch.no_grad()
def test_openpcdet_second_gives_the_same_map(form, pcdet_second, tmp_path):
    assert convert_checkpoint(pcdet_file(pcdet_second, tmp_path, form), tmp_path / 'backbone.pth')[0] == 'also-second'
    model = DetectorTrunk(SECOND).eval()
    load_checkpoint(model, str(tmp_path / 'backbone.pth'), map_location='cpu')
    assert verify_loading(model, tmp_path / 'backbone.pth').fraction == 1

    generator = torch.Generator().manual_seed(0)
    shape = model.middle_encoder.sparse_shape = [41, 32, 48]
    coords = torch.nonzero(torch.rand(2, *shape, generator=generator) < 0.003).int()
    features = torch.rand(len(coords), 4, generator=generator)
    expected = pcdet_second(features, coords, shape)
    found = model.neck(model.backbone(model.middle_encoder(features, coords, 2)))[0]
    assert found.shape == (2, 512, 4, 6) and expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_trunk_goes_back_to_openpcdet(pcdet_second, tmp_path):
    source = pcdet_file(pcdet_second, tmp_path, 'spconv2')
    convert_checkpoint(source, tmp_path / 'backbone.pth')
    write_openpcdet(tmp_path / 'backbone.pth', tmp_path / 'openpcdet.pth')
    wanted, found = (torch.load(path)['model_state'] for path in (source, tmp_path / 'openpcdet.pth'))
    assert found.keys() == {name for name in wanted if name.startswith('backbone_')}
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    content = torch.load(tmp_path / 'backbone.pth')
    del content['state_dict']['neck.deblocks.0.0.weight']
    torch.save(content, tmp_path / 'part.pth')
    with pytest.raises(CheckpointError, match="is not that of SECOND's trunk on KITTI"):
        write_openpcdet(tmp_path / 'part.pth', tmp_path / 'out.pth')


def test_openpcdet_trunk_of_another_detector(pcdet_second, tmp_path):
    state = dict(pcdet_second.state_dict())
    state['backbone_3d.conv4.1.0.weight'] = torch.ones(128, 3, 3, 3, 64)
    torch.save(dict(model_state=state), tmp_path / 'foreign.pth')
    with pytest.raises(
        CheckpointError, match=r'encoder_layer4\.1\.0\.weight is .* in the file and \(64, 3, 3, 3, 64\)'
    ):
        convert_checkpoint(tmp_path / 'foreign.pth', tmp_path / 'backbone.pth')
    assert not (tmp_path / 'backbone.pth').exists()


KERNEL = torch.ones(27, 4, 4)


@pytest.mark.parametrize(
    'state, text',
    [
        ({'student.backbone.x': KERNEL}, r'tools/export_backbone\.py'),
        ({'backbone.conv_input.0.net.1.bn.running_mean': KERNEL}, 'MinkowskiEngine'),
        ({'backbone.point_transforms.0.0.weight': KERNEL}, 'SPVCNN'),
        ({'module.stem.0.kernel': KERNEL}, 'SPVNAS'),
        ({'backbone.conv_input.0.0.weight': KERNEL}, 'load_from as it is'),
        ({'encoder.weight': KERNEL}, r'something unknown, with tensors like encoder\.weight'),
        ({'backbone.conv_input.0.net.0.kernel': KERNEL}, 'MinkUNet of another shape'),
        ({}, 'none at all'),
    ],
)
def test_unsupported_file_is_named(state, text, tmp_path):
    with pytest.raises(CheckpointError, match=text) as error:
        convert_checkpoint(saved(tmp_path, state), tmp_path / 'backbone.pth')
    assert '\n' not in str(error.value) and 'foreign.pth is not converted' in str(error.value)
    assert not (tmp_path / 'backbone.pth').exists()


def test_relatives_of_the_torchsparse_minkunet_are_refused(torchsparse_unet, tmp_path):
    with pytest.raises(CheckpointError, match='MinkUNetV2'):
        convert_checkpoint(saved(tmp_path, torchsparse_state(torchsparse_unet, head=30)), tmp_path / 'out.pth')
    state = torchsparse_state(torchsparse_unet)
    state['backbone.encoder.0.1.net.6.kernel'] = KERNEL
    with pytest.raises(CheckpointError, match='bottleneck'):
        convert_checkpoint(saved(tmp_path, state), tmp_path / 'out.pth')
    state = torchsparse_state(torchsparse_unet)
    del state['backbone.decoder.2.1.0.net.4.running_var']
    with pytest.raises(CheckpointError, match=r'decoder\.2\.1\.0\.bn2\.running_var is absent in the file'):
        convert_checkpoint(saved(tmp_path, state), tmp_path / 'out.pth')


def test_file_of_another_kind_than_asked_for(torchsparse_unet, tmp_path):
    with pytest.raises(CheckpointError, match='looks like mmdet3d-torchsparse; supported: also-second'):
        convert_checkpoint(saved(tmp_path, torchsparse_state(torchsparse_unet)), tmp_path / 'out.pth', 'also-second')


def test_tool(torchsparse_unet, tmp_path, run_tool, capsys):
    source, out = saved(tmp_path, torchsparse_state(torchsparse_unet)), tmp_path / 'out.pth'
    run_tool('convert_checkpoint', source, '--out', out)
    assert capsys.readouterr().out == f'written: {out} (mmdet3d-torchsparse)\n' and out.is_file()
    saved(tmp_path, {'stem.0.kernel': KERNEL})
    with pytest.raises(SystemExit) as end:
        run_tool('convert_checkpoint', source, '--out', out)
    assert str(end.value).startswith(f'error: {source} is not converted: it looks like a MinkUNet of torchsparse')

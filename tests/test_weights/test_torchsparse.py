"""MinkUNets of torchsparse's programs compute the same in mmdet3d or in our Res16UNet as in a network written here.

The network here is slow and naive: tensors are pairs of features (N, C) and coordinates, a list of (scan, x, y, z).
Its parameters carry the names of mmdet3d's network on torchsparse and the layout of torchsparse or MinkowskiEngine.
"""

import re
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.models import MinkUNetBackbone
from mmengine.config import Config
from mmengine.runner.checkpoint import load_checkpoint
from packaging.version import Version
from peridot.errors import CheckpointError
from peridot.models.backbones import Res16UNet
from peridot.weights import convert_checkpoint, literal_config, other_intensities, verify_loading
from peridot.weights.convert import UNKNOWN_VOXELS
from peridot.weights.torchsparse import from_torchsparse
from spconv.pytorch import SparseConv3d, SparseConvTensor, SparseInverseConv3d, SubMConv3d
from tiny import EasyDict, easydict_installed, older, saved, soften, without
from torch import Tensor, nn
from torch.nn import functional as F

KERNEL = torch.ones(27, 4, 4)


def offsets(size: int, minkowski: bool = False) -> list[tuple[int, int, int]]:
    """The order of the offsets of a kernel: torchsparse's, or MinkowskiEngine's."""
    if size % 2:
        return [(x, y, z) for z in range(-1, 2) for y in range(-1, 2) for x in range(-1, 2)]
    if minkowski:
        return [(x, y, z) for z in range(2) for y in range(2) for x in range(2)]
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


class NaiveUNet(nn.Module):
    """The network that all these programs share, with different numbers of channels everywhere."""

    encoder_channels, decoder_channels = [5, 6, 7, 8], [9, 10, 11, 12]
    encoder_blocks, decoder_blocks = [2, 1, 1, 1], [1, 2, 1, 1]

    def __init__(self, stem: int, minkowski: bool) -> None:
        super().__init__()
        self.minkowski = minkowski
        self.conv_input = nn.Sequential(*(ConvModule(4 if i else 3, 4, 3) for i in range(stem)))
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
            inside = [(k, [stride * d for d in offset]) for k, offset in enumerate(offsets(2, self.minkowski))]
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


@cache
def voxels() -> tuple[Tensor, list[tuple[int, ...]]]:
    """Features and coordinates of about half of the cells of a flat box.

    Nearly every offset of every kernel occurs, and no two axes are alike.
    """
    rng = np.random.default_rng(0)
    cells = [(scan, *cell) for scan in range(2) for cell in product(range(6), range(5), range(3))]
    cells = [cell for cell in cells if rng.random() < 0.5]
    return torch.rand(len(cells), 3, generator=torch.Generator().manual_seed(0)), cells


@cache
def unet(stem: int = 2, minkowski: bool = False) -> NaiveUNet:
    return soften(NaiveUNet(stem, minkowski))


@cache
@torch.no_grad()
def expected(stem: int, minkowski: bool) -> Tensor:
    return unet(stem, minkowski)(*voxels())


def foreign(network: NaiveUNet, rules: list[tuple[str, str]], prefix: str) -> dict[str, Tensor]:
    """The network's tensors under another program's names."""
    state = {}
    for name, value in network.state_dict().items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        state[prefix + name] = value
    return state


def mmdet3d(network: NaiveUNet, head: int = 12) -> dict[str, Tensor]:
    state = foreign(network, [], 'backbone.')
    return {**state, 'decode_head.conv_seg.weight': torch.ones(19, head), 'decode_head.conv_seg.bias': torch.ones(19)}


def spvnas(network: NaiveUNet, prefix: str = '', head: str = 'classifier') -> dict[str, Tensor]:
    """Names of ALSO and BEVContrast; on MinkowskiEngine normalization wraps another module."""
    rules = [
        (r'^conv_input\.0\.net\.', 'stem.'),
        (r'^conv_input\.1\.net\.0\.', 'stem.3.'),
        (r'^conv_input\.1\.net\.1\.', 'stem.4.'),
        *((rf'^encoder\.{i}\.', f'stage{i + 1}.') for i in range(4)),
        *((rf'^decoder\.{i}\.', f'up{i + 1}.') for i in range(4)),
    ]
    if network.minkowski:
        rules.append((r'\.(weight|bias|running_mean|running_var|num_batches_tracked)$', r'.bn.\1'))
    return {**foreign(network, rules, prefix), f'{prefix}{head}.0.weight': torch.ones(128, 12)}


def superflow(network: NaiveUNet, prefix: str) -> dict[str, Tensor]:
    """Names of SuperFlow and LiMoE."""
    rules = [
        (r'^conv_input\.', 'conv0.'),
        *((rf'^encoder\.{i}\.0\.', f'conv{i + 1}.') for i in range(4)),
        *((rf'^decoder\.{i}\.0\.', f'conv{i + 5}.') for i in range(4)),
        *((rf'^encoder\.{i}\.{j + 1}\.', f'block{i + 1}.{j}.') for i in range(4) for j in range(2)),
        *((rf'^decoder\.{i}\.1\.', f'block{i + 5}.') for i in range(4)),
        *(
            (rf'^(block.*)\.net\.{i}\.', rf'\1.{new}.')
            for i, new in enumerate(('conv1', 'norm1', '', 'conv2', 'norm2'))
        ),
        (r'(net|downsample)\.0\.', r'\1.conv.'),
        (r'(net|downsample)\.1\.', r'\1.norm.'),
        (r'\.net\.', '.'),
    ]
    return foreign(network, rules, prefix)


FORMS = {
    'mmdet3d': ('mmdet3d-torchsparse', 2, False, mmdet3d),
    'ALSO, SemanticKITTI': ('spvnas', 2, False, spvnas),
    'ALSO, nuScenes': ('spvnas', 1, False, spvnas),
    'BEVContrast, nuScenes': ('spvnas', 1, False, lambda network: spvnas(network, 'encoder.')),
    'BEVContrast, SemanticKITTI': ('spvnas', 2, True, lambda network: spvnas(network, 'encoder.', 'final')),
    'SuperFlow': (
        'superflow',
        2,
        False,
        lambda network: {
            **superflow(network, 'backbone_3d.'),
            'head_3d.cls_seg.weight': torch.ones(64, 12),
            'backbone_2d.encoder.norm.weight': torch.ones(3),
        },
    ),
    'SuperFlow, fine-tuned': ('superflow', 2, False, lambda network: superflow(network, 'backbone.')),
    'SuperFlow, weights alone': ('superflow', 2, False, lambda network: superflow(network, '')),
}


def segmentor(stem: int) -> nn.Module:
    """A network with the backbone that reads the converted file."""
    network = nn.Module()
    blocks = dict(encoder_blocks=[*NaiveUNet.encoder_blocks], decoder_blocks=[*NaiveUNet.decoder_blocks])
    encoder, decoder = [*NaiveUNet.encoder_channels], [*NaiveUNet.decoder_channels]
    if stem == 1:
        layers = blocks['encoder_blocks'] + blocks['decoder_blocks']
        network.backbone = Res16UNet(3, 4, encoder + decoder, layers)
    else:
        channels = dict(base_channels=4, encoder_channels=encoder, decoder_channels=decoder, **blocks)
        network.backbone = MinkUNetBackbone(in_channels=3, sparseconv_backend='spconv', **channels)
    return network.eval()


@pytest.mark.parametrize('form', FORMS)
@torch.no_grad()
def test_features_are_the_same(form, tmp_path):
    kind, stem, minkowski, named = FORMS[form]
    source = saved(tmp_path, named(unet(stem, minkowski)))
    assert convert_checkpoint(source, tmp_path / 'backbone.pth')[0] == kind
    model = segmentor(stem)
    if form == 'mmdet3d':
        model.decode_head = nn.ModuleDict(dict(conv_seg=nn.Linear(12, 19)))
    load_checkpoint(model, str(tmp_path / 'backbone.pth'), map_location='cpu')
    assert verify_loading(model, tmp_path / 'backbone.pth').fraction == 1
    features, cells = voxels()
    wanted = expected(stem, minkowski)
    assert (wanted.std(0) > 1e-3).sum() >= 10
    found = model.backbone(features, torch.tensor(cells, dtype=torch.int32))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def nested(size: int) -> list[tuple[int, ...]]:
    """Offsets as torchsparse 1.4 and 2.0 list them: loops over the axes, the last axis outermost for odd kernels."""
    steps = range(-(size - 1) // 2 if size % 2 else 0, size // 2 + 1)
    return [offset[::-1] if size % 2 else offset for offset in product(steps, repeat=3)]


def counted(size: int) -> list[tuple[int, ...]]:
    """Offsets as torchsparse 2.1 counts them: digits of the row, the first axis the last digit for odd kernels."""
    shift = (size - 1) // 2 if size % 2 else 0
    digits = [(row % size, row // size % size, row // size**2) for row in range(size**3)]
    return [tuple(d - shift for d in (digit if size % 2 else digit[::-1])) for digit in digits]


@pytest.mark.parametrize('order', [nested, counted], ids=['1.4, 2.0', '2.1'])
@pytest.mark.parametrize('layer', ['3', '5', '2, stride 2', '2, stride 2, transposed', '1'])
@torch.no_grad()
def test_kernels_are_those_of_a_dense_convolution(layer, order):
    size, transposed = int(layer[0]), 'transposed' in layer
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(size**3, 4, 3, generator=generator)
    dense = torch.zeros(3, 4, size, size, size)
    for row, offset in zip(kernel, order(size)):
        place = [o + (size - 1) // 2 if size % 2 else o for o in offset]
        dense[(slice(None), slice(None), *place)] = row.T
    # every cell of a box is occupied; no two edges are alike
    shape = (2, 3, 4) if transposed else (4, 6, 8)
    x = torch.randn(1, 4, *shape, generator=generator)
    if transposed:
        wanted = F.conv_transpose3d(x, dense.transpose(0, 1), stride=2)
    else:
        wanted = F.conv3d(x, dense, stride=1 if size % 2 else 2, padding=size // 2 if size % 2 else 0)

    cells = torch.tensor([(0, *cell) for cell in product(range(4), range(6), range(8))], dtype=torch.int32)
    weight = from_torchsparse('conv.kernel', kernel if size > 1 else kernel[0])
    sparse = SparseConvTensor(torch.ones(len(cells), 4), cells, [4, 6, 8], 1)
    conv = SubMConv3d(4, 3, size, bias=False) if size % 2 else SparseConv3d(4, 3, 2, 2, bias=False, indice_key='down')
    if transposed:
        sparse = conv(sparse)
        conv = SparseInverseConv3d(4, 3, 2, bias=False, indice_key='down')
    conv.weight.copy_(weight)
    _, *place = sparse.indices.long().T
    found = conv(sparse.replace_feature(x[(0, slice(None), *place)].T)).dense()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'form, notes',
    [
        ('mmdet3d', ['decode_head.conv_seg of 19 classes is kept', UNKNOWN_VOXELS]),
        ('ALSO, SemanticKITTI', ['left out: classifier.*', UNKNOWN_VOXELS]),
        (
            'BEVContrast, nuScenes',
            [
                'left out: classifier.*',
                "its stem has one convolution, mmdet3d's has two: it fits peridot.Res16UNet",
                UNKNOWN_VOXELS,
            ],
        ),
        ('BEVContrast, SemanticKITTI', ['left out: final.*', UNKNOWN_VOXELS]),
        ('SuperFlow', ['left out: head_3d.*, backbone_2d.*', UNKNOWN_VOXELS]),
        ('SuperFlow, weights alone', [UNKNOWN_VOXELS]),
    ],
)
def test_notes_say_what_is_left_out(form, notes, tmp_path):
    _, stem, minkowski, named = FORMS[form]
    source = saved(tmp_path, named(unet(stem, minkowski)))
    assert convert_checkpoint(source, tmp_path / 'backbone.pth')[1] == notes


def settings(folder: Path, state: dict, **others) -> dict | None:
    """What a converted file says about its voxels; its notes say so if it says nothing."""
    _, notes = convert_checkpoint(saved(folder, dict(state_dict=state, **others)), folder / 'out.pth')
    found = torch.load(folder / 'out.pth', weights_only=True)['meta']['input_settings']
    assert (UNKNOWN_VOXELS in notes) == (found is None)
    return found


def test_settings_are_read_from_the_config_in_a_checkpoint(tmp_path):
    name = 'mmdet3d::minkunet/minkunet18_w32_torchsparse_8xb2-amp-15e_semantickitti.py'
    text = Config.fromstring(f'_base_ = {name!r}', '.py').pretty_text
    known = dict(voxel_size=[0.05] * 3, coordinates='cartesian', feature_columns=[0, 1, 2])
    assert settings(tmp_path, mmdet3d(unet()), meta=dict(cfg=text)) == known
    text = "model = dict(data_preprocessor=dict(voxel_size=[0.1, 1, 0.1], voxel_type='cylinder'))"
    known = dict(voxel_size=[0.1, 1, 0.1], coordinates='cylindrical', feature_columns=[0, 1, 2])
    assert settings(tmp_path, superflow(unet(), 'backbone_3d.'), meta=dict(cfg=text)) == known
    assert settings(tmp_path, mmdet3d(unet()), meta=dict(cfg=text.replace('cylinder', 'hard'))) is None


def test_settings_of_bevcontrast(tmp_path):
    state = spvnas(unet(minkowski=True), 'encoder.', 'final')
    known = dict(voxel_size=[0.05] * 3, coordinates='cartesian', feature_columns=[0, 1, 2])
    assert settings(tmp_path, state, config=dict(DATASET=dict(VOXEL_SIZE=0.05))) == known
    state['encoder.stem.0.kernel'] = state['encoder.stem.0.kernel'][:, :1]
    assert settings(tmp_path, state, config=dict(DATASET=dict(VOXEL_SIZE=0.05))) == {**known, 'feature_columns': [3]}
    assert settings(tmp_path, state, config=dict(DATASET=dict(VOXEL_SIZE=[0.05, 0.05, 0.1]))) is None


def test_config_in_a_checkpoint_is_not_run(tmp_path):
    text = f"model = open('{tmp_path}/ran', 'w')"
    with pytest.raises(ValueError, match='calls a function'):
        literal_config(text)
    assert settings(tmp_path, mmdet3d(unet()), meta=dict(cfg=text)) is None
    assert not (tmp_path / 'ran').exists()


def test_networks_of_the_intensity_learned_it_divided(tmp_path):
    state = spvnas(unet(1))
    assert convert_checkpoint(saved(tmp_path, state), tmp_path / 'xyz.pth')[1][-2].startswith('its stem has one')
    state['stem.0.kernel'] = state['stem.0.kernel'][:, :1]
    _, notes = convert_checkpoint(saved(tmp_path, state), tmp_path / 'intensity.pth')
    assert "it learned nuScenes' intensities divided by 255: set LoadPoints intensity_scale=255" in notes
    features, none = (
        torch.load(tmp_path / f'{name}.pth', weights_only=True)['meta']['input_features']
        for name in ('intensity', 'xyz')
    )
    assert none is None and 'intensities up to 1, ' in other_intensities(features, [torch.full((2, 4), 200.0)])
    assert other_intensities(features, [torch.full((2, 4), 0.8)]) is None


@pytest.mark.skipif(Version(torch.__version__) < Version('2.6'), reason='older versions of torch read no EasyDict')
def test_file_with_an_easydict(tmp_path):
    with easydict_installed():
        config = EasyDict(DATASET=EasyDict(VOXEL_SIZE=0.05))
        found = settings(tmp_path, spvnas(unet(minkowski=True), 'encoder.', 'final'), config=config)
    assert found['voxel_size'] == [0.05] * 3


REFUSED = {
    'MinkUNetV2': (lambda: mmdet3d(unet(), head=30), 'MinkUNetV2'),
    'bottleneck': (lambda: {**mmdet3d(unet()), 'backbone.encoder.0.1.net.6.kernel': KERNEL}, 'bottleneck'),
    'bottleneck of SuperFlow': (
        lambda: {**superflow(unet(), 'backbone.'), 'backbone.block1.0.conv3.kernel': KERNEL},
        r'bottleneck blocks \(block1\.0\.conv3\.kernel\)',
    ),
    'a tensor is missing': (
        lambda: without(mmdet3d(unet()), 'decoder.2.1.0.net.4.running_var'),
        r'decoder\.2\.1\.0\.bn2\.running_var is absent in the file',
    ),
    'a tensor of our network is missing': (
        lambda: without(spvnas(unet(1)), 'stage2.0.net.1.bias'),
        r'taken for spvnas, but backbone\.bn2\.bias is absent in the file and \(5,\) in the network',
    ),
    'a level is missing': (
        lambda: without(spvnas(unet()), 'up3.'),
        r'of another shape: it has no backbone\.decoder\.2',
    ),
    'three convolutions': (
        lambda: {**spvnas(unet()), 'stem.6.kernel': KERNEL},
        r'conv_input\.2\.0\.weight is .* in the file and absent in the network',
    ),
    'kernel without dimensions': (
        lambda: {**spvnas(unet()), 'stem.3.kernel': torch.tensor(1.0)},
        r'stem\.3\.kernel is damaged: a kernel has 2 or 3 dimensions, it has 0',
    ),
    'head of one dimension': (
        lambda: {**mmdet3d(unet()), 'decode_head.conv_seg.weight': torch.ones(12)},
        r'decode_head\.conv_seg\.weight is \(12,\) in the file',
    ),
    'two networks': (
        lambda: {**spvnas(unet(), 'a.'), **spvnas(unet(), 'b.')},
        r'several networks \(a\.stem\.0\.kernel, b\.stem\.0\.kernel\)',
    ),
    'not a cube': (lambda: {**spvnas(unet()), 'stem.3.kernel': KERNEL[1:]}, r'stem\.3\.kernel has 26 offsets'),
    'MinkowskiEngine before 0.5': (lambda: older(spvnas(unet(minkowski=True))), 'before version 0.5'),
    'SPVCNN of ALSO': (lambda: {**spvnas(unet()), 'point_transforms.0.0.weight': KERNEL}, 'an SPVCNN'),
    'SPVCNN of LiMoE': (
        lambda: {**superflow(unet(), 'backbone_3d.'), 'backbone_3d.point_transforms.0.0.weight': KERNEL},
        'an SPVCNN',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_relatives_are_refused(case, tmp_path):
    state, text = REFUSED[case]
    source = saved(tmp_path, state())
    with pytest.raises(CheckpointError, match=text) as error:
        convert_checkpoint(source, tmp_path / 'out.pth')
    assert '\n' not in str(error.value) and f'{source} is not converted: ' in str(error.value)
    assert not (tmp_path / 'out.pth').exists()

"""Foreign weights give the same outputs in mmdet3d as in networks written here after the foreign programs.

The networks here are slow and naive; their parameters carry the names and the layout of the foreign programs.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import spconv.pytorch as spconv
import torch
from mmengine.runner.checkpoint import load_checkpoint
from peridot.errors import CheckpointError
from peridot.hooks import export_backbone
from peridot.models.students import DetectorTrunk
from peridot.weights import convert, convert_checkpoint, loadable, verify_loading, write_openpcdet
from peridot.weights.conversion import network_of
from tiny import CENTERPOINT, SECOND, released_state, saved, soften
from torch import Tensor, nn

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
    return saved(path, state if form == 'also' else dict(model_state=state))


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
    # a fine-tuned checkpoint, whose kernels have the layout of spconv
    native = DetectorTrunk(SECOND)
    load_checkpoint(native, str(tmp_path / 'backbone.pth'), map_location='cpu')
    torch.save(dict(state_dict=native.state_dict()), tmp_path / 'epoch_1.pth')
    write_openpcdet(tmp_path / 'epoch_1.pth', tmp_path / 'again.pth')
    again = torch.load(tmp_path / 'again.pth')['model_state']
    assert again.keys() == found.keys() and all(torch.equal(again[name], wanted[name]) for name in again)
    content = torch.load(tmp_path / 'backbone.pth')
    del content['state_dict']['neck.deblocks.0.0.weight']
    torch.save(content, tmp_path / 'part.pth')
    with pytest.raises(CheckpointError, match="is not that of SECOND's trunk on KITTI"):
        write_openpcdet(tmp_path / 'part.pth', tmp_path / 'out.pth')


@pytest.mark.parametrize('kernel, shape', [(torch.ones(128, 3, 3, 3, 64), '128, 3, 3, 3, 64'), (torch.tensor(1.0), '')])
def test_openpcdet_trunk_of_another_detector(kernel, shape, pcdet_second, tmp_path):
    source = saved(tmp_path, dict(model_state={**pcdet_second.state_dict(), 'backbone_3d.conv4.1.0.weight': kernel}))
    with pytest.raises(
        CheckpointError, match=rf'encoder_layer4\.1\.0\.weight is \({shape}\) in the file and \(64, 3, 3, 3, 64\)'
    ):
        convert_checkpoint(source, tmp_path / 'backbone.pth')
    assert not (tmp_path / 'backbone.pth').exists()


def released_voxelnet(golden) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
    """BEVContrast's VoxelNet: inputs and outputs of the released code, and its weights by the formula in them."""
    arrays = golden('bevcontrast_voxelnet')
    seed, state = json.loads(str(arrays['settings']))['seed'], {}
    for k, (name, shape) in enumerate(zip(arrays['names'], arrays['shapes'])):
        shape = [int(number) for number in re.findall(r'\d+', str(shape))]
        u = np.random.RandomState(seed + k).uniform(-1, 1, shape)
        one_dimension, kind = len(shape) == 1, str(name).rpartition('.')[2]
        if kind == 'num_batches_tracked':
            state[name] = torch.tensor(0)
            continue
        norm = f'{str(name).rpartition(".")[0]}.running_var' in arrays['names']
        fan = shape[0] if 'deblocks' in name else np.prod(shape[1:])
        scaled = dict(running_mean=0.1 * u, running_var=1 + 0.5 * u, bias=(0.2 if norm else 0.1) * u)
        scaled['weight'] = 1 + 0.4 * u if norm and one_dimension else u * np.sqrt(6 / fan)
        state[str(name)] = torch.from_numpy(np.asarray(scaled[kind])).float()
    return arrays, state


@torch.no_grad()
def test_bevcontrast_voxelnet_gives_the_released_maps(golden, tmp_path):
    arrays, state = released_voxelnet(golden)
    source = saved(tmp_path, dict(state_dict=state, optimizer=dict(state={}), iters=7))
    kind, notes = convert_checkpoint(source, tmp_path / 'backbone.pth')
    assert kind == 'also-second' and notes[0] == 'left out: final.*'
    model = DetectorTrunk(SECOND).eval()
    load_checkpoint(model, str(tmp_path / 'backbone.pth'), map_location='cpu')
    assert len(verify_loading(model, tmp_path / 'backbone.pth').arrived) == 156
    model.middle_encoder.sparse_shape = json.loads(str(arrays['settings']))['spatial_shape']
    coords, features = torch.from_numpy(arrays['coordinates']), torch.from_numpy(arrays['features'])
    encoded = model.middle_encoder(features, coords, int(coords[:, 0].max()) + 1)
    maps = dict(encoded=encoded, neck=model.neck(model.backbone(encoded))[0])
    for name, found in maps.items():
        scan, row, column = torch.from_numpy(arrays['occupied'])[: len(arrays[name])].T
        wanted = torch.from_numpy(arrays[name])
        torch.testing.assert_close(found[scan, :, row, column], wanted, rtol=1e-4, atol=1e-4)


# SLidR


def slidr_state(network: OpenPCDetSECOND) -> dict[str, Tensor]:
    """VoxelNet is OpenPCDet's sparse encoder under names without its prefix, and a convolution of size 1."""
    state = {name.removeprefix('backbone_3d.'): v for name, v in network.state_dict().items() if '_3d.' in name}
    return {**state, 'final.weight': torch.ones(64, 1, 1, 1, 128)}


@pytest.mark.parametrize('form', ['SLidR', 'Lightning'])
@torch.no_grad()
def test_slidr_voxelnet_gives_the_same_map(form, pcdet_second, tmp_path):
    state = slidr_state(pcdet_second)
    if form == 'SLidR':
        content = dict(model_points=state, model_images={'decoder.weight': torch.ones(2)}, config=dict(voxel_size=0.1))
    else:
        content = dict(state_dict={f'model_points.{n}': v for n, v in state.items()} | {'model_images.x': KERNEL})
    kind, notes = convert_checkpoint(saved(tmp_path, content), tmp_path / 'backbone.pth')
    assert kind == 'slidr-voxelnet' and notes == [
        'left out: final.*' + (', model_images.*' if form == 'Lightning' else ''),
        "it has no 2D layers: the detector's backbone and neck start from random weights",
        convert.UNKNOWN_VOXELS,
    ]
    model = DetectorTrunk(SECOND).eval()
    load_checkpoint(model, str(tmp_path / 'backbone.pth'), map_location='cpu')
    report = verify_loading(model, tmp_path / 'backbone.pth')
    assert len(report.arrived) == len(state) - 1 == 72 and report.fraction == 1

    # SLidR's grid is 40 voxels high, without OpenPCDet's additional one: a single layer remains
    generator = torch.Generator().manual_seed(0)
    shape = model.middle_encoder.sparse_shape = [40, 32, 48]
    coords = torch.nonzero(torch.rand(2, *shape, generator=generator) < 0.003).int()
    features = torch.rand(len(coords), 4, generator=generator)
    x = spconv.SparseConvTensor(features, coords, shape, 2)
    for _, module in pcdet_second.backbone_3d.named_children():
        x = module(x)
    expected = x.dense().flatten(1, 2)
    found = model.middle_encoder(features, coords, 2)
    assert found.shape == (2, 128, 4, 6) and expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_other_voxelnets_are_refused(pcdet_second, tmp_path):
    state = slidr_state(pcdet_second)
    state['conv4.1.0.weight'] = torch.ones(128, 3, 3, 3, 64)
    source = saved(tmp_path, dict(model_points=state))
    with pytest.raises(CheckpointError, match=r'taken for slidr-voxelnet, but middle_encoder.*layer4\.1\.0\.weight is'):
        convert_checkpoint(source, tmp_path / 'backbone.pth')


KERNEL = torch.ones(27, 4, 4)


@pytest.mark.parametrize(
    'state, text',
    [
        ({'student.backbone.x': KERNEL}, r'tools/export_backbone\.py'),
        ({'backbone.conv_input.0.net.1.bn.running_mean': KERNEL}, 'MinkowskiEngine'),
        ({'backbone.point_transforms.0.0.weight': KERNEL}, 'SPVCNN'),
        ({'pts_neck.deblocks.0.1.bias': KERNEL}, 'load_from as it is'),
        ({'model.trunk.2.conv0p1s1.kernel': KERNEL}, r'tools/convert_checkpoint\.py --kind res16unet'),
        ({'module.stem.0.kernel': KERNEL}, r'MinkUNet of another shape: it has no backbone\.encoder\.0'),
        ({'backbone.conv_input.0.0.weight': KERNEL}, 'load_from as it is'),
        ({'encoder.weight': KERNEL}, r'something unknown, with tensors like encoder\.weight'),
        ({'backbone.conv_input.0.net.0.kernel': KERNEL}, 'MinkUNet of another shape'),
        ({}, 'none at all'),
    ],
)
def test_unsupported_file_is_named(state, text, tmp_path):
    with pytest.raises(CheckpointError, match=text) as error:
        convert_checkpoint(saved(tmp_path, dict(state_dict=state)), tmp_path / 'backbone.pth')
    assert '\n' not in str(error.value) and 'foreign.pth is not converted' in str(error.value)
    assert not (tmp_path / 'backbone.pth').exists()


def test_file_of_another_kind_than_asked_for(pcdet_second, tmp_path):
    source = pcdet_file(pcdet_second, tmp_path, 'also')
    with pytest.raises(CheckpointError, match='looks like also-second; supported: spvnas'):
        convert_checkpoint(source, tmp_path / 'out.pth', 'spvnas')


def test_tool(pcdet_second, tmp_path, run_tool, capsys):
    source, out = pcdet_file(pcdet_second, tmp_path, 'spconv2'), tmp_path / 'out.pth'
    run_tool('convert_checkpoint', source, '--out', out)
    assert capsys.readouterr().out == (
        f'written: {out} (also-second)\nleft out: dense_head.*\nthe voxels it was trained with are not known: set '
        'those of its program\n'
    )
    assert out.is_file()
    with pytest.raises(SystemExit, match='--kind spvnas is for files of other programs, --to openpcdet for ours'):
        run_tool('convert_checkpoint', out, '--out', tmp_path / 'again.pth', '--to', 'openpcdet', '--kind', 'spvnas')
    saved(tmp_path, {'point_transforms.0.weight': KERNEL})
    with pytest.raises(SystemExit) as end:
        run_tool('convert_checkpoint', source, '--out', out)
    assert str(end.value).startswith(f'error: {source} is not converted: it looks like an SPVCNN')


def test_the_trained_one_of_several_networks():
    one = torch.ones(1)
    tensors, others = network_of({'a.model_k.x.w': one, 'a.model_q.x.w': one, 'a.model_q.y': one, 'z': one}, 'x.w')
    assert list(tensors) == ['x.w', 'y'] and others == ['a.model_k.x.w', 'z']
    tensors, others = network_of({'ema.model.x.w': 2 * one, 'model.x.w': one}, 'x.w')
    assert tensors == {'x.w': one} and others == ['ema.model.x.w']
    tensors, others = network_of({'ema.x.w': 2 * one, 'x.w': one}, 'x.w')
    assert tensors == {'x.w': one} and others == ['ema.x.w']
    assert network_of({'ema.x.w': one}, 'x.w') == ({'x.w': one}, [])
    with pytest.raises(
        CheckpointError, match=r'several networks \(a\.x\.w, b\.x\.w\): save the tensors of one of them'
    ):
        network_of({'a.x.w': one, 'b.x.w': one}, 'x.w')


PILLARS = CENTERPOINT.replace('voxel01', 'pillar02')


def test_what_needs_no_conversion_stays_as_it_is(tmp_path):
    trunk = DetectorTrunk(PILLARS)
    export_backbone(trunk, tmp_path / 'backbone.pth', '')
    states = [
        trunk.state_dict(),
        {'backbone.layers.0.0.bn.running_mean': KERNEL, 'neck.weight': KERNEL},
        {'my_own.linear.weight': KERNEL},
    ]
    for source in (tmp_path / 'backbone.pth', *(saved(tmp_path, dict(state_dict=state)) for state in states)):
        assert loadable(source, tmp_path / 'converted') == source
    assert not (tmp_path / 'converted').exists()


def test_own_file_with_the_names_of_another_program(tmp_path):
    source = saved(tmp_path, dict(state_dict={'net.stem.0.kernel': KERNEL}, meta=dict(layout='')))
    assert loadable(source, tmp_path) == source


def test_converted_files_are_kept_until_conversions_change(tmp_path, monkeypatch, capsys):
    source = saved(tmp_path, dict(model_points=released_state(), model_images={}))
    first = loadable(source, tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        f'{source} converted: {first} (res16unet)',
        'final.* of 8 columns is kept as heads.instance.student',
        convert.UNKNOWN_VOXELS,
    ]
    assert loadable(source, tmp_path) == first and capsys.readouterr().out == ''
    monkeypatch.setattr(convert, 'FORMAT', convert.FORMAT + 1)
    assert loadable(source, tmp_path) != first

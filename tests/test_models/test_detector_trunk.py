"""The trunk of a detector as student, with mmdet3d's own detectors beside it."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_checkpoint
from peridot.errors import ConfigError, DataError
from peridot.hooks import export_backbone
from peridot.models.students import BEVFeatures, DetectorTrunk
from peridot.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode

SECOND = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'
PV_RCNN = 'mmdet3d::pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py'
VOXEL = 'mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
PILLAR = 'mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
# SECOND with a range of 6.4 m instead of 70
SMALL = f"""
_base_ = '{SECOND}'
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=[0, -3.2, -3, 6.4, 3.2, 1])),
    middle_encoder=dict(sparse_shape=[41, 128, 128]),
)
"""


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


@pytest.fixture
def small(tmp_path) -> str:
    (tmp_path / 'small.py').write_text(SMALL)
    return str(tmp_path / 'small.py')


def clouds(*sizes, seed=0):
    g = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([0.0, -3.2, -3, 0]), torch.tensor([6.4, 3.2, 1, 1])
    return [low + (high - low) * torch.rand(size, 4, generator=g) for size in sizes]


def features_of(bev, scan, xy, cell=1.0):
    inside = torch.ones(len(scan), dtype=torch.bool)
    return BEVFeatures(bev, scan, (xy / cell).flip(1), torch.zeros(2), torch.ones(2) * cell, inside)


def test_reading_matches_the_released_function_where_it_is_right(golden):
    g = {name: torch.from_numpy(value) for name, value in golden('bev_bilinear').items()}
    scan, xyz = g['points'][:, 0].long(), g['points'][:, 1:]
    cell = g['voxel_size'][:2].float() * int(g['stride'])
    features = features_of(g['bev'], scan, xyz[:, :2] - g['point_cloud_range'][:2].float(), cell)
    right = (features.position < 127).all(1) & (features.position >= 0).all(1)
    assert right.sum() > 300
    read = features.at(torch.arange(len(scan)))
    torch.testing.assert_close(read[right], g['features'][right], rtol=1e-5, atol=1e-5)


def test_points_beyond_the_last_cell_read_it():
    bev = torch.randn(1, 3, 4, 5)
    features = features_of(bev, torch.zeros(2, dtype=torch.int64), torch.tensor([[4.7, 3.9], [-0.5, 1.0]]))
    torch.testing.assert_close(features.at(torch.tensor([0, 1])), torch.stack([bev[0, :, 3, 4], bev[0, :, 1, 0]]))


def test_head_acts_on_cells_and_leaves_empty_ones_zero():
    g = torch.Generator().manual_seed(0)
    bev = torch.randn(2, 3, 6, 5, generator=g)
    bev[:, :, 2:4, 1:3] = 0
    bev.requires_grad_()
    scan = torch.randint(0, 2, (40,), generator=g)
    xy = torch.rand(40, 2, generator=g) * torch.tensor([4.0, 5.0])
    layer = torch.nn.Linear(3, 4)
    read = features_of(bev, scan, xy).at(torch.arange(40), lambda rows: F.normalize(layer(rows), dim=1))
    dense = F.normalize(layer(bev.permute(0, 2, 3, 1)), dim=3) * (bev != 0).any(1)[..., None]
    expected = []
    for i in range(40):
        (x, y), (left, top) = xy[i], xy[i].long()
        total = 0
        for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            weight = (1 - (x - column).abs()).clamp(min=0) * (1 - (y - row).abs()).clamp(min=0)
            if weight > 0:
                total = total + weight * dense[scan[i], row, column]
        expected.append(total)
    expected = torch.stack(expected)
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-6)
    assert read.detach().norm(dim=1).min() < 0.9
    weight = torch.randn(40, 4, generator=g)
    ours = torch.autograd.grad((read * weight).sum(), bev, retain_graph=True)[0]
    theirs = torch.autograd.grad((expected * weight).sum(), bev)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_no_points_give_no_rows_and_a_gradient(small):
    trunk = DetectorTrunk(small)
    trunk(clouds(500)).at(torch.zeros(0, dtype=torch.int64)).sum().backward()
    assert all(parameter.grad is not None for parameter in trunk.parameters())


@pytest.mark.parametrize('read_after, channels', [('middle_encoder', 256), ('neck', 512)])
def test_scans_of_a_batch_do_not_mix(small, read_after, channels):
    trunk = DetectorTrunk(small, read_after).eval()
    assert trunk.out_channels == channels
    points = clouds(800, 300)
    together = trunk(points).at(torch.arange(1100))
    apart = torch.cat([trunk([p]).at(torch.arange(len(p))) for p in points])
    assert together.shape == (1100, channels)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_points_out_of_range_are_marked_and_change_nothing(small):
    trunk = DetectorTrunk(small).eval()
    points = clouds(600)[0]
    outside = torch.cat([points, torch.tensor([[-1.0, 0, 0, 1], [5, 0, 2, 1], [5, 4, 0, 1]])])
    features = trunk([outside])
    assert features.inside.tolist() == [True] * 600 + [False] * 3
    torch.testing.assert_close(features.bev, trunk([points]).bev)


class LargestDense(TorchDispatchMode):
    """Remembers the largest tensor with five dimensions (scan, channel, z, y, x)."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.ndim == 5:
                self.size = max(self.size, tensor.numel())
        return out


@pytest.mark.parametrize('read_after', ['middle_encoder', 'neck'])
def test_no_dense_volume_is_larger_than_the_bev_map(small, read_after):
    trunk = DetectorTrunk(small, read_after)
    with LargestDense() as largest:
        features = trunk(clouds(300, 200))
        features.at(torch.arange(0, 500, 3)).square().mean().backward()
    encoded = 2 * 256 * 16 * 16
    assert features.bev.numel() >= encoded >= largest.size > 0


@pytest.mark.parametrize('detector, prefix', [(SECOND, ''), (PV_RCNN, ''), (VOXEL, 'pts_'), (PILLAR, 'pts_')])
def test_weights_are_those_of_the_detector(detector, prefix):
    own = {name: value.shape for name, value in DetectorTrunk(detector).state_dict().items()}
    model = Config.fromstring(f"_base_ = '{detector}'", '.py').model
    theirs = {name: value.shape for name, value in MODELS.build(model).state_dict().items()}
    trunk = tuple(f'{prefix}{part}.' for part in ('voxel_encoder', 'middle_encoder', 'backbone', 'neck'))
    assert own == {name: shape for name, shape in theirs.items() if name.startswith(trunk)}
    assert len(own) > 100


def test_second_and_pv_rcnn_share_the_trunk():
    shapes = [{k: v.shape for k, v in DetectorTrunk(path).state_dict().items()} for path in (SECOND, PV_RCNN)]
    assert shapes[0] == shapes[1]


def test_exported_weights_arrive_in_the_detector(small, tmp_path):
    trunk = DetectorTrunk(small)
    export_backbone(trunk, tmp_path / 'backbone.pth', source='')
    detector = MODELS.build(Config.fromfile(small).model)
    load_checkpoint(detector, str(tmp_path / 'backbone.pth'), map_location='cpu')
    arrived = detector.state_dict()
    for name, value in trunk.state_dict().items():
        assert torch.equal(arrived[name], value), name
    meta = torch.load(tmp_path / 'backbone.pth', weights_only=True)['meta']['input_settings']
    assert meta['voxel_size'] == [0.05, 0.05, 0.1]
    assert meta['point_cloud_range'] == [0, -3.2, -3, 6.4, 3.2, 1]


def test_time_lag_of_a_keyframe_is_zero():
    trunk = DetectorTrunk(PILLAR).eval()
    points = torch.rand(300, 4) * 20
    torch.testing.assert_close(trunk([points]).bev, trunk([F.pad(points, (0, 1))]).bev)


def test_all_voxels_are_kept_in_training(small):
    assert DetectorTrunk(small).voxel_layer.max_voxels == (100000, 100000)
    assert DetectorTrunk(VOXEL).voxel_layer.max_voxels == (120000, 120000)


def test_trunk_for_once_has_the_published_cells(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    trunk = DetectorTrunk('configs/_base_/models/second_once.py')
    assert [int(n) for n in trunk.voxel_layer.grid_shape] == [1504, 1504, 40]
    features = trunk._features(torch.zeros(1, 1, 188, 188), [torch.zeros(1, 4)])
    torch.testing.assert_close(features.cell, torch.tensor([0.8, 0.8]))


def test_config_of_a_detector_in_the_current_folder(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert DetectorTrunk('small.py').voxel_layer.point_cloud_range == [0, -3.2, -3, 6.4, 3.2, 1]


@pytest.mark.parametrize(
    'detector, message',
    [
        ('mmdet3d::second/no_such.py', 'no_such.py'),
        ('no_such.py', 'no_such.py'),
        ('mmdet3d::minkunet/minkunet34_w32_torchsparse_8xb2-laser-polar-mix-3x_semantickitti.py', 'voxel_encoder'),
    ],
)
def test_config_that_is_no_such_detector(detector, message):
    with pytest.raises(ConfigError, match=message):
        DetectorTrunk(detector)


@pytest.mark.parametrize('text', ['x = 1', 'model = 1 / 0', 'model = ('])
def test_file_that_is_no_config_of_a_detector(small, text):
    with open(small, 'w') as file:
        file.write(text)
    with pytest.raises(ConfigError, match=r'small\.py.* cannot be read as the config of a detector'):
        DetectorTrunk(small)


def test_range_that_does_not_fit_the_grid(small):
    text = SMALL.replace('6.4, 3.2, 1]', '6.4, 3.2, 3]')
    with open(small, 'w') as file:
        file.write(text)
    with pytest.raises(ConfigError, match=r'give a grid of \(60, 128, 128\).*declared for \(41, 128, 128\)'):
        DetectorTrunk(small)


def test_unknown_place_to_read():
    with pytest.raises(ConfigError, match='read_after'):
        DetectorTrunk(SECOND, read_after='head')


def test_batch_without_any_point_in_range(small):
    with pytest.raises(DataError, match='no point of the batch'):
        DetectorTrunk(small)([torch.full((5, 4), -50.0)])


def test_a_single_point_trains_and_leaves_the_mode_of_every_child(small):
    trunk = DetectorTrunk(small)
    trunk.backbone.eval()
    trunk([torch.tensor([[1.0, 1.0, 0.0, 0.5]])]).bev.sum().backward()
    assert all(child.training for name, child in trunk.named_modules() if not name.startswith('backbone'))
    assert not any(child.training for child in trunk.backbone.modules())

"""WaffleIron against the straightforward way of benchmarks/waffleiron.py, and what makes it a student."""

import copy
import multiprocessing
import runpy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmdet3d.structures import Det3DDataSample, PointData
from mmengine.optim import build_optim_wrapper
from peridot.errors import ConfigError, DataError
from peridot.models.backbones import WaffleIron
from peridot.models.backbones.waffleiron import Embedding, packed_neighbors
from peridot.models.functional.neighbors import (
    _nearest_by_distance,
    _others_by_distance,
    _others_by_tree,
    nearest,
    nearest_others,
)
from peridot.models.functional.planes import PLANE_AXES, cell_means, make_plane, project_to_planes, read_cells
from peridot.models.heads import DistillationHead
from peridot.models.students import WaffleIronStudent, tokenize
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

BENCHMARK = runpy.run_path(str(Path(__file__).resolve().parents[2] / 'benchmarks' / 'waffleiron.py'))
# its straightforward network takes its grid from here
BENCHMARK['Released'].forward.__globals__['GRID'] = GRID = (20, 16, 6)
RANGE = (-5.0, -4, -1.5, 5, 4, 1.5)
SMALL = dict(channels=8, depth=4, num_neighbors=5, point_cloud_range=RANGE, grid_size=GRID)


def network(**settings) -> WaffleIron:
    torch.manual_seed(0)
    return WaffleIron(**{**SMALL, **settings})


def inputs(*sizes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (M, 5) and coordinates (M, 4) of scans of these sizes."""
    g = torch.Generator().manual_seed(seed)
    xyz = [torch.rand(n, 3, generator=g) * torch.tensor([9.8, 7.8, 2.8]) - torch.tensor([4.9, 3.9, 1.4]) for n in sizes]
    coords = torch.cat([torch.cat((torch.full((len(p), 1), float(i)), p), 1) for i, p in enumerate(xyz)])
    return torch.randn(len(coords), 5, generator=g), coords


def padded(net: WaffleIron, features: Tensor, coords: Tensor) -> tuple[nn.Module, list[Tensor], Tensor]:
    """The straightforward network with the weights of `net`, its inputs, and which of its tokens are real."""
    released = BENCHMARK['Released'](
        net.channels, len(net.spatial_mix), norm='batchnorm' if batchnorm(net) else 'layernorm'
    )
    released.load_state_dict(BENCHMARK['released_state'](net))
    sizes = torch.bincount(coords[:, 0].long()).tolist()
    longest = max(sizes)
    neighbors = packed_neighbors(coords, net.num_neighbors).split(sizes)
    planes = project_to_planes(coords, int(coords[:, 0].max()) + 1, RANGE, list(GRID), whole=True)
    cells = torch.stack([plane.cell % (plane.shape[1] * plane.shape[2]) for plane in planes], dim=1)
    x = torch.zeros(len(sizes), longest, 5)
    rows = torch.full((len(sizes), longest, net.num_neighbors), longest - 1)
    cell = torch.zeros(len(sizes), longest, 3, dtype=torch.int64)
    occupied, start = torch.zeros(len(sizes), longest), 0
    for i, (size, found) in enumerate(zip(sizes, neighbors)):
        part = slice(start, start + size)
        x[i, :size], rows[i, :size], cell[i, :size], occupied[i, :size] = features[part], found - start, cells[part], 1
        start += size
    return released, [x.mT, rows.mT, cell.mT, occupied], occupied.bool()


def batchnorm(net: WaffleIron) -> bool:
    return isinstance(net.spatial_mix[0].norm, nn.BatchNorm1d)


@pytest.mark.parametrize('norm', ['layernorm', 'batchnorm'])
@pytest.mark.parametrize('sizes', [(60, 60), (60, 45)])
def test_training_is_that_of_the_straightforward_way(norm, sizes):
    net = network(norm=norm, reference_padding=True)
    features, coords = inputs(*sizes)
    released, others, real = padded(net, features, coords)
    found, expected = net(features, coords), released(*others).mT[real]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    target = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * target).sum().backward()
    (expected * target).sum().backward()
    gradients = dict(released.named_parameters())
    for name, parameter in net.named_parameters():
        theirs = gradients[f'waffleiron.{name}' if '_mix.' in name else name].grad
        torch.testing.assert_close(parameter.grad, theirs.reshape(parameter.shape), rtol=1e-3, atol=1e-4)
    statistics = dict(released.named_buffers())
    for name, value in net.named_buffers():
        torch.testing.assert_close(value, statistics[f'waffleiron.{name}' if '_mix.' in name else name])
    # and with the statistics of that step
    torch.testing.assert_close(net.eval()(features, coords), released.eval()(*others).mT[real], rtol=1e-4, atol=1e-5)


def test_padding_that_is_not_there_changes_nothing():
    """Batch statistics are those of the points, whatever the lengths of the scans."""
    features, coords = inputs(60, 45)
    net = network()
    embedded = net.embed
    neighbors = packed_neighbors(coords, 5)
    net(features, coords)
    normalized = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt()
    difference = (normalized[neighbors] - normalized[:, None]).flatten(0, 1)
    scaled = (difference - difference.mean(0)) / (difference.var(0, unbiased=False) + 1e-5).sqrt()
    for norm, rows in (
        (embedded.norm, features),
        (embedded.conv2[0], difference),
        (embedded.conv2[2], scaled @ embedded.conv2[1].weight.T),
    ):
        torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * rows.var(0))
    # the released way counts zeros
    other = network(reference_padding=True)
    other(features, coords)
    assert (other.embed.norm.running_var - embedded.norm.running_var).abs().max() > 1e-3


@torch.no_grad()
def test_a_scan_is_alone_in_a_batch():
    net = network(norm='batchnorm').eval()
    features, coords = inputs(60, 45, 70)
    together = net(features, coords)
    second = slice(60, 105)
    alone = coords[second] - torch.tensor([1.0, 0, 0, 0])
    torch.testing.assert_close(net(features[second], alone), together[second], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_order_of_points_does_not_matter():
    net = network().eval()
    features, coords = inputs(60, 45)
    order = torch.cat((torch.randperm(60), 60 + torch.randperm(45)))
    torch.testing.assert_close(net(features[order], coords[order]), net(features, coords)[order])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_residuals_and_sums_are_float32_under_autocast(dtype):
    features, coords = inputs(60, 45)
    net = network(depth=3)
    expected = net(features, coords)
    seen = []
    for mix in (*net.spatial_mix, *net.channel_mix):
        mix.register_forward_hook(lambda module, args, out: seen.extend((args[0].dtype, out.dtype)))
    with torch.autocast('cpu', dtype):
        found = net(features, coords)
    assert set(seen) == {torch.float32} and found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()
    found.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in net.parameters())
    assert net.embed.conv2[4].weight.grad.abs().sum() > 0


def test_a_full_cell_keeps_its_count():
    tokens = torch.full((5000, 2), 30.0, dtype=torch.float16, requires_grad=True)
    plane = make_plane(torch.zeros(5000, dtype=torch.int64), (1, 2, 2))
    means = cell_means(tokens, plane)
    assert means.dtype == torch.float32 and torch.allclose(means[0, :, 0, 0], torch.tensor(30.0), rtol=1e-4)
    assert not means[0, :, 1].any() and not means[0, :, 0, 1].any()
    cells = torch.zeros(1, 2, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    read = read_cells(cells, plane)
    read.sum().backward()
    assert read.dtype == torch.float32
    # 5000 ones added in bfloat16 would stay at 256
    assert cells.grad[0, 0, 0, 0] == torch.tensor(5000.0).bfloat16()


def test_cells_are_those_of_the_specification_and_windows_change_nothing():
    _, coords = inputs(300, 200, seed=3)
    coords[200:, 1:] = coords[200:, 1:] * 0.3 + torch.tensor([3.0, -2.5, 0.9])
    low, size = torch.tensor(RANGE[:3]), torch.tensor([0.5, 0.5, 0.5])
    planes = project_to_planes(coords, 2, RANGE, list(GRID), whole=True)
    for (a, b), plane in zip(PLANE_AXES, planes):
        for row in range(0, 500, 7):
            i, j = (int((coords[row, 1 + c] - low[c]) / size[c]) for c in (a, b))
            assert plane.cell[row] == (int(coords[row, 0]) * GRID[a] + i) * GRID[b] + j
    torch.manual_seed(0)
    mix = network().spatial_mix[0]
    tokens = torch.randn(500, 8)
    far, narrow = (
        inputs(300, 200, seed=3)[1],
        project_to_planes(coords[300:] * torch.tensor([0.0, 1, 1, 1]), 1, RANGE, GRID),
    )
    assert narrow[0].shape[1] < GRID[0] and narrow[0].shape[2] < GRID[1]
    for points in (coords, far, coords[300:] * torch.tensor([0.0, 1, 1, 1])):
        grid = (points, int(points[:, 0].max()) + 1, RANGE, GRID)
        for whole, window in zip(project_to_planes(*grid, whole=True), project_to_planes(*grid)):
            values = tokens[: len(points)]
            torch.testing.assert_close(mix(values, window), mix(values, whole))


def test_points_beyond_the_range_count_for_the_outermost_cell():
    _, coords = inputs(30)
    coords[0, 1:], coords[1, 1:] = torch.tensor([-50.0, 0.1, 9.0]), torch.tensor([-4.9, 0.1, 1.4])
    for plane in project_to_planes(coords, 1, RANGE, GRID):
        assert plane.cell[0] == plane.cell[1]


def test_scans_skip_mixes_as_a_whole():
    net = network(depth=1, drop_path=0.5)
    features, coords = inputs(*[30] * 8)
    scan = coords[:, 0].long()
    net.channel_mix[0].scale.weight.data.zero_()
    change = net(features, coords) - net.embed(features, packed_neighbors(coords, 5))
    skipped = [not change[scan == i].any() for i in range(8)]
    assert 0 < sum(skipped) < 8
    net.eval()
    net.embed.train()
    full = net(features, coords) - net.embed(features, packed_neighbors(coords, 5))
    kept = torch.tensor(skipped).logical_not()[scan]
    torch.testing.assert_close(change[kept], 2 * full[kept], rtol=1e-3, atol=1e-5)


def test_checkpointing_changes_only_memory():
    features, coords = inputs(60, 45)
    found = []
    for checkpointing in (False, True):
        net = network(drop_path=0.5, checkpointing=checkpointing)
        torch.manual_seed(3)
        out = net(features, coords)
        out.square().sum().backward()
        found.append([out, *(p.grad for p in net.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found))
    with pytest.raises(ConfigError, match='checkpointing'):
        network(norm='batchnorm', checkpointing=True)
    with pytest.raises(ConfigError, match=r"norm='instance'.*\['batchnorm', 'layernorm'\]"):
        network(norm='instance')


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that was made."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        tensors = [t for t in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(t, Tensor)]
        self.numel = max([self.numel, *(t.numel() for t in tensors)])
        return out


def test_memory_of_the_embedding_does_not_grow_with_neighbors():
    features, coords = inputs(3000)
    embed, neighbors = Embedding(5, 24), packed_neighbors(coords, 16)
    with Largest() as largest:
        embed(features, neighbors).square().sum().backward()
    # point and neighborhood, concatenated: with all neighbors it would be eight times as much
    assert largest.numel == 2 * 3000 * 24


def embed_in_a_process(rank: int, path: str, results) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{path}', rank=rank, world_size=2)
    features, coords = inputs(60, 45)
    part = coords[:, 0] == rank
    torch.manual_seed(0)
    embed = nn.SyncBatchNorm.convert_sync_batchnorm(Embedding(5, 8))
    own = coords[part] - torch.tensor([float(rank), 0, 0, 0])
    out = embed(features[part], packed_neighbors(own, 5))
    results.put((rank, out.detach().numpy(), embed.conv2[2].running_var.numpy()))
    dist.destroy_process_group()


def test_synchronized_statistics_are_those_of_the_joint_batch(tmp_path):
    features, coords = inputs(60, 45)
    torch.manual_seed(0)
    embed = Embedding(5, 8)
    expected = embed(features, packed_neighbors(coords, 5)).split([60, 45])
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    processes = [
        context.Process(target=embed_in_a_process, args=(r, str(tmp_path / 'store'), results)) for r in range(2)
    ]
    for process in processes:
        process.start()
    for rank, out, variance in (results.get(timeout=60) for _ in processes):
        torch.testing.assert_close(torch.tensor(out), expected[rank].detach())
        torch.testing.assert_close(torch.tensor(variance), embed.conv2[2].running_var)
    for process in processes:
        process.join()


@pytest.mark.parametrize(
    'channels, norm, embedding, total',
    [
        (256, 'batchnorm', 200_212, 6_835_732),
        (384, 'batchnorm', 447_764, 15_119_636),
        (768, 'layernorm', 1_780_244, 59_435_540),
    ],
)
def test_published_numbers_of_parameters(channels, norm, embedding, total):
    with torch.device('meta'):
        net = WaffleIron(channels=channels, depth=48, norm=norm)
        heads = [DistillationHead(768, 1024), DistillationHead(768, 1024, hidden_channels=2048)]
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert (count(net.embed), count(net)) == (embedding, total)
    if channels == 768:
        assert [count(net) + count(head) for head in heads] == [60_222_996, 63_108_628]


def test_scales_start_between_minus_one_and_one():
    weights = torch.cat([mix.scale.weight for mix in network(channels=64).channel_mix])
    assert weights.min() < -0.9 and weights.max() > 0.9 and weights.abs().max() <= 1


# neighbors


@pytest.mark.parametrize('search', [nearest_others, _others_by_tree, _others_by_distance])
def test_neighbors_are_the_nearest_others(search):
    xyz = torch.randn(2100, 3, generator=torch.Generator().manual_seed(0)) * 20
    distance = torch.cdist(xyz.double(), xyz.double()).fill_diagonal_(torch.inf)
    expected = distance.topk(6, largest=False).indices
    assert torch.equal(search(xyz, 6), expected)


@pytest.mark.parametrize('search', [_others_by_tree, _others_by_distance])
def test_no_point_is_its_own_neighbor_among_duplicates(search):
    xyz = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    xyz[10:40] = xyz[10]
    found = search(xyz, 5)
    assert (found != torch.arange(60)[:, None]).all()
    assert all(len(row.unique()) == 5 for row in found)
    # also where more duplicates than neighbors hide the point itself
    assert (xyz[found[10:40]] == xyz[10]).all()


def test_nearest_point():
    g = torch.Generator().manual_seed(0)
    queries, xyz = torch.randn(2100, 3, generator=g), torch.randn(50, 3, generator=g)
    expected = (queries[:, None] - xyz).norm(dim=2).argmin(1)
    assert torch.equal(nearest(queries, xyz), expected)
    assert torch.equal(_nearest_by_distance(queries, xyz), expected)


def test_neighbors_stay_within_their_scan_and_must_be_enough():
    _, coords = inputs(30, 6)
    found = packed_neighbors(coords, 5)
    assert (found[:30] < 30).all() and (found[30:] >= 30).all()
    with pytest.raises(DataError, match=r'scan 1 of the batch has 6 points.* needs 7 or more'):
        packed_neighbors(coords, 6)


# student


def student(**settings) -> WaffleIronStudent:
    torch.manual_seed(0)
    return WaffleIronStudent(dict(type='peridot.WaffleIron', **{**SMALL, **settings}), voxel_size=0.5)


def cloud(n: int, seed: int) -> Tensor:
    """(n, 8) points, a tenth of them outside the range."""
    g = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(n, 3, generator=g) - 0.5) * torch.tensor([10.4, 8.3, 3.1])
    return torch.cat((xyz, torch.randn(n, 1, generator=g), xyz, xyz.norm(dim=1, keepdim=True)), dim=1)


def within(points: Tensor) -> Tensor:
    low, high = torch.tensor(RANGE).view(2, 3)
    return ((points[:, :3] > low + 1e-4) & (points[:, :3] < high - 1e-4)).all(1)


def test_in_training_every_point_within_the_range_is_a_token():
    net, points = student(), [cloud(200, 0), cloud(150, 1)]
    features = net(points)
    inside = within(torch.cat(points))
    assert 0 < inside.sum() < 350 and torch.equal(features.inside, inside)
    assert len(features.features) == inside.sum()
    assert torch.equal(features.inverse[inside], torch.arange(int(inside.sum())))
    assert (features.inverse[~inside] == -1).all()
    rows = inside.nonzero()[:, 0][::9]
    assert torch.equal(features.at(rows, torch.tanh), features.features[features.inverse[rows]].tanh())


@torch.no_grad()
def test_in_evaluation_every_point_reads_its_nearest_token():
    points = [cloud(400, 0), cloud(300, 1)]
    tokens = tokenize(points, RANGE, 0.5)
    flat, scan = torch.cat(points), torch.tensor([0] * 400 + [1] * 300)
    first = []
    seen = set()
    for row, point in enumerate(flat):
        voxel = (int(scan[row]), *(point[:3] / 0.5).floor().tolist())
        if voxel not in seen and within(point[None])[0]:
            first.append(row)
        seen.add(voxel)
    assert tokens.first.tolist() == first and len(first) < 600
    assert torch.equal(tokens.coords[:, 1:], flat[first, :3]) and torch.equal(tokens.coords[:, 0].long(), scan[first])
    distance = (flat[:, None, :3] - flat[first, :3]).norm(dim=2)
    distance[scan[:, None] != scan[first]] = torch.inf
    assert torch.equal(tokens.inverse, distance.argmin(1))

    net = student().eval()
    features = net(points).at(torch.arange(700))
    assert features.shape == (700, 8)
    torch.testing.assert_close(features, net.backbone(flat[first, 3:], tokens.coords)[tokens.inverse])
    torch.testing.assert_close(net([points[1]]).at(torch.arange(300)), features[400:], rtol=1e-5, atol=1e-6)


def test_scans_without_points_in_range_are_named():
    with pytest.raises(DataError, match='scan 1 of the batch has no point within'):
        tokenize([cloud(20, 0), cloud(20, 0) + 100], RANGE, None)


@MODELS.register_module()
class PatchTeacher(nn.Module):
    out_channels = 6
    align_corners = True

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, 4).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images.float() / 255)


def test_pretraining_step_and_features():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='peridot.Pretrainer',
            student=dict(
                type='peridot.WaffleIronStudent', backbone=dict(type='peridot.WaffleIron', **SMALL), voxel_size=0.5
            ),
            teacher=dict(type='peridot.PatchTeacher'),
            heads=dict(point=dict(channels=4)),
            objectives=dict(infonce=dict(type='peridot.PointPixelInfoNCE', head='point')),
        )
    )
    points = [cloud(120, seed) for seed in range(2)]
    position = torch.rand(2, 120, 2) * torch.tensor([15.0, 23.0])
    pairs = [Pairs(point=torch.arange(120), camera=torch.zeros(120, dtype=torch.int64), position=p) for p in position]
    images = [torch.randint(256, (1, 3, 16, 24), dtype=torch.uint8) for _ in points]
    samples = [Det3DDataSample(metainfo=dict(token=str(i))) for i in range(2)]
    frames = [Frames.single(120, num_images=1) for _ in points]
    batch = dict(inputs=dict(points=points, images=images, pairs=pairs, frames=frames), data_samples=samples)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    loss = sum(value for name, value in model(**data, mode='loss').items() if 'loss' in name)
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.student.parameters())
    assert all(p.grad.abs().sum() > 0 for name, p in model.student.named_parameters() if name.endswith('scale.weight'))
    features = model.eval()(**model.data_preprocessor(batch, False), mode='tensor')
    assert [f.shape for f in features] == [(120, 8), (120, 8)]


# segmentation


def segmentor(kind: str = 'mmdet3d.MinkUNet') -> nn.Module:
    torch.manual_seed(0)
    head = dict(type='peridot.PointSegHead', channels=8, num_classes=3, dropout_ratio=0, batch_norm=True)
    loss = dict(type='mmdet.CrossEntropyLoss', avg_non_ignore=True)
    model = MODELS.build(
        dict(
            type=kind,
            data_preprocessor=dict(type='peridot.TokenSegPreprocessor', point_cloud_range=RANGE, voxel_size=0.5),
            backbone=dict(type='peridot.WaffleIron', **SMALL),
            decode_head=dict(**head, ignore_index=3, loss_decode=loss),
        )
    )
    model.init_weights()
    return model


def labeled(*sizes: int) -> dict:
    points = [cloud(n, seed) for seed, n in enumerate(sizes)]
    samples = [Det3DDataSample() for _ in points]
    for sample, p in zip(samples, points):
        sample.gt_pts_seg = PointData(pts_semantic_mask=(p[:, 0] > 0).long() + (p[:, 1] > 0))
    return dict(inputs=dict(points=points), data_samples=samples)


def test_segmentor_trains_and_predicts_for_every_point():
    model, data = segmentor(), labeled(400, 300)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(12):
        batch = model.data_preprocessor(data, True)
        inside = [within(points) for points in data['inputs']['points']]
        for sample, own in zip(batch['data_samples'], inside):
            wanted = sample.gt_pts_seg.pts_semantic_mask[own]
            assert torch.equal(sample.gt_pts_seg.voxel_semantic_mask, wanted)
        parts = model(**batch, mode='loss')
        losses.append(parts['loss_ce'].item())
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
    # zero weights: every class as likely as the others
    assert losses[0] == pytest.approx(torch.tensor(3.0).log().item(), rel=1e-5)
    assert losses[-1] < 0.6 * losses[0]

    model.eval()
    trunk = WaffleIronStudent(dict(type='peridot.WaffleIron', **SMALL), voxel_size=0.5).eval()
    trunk.backbone.load_state_dict(model.backbone.state_dict())
    with torch.no_grad():
        predicted = model(**model.data_preprocessor(data, False), mode='predict')
        features = trunk(data['inputs']['points']).at(torch.arange(700))
        expected = model.decode_head(features).split([400, 300])
    for sample, logits in zip(predicted, expected):
        torch.testing.assert_close(sample.pts_seg_logits.pts_seg_logits.T, logits, rtol=1e-4, atol=1e-5)


def test_linear_probing_trains_the_head_alone():
    model = segmentor('peridot.LinearProbeSegmentor')
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.1)
    sum(model.train()(**model.data_preprocessor(labeled(200), True), mode='loss').values()).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {f'decode_head.norm.{name}' for name in ('running_mean', 'running_var', 'num_batches_tracked')}
    assert {'decode_head.conv_seg.weight', 'decode_head.conv_seg.bias'} | statistics <= changed
    assert all(name.startswith('decode_head.') for name in changed)


# layer decay


def decayed(model: nn.Module, **settings) -> dict[str, float]:
    optimizer = dict(type='AdamW', lr=2.0, weight_decay=0.01)
    wrapper = build_optim_wrapper(
        model, dict(optimizer=optimizer, constructor='peridot.LayerDecay', paramwise_cfg=settings)
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(group['params'][0])]: group['lr'] for group in wrapper.optimizer.param_groups}


def test_learning_rates_decay_from_the_head():
    model = segmentor()
    rates = decayed(model, decay_rate=0.5)
    assert rates.keys() == dict(model.named_parameters()).keys()
    for name, rate in rates.items():
        group = 5
        if name.startswith('backbone.embed.'):
            group = 0
        elif name.startswith('backbone.'):
            group = int(name.split('.')[2]) + 1
        assert rate == 2 * 0.5 ** (5 - group), name
    assert {rates[f'backbone.{mix}.0.scale.weight'] for mix in ('spatial_mix', 'channel_mix')} == {2 * 0.5**4}


def test_published_decay():
    model = nn.Module()
    with torch.device('meta'):
        model.backbone = WaffleIron(channels=8, depth=48)
        model.decode_head = nn.Linear(8, 2)
    assert decayed(model, decay_rate=0.95)['backbone.embed.conv1.weight'] / 2 == pytest.approx(0.081, abs=5e-4)
    assert decayed(model, decay_rate=0.99)['backbone.embed.conv1.weight'] / 2 == pytest.approx(0.611, abs=5e-4)


@pytest.mark.parametrize('settings', [dict(), dict(decay_rate=1.5), dict(decay_rate=0.9, norm_decay_mult=0)])
def test_layer_decay_takes_a_rate(settings):
    with pytest.raises(ConfigError, match='decay_rate=RATE'):
        decayed(segmentor(), **settings)


def test_layer_decay_wants_layers():
    with pytest.raises(ConfigError, match='WaffleIron as model'):
        decayed(nn.Linear(2, 2), decay_rate=0.9)

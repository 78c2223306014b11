"""ALSO's objective: against released numbers, naive versions, and in the pre-trainer beside a camera objective."""

import copy
import logging

import pytest
import torch
import torch.nn.functional as F
from mmdet3d.structures import Det3DDataSample
from mmengine.registry import init_default_scope
from peridot.datasets.transforms.occupancy import occupancy_queries
from peridot.errors import ConfigError
from peridot.models.heads import LatentHead
from peridot.models.objectives import OccupancyReconstruction
from peridot.models.objectives import occupancy as module
from peridot.models.objectives.occupancy import OccupancyDecoder, mean_logits, moved_queries, occupancy_iou
from peridot.models.students import DetectorTrunk, PointSupports
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs, Queries
from tiny import connected, make_batch
from torch import nn

SECOND = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'


class Latents(nn.Module):
    """The features are the latent vectors."""

    def embed_student(self, features):
        return features


class ColumnSupports(PointSupports):
    """Points searched on the ground alone, as the released code searches cells."""

    def near(self, position, scan, radius):
        flat = torch.tensor([1.0, 1, 0])
        return PointSupports(self.student, self.rows, self.xyz * flat, self.scan).near(position * flat, scan, radius)


def make_queries_batch(features, xyz, scan, queries, head=None, supports=PointSupports, seed=0):
    batch = make_batch(
        points=xyz,
        student=features,
        heads={'occupancy': head or Latents()},
        generator=torch.Generator().manual_seed(seed),
        scan=scan,
        queries=queries,
    )
    batch.supports = supports(batch.student, torch.arange(len(xyz)), xyz, scan)
    return batch


@pytest.mark.parametrize('shape, supports', [('ball', PointSupports), ('column', ColumnSupports)])
def test_losses_and_gradients_of_the_released_decoder(golden, shape, supports, monkeypatch):
    monkeypatch.setattr(module, 'CHUNK', 100)
    g = {name: torch.from_numpy(value) for name, value in golden(f'also_decoder_{shape}').items()}
    objective = connected(OccupancyReconstruction(radius=float(g['radius']), max_neighbors=None), 32)
    objective.decoder.load_state_dict({k.split('::')[1]: v for k, v in g.items() if k.startswith('weight::')})
    latents = g['latents'].requires_grad_()
    queries = Queries(
        position=g['query'],
        occupied=g['occupancy'] > 0,
        intensity=g['intensity'][:, 0],
        has_intensity=g['intensity'][:, 0] >= 0,
        scan=g['query_batch'],
    )
    assert 0 < queries.has_intensity.sum() < len(queries)
    results = objective(make_queries_batch(latents, g['support'], g['support_batch'], queries, supports=supports))
    assert results['pairs'] == g['num_pairs']
    torch.testing.assert_close(results['loss_occupancy'], g['occupancy_loss'], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(results['loss_intensity'], g['intensity_loss'], rtol=1e-6, atol=1e-6)
    (results['loss_occupancy'] + results['loss_intensity']).backward()
    torch.testing.assert_close(latents.grad, g['grad_latents'], rtol=1e-4, atol=1e-6)


def naive_decoder(decoder, latents, support, offset):
    x = decoder.fc_in(torch.cat([latents[support], offset], 1))
    for layer in decoder.mlp_layers:
        x = layer(x.relu())
    return decoder.fc_out(x)


def test_decoder_is_the_plain_network_on_concatenated_inputs():
    torch.manual_seed(0)
    decoder = OccupancyDecoder(16)
    assert sum(p.numel() for p in OccupancyDecoder(128).parameters()) == 50178
    latents = torch.randn(50, 16, requires_grad=True)
    support, offset = torch.randint(0, 50, (40000,)), torch.randn(40000, 3)
    weight = torch.randn(40000, 2)
    leaves = [latents, *decoder.parameters()]
    found, expected = decoder(latents, support, offset), naive_decoder(decoder, latents, support, offset)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    ours, theirs = (torch.autograd.grad((out * weight).mean(), leaves) for out in (found, expected))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def scene(num_points=300, num_queries=60, channels=12, seed=0, scans=2):
    g = torch.Generator().manual_seed(seed)
    xyz = torch.rand(num_points, 3, generator=g) * 4
    features = torch.randn(num_points, channels, generator=g).requires_grad_()
    queries = Queries(
        position=torch.rand(num_queries, 3, generator=g) * 4,
        occupied=torch.rand(num_queries, generator=g) < 0.3,
        intensity=torch.rand(num_queries, generator=g),
        has_intensity=torch.rand(num_queries, generator=g) < 0.6,
        scan=torch.randint(0, scans, (num_queries,), generator=g),
    )
    return features, xyz, torch.randint(0, scans, (num_points,), generator=g), queries


def build(seed=0, **settings):
    torch.manual_seed(seed)
    return connected(OccupancyReconstruction(**settings), 8), LatentHead(12, channels=8)


def test_losses_are_means_over_all_pairs():
    features, xyz, scan, queries = scene()
    objective, head = build(max_neighbors=None, occupancy_weight=2.0, intensity_weight=3.0)
    results = objective(make_queries_batch(features, xyz, scan, queries, head))
    occupancy, intensity, pairs = [], [], 0
    for q in range(len(queries.position)):
        near = (xyz - queries.position[q]).norm(dim=1) < 1
        for s in (near & (scan == queries.scan[q])).nonzero()[:, 0]:
            out = naive_decoder(
                objective.decoder, head.student(features), s[None], (queries.position[q] - xyz[s])[None]
            )[0]
            occupancy.append(F.binary_cross_entropy_with_logits(out[0], queries.occupied[q].float()))
            if queries.has_intensity[q]:
                intensity.append((out[1] - queries.intensity[q]).abs())
            pairs += 1
    assert results['pairs'] == pairs > 100
    torch.testing.assert_close(results['loss_occupancy'], 2 * torch.stack(occupancy).mean())
    torch.testing.assert_close(results['loss_intensity'], 3 * torch.stack(intensity).mean())


def test_iou_of_pairs_and_of_queries_by_their_mean_logits(monkeypatch):
    features, xyz, scan, queries = scene()
    queries.occupied[:4] = torch.tensor([True, False, True, False])
    query, logit = torch.tensor([0, 0, 2, 2, 3]), torch.tensor([3.0, -1, -2, -1, -1])
    pooled = mean_logits(query, logit, 5)
    assert pooled[[0, 2, 3]].tolist() == [1, -1.5, -1] and pooled[[1, 4]].isnan().all()
    objective, head = build()
    monkeypatch.setattr(objective, 'predict', lambda *_: (query, torch.stack([logit, logit], 1)))
    results = objective(make_queries_batch(features, xyz, scan, queries, head))
    assert results['iou'].item() == pytest.approx((1 / 4 + 1 / 4) / 2)
    assert results['query_iou'].item() == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_at_most_so_many_supports_chosen_by_the_step():
    features, xyz, scan, queries = scene()
    objective, head = build(max_neighbors=3)
    first, again, other = (objective(make_queries_batch(features, xyz, scan, queries, head, seed=s)) for s in (0, 0, 1))
    assert first['pairs'] <= 3 * len(queries.position)
    assert first['loss_occupancy'] == again['loss_occupancy'] != other['loss_occupancy']


@pytest.mark.parametrize('far', [True, False])
def test_without_pairs_the_loss_is_zero_with_all_gradients(far):
    features, xyz, scan, queries = scene()
    queries = queries[:0] if not far else queries
    if far:
        queries.position = queries.position + 100
    objective, head = build()
    results = objective(make_queries_batch(features, xyz, scan, queries, head))
    loss = results['loss_occupancy'] + results['loss_intensity']
    assert loss == 0 and results['pairs'] == 0 and results['iou'] == results['query_iou'] == 0
    loss.backward()
    assert features.grad is not None and not features.grad.any()
    assert all(p.grad is not None and not p.grad.any() for m in (objective, head) for p in m.parameters())


def test_missing_intensity_switches_its_part_off_and_is_said_once(monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, logger, level: said.append((text, level)))
    features, xyz, scan, queries = scene()
    queries.has_intensity = torch.zeros_like(queries.has_intensity)
    objective, head = build()
    for _ in range(3):
        results = objective(make_queries_batch(features, xyz, scan, queries, head))
    assert results['loss_intensity'] == 0 and results['loss_occupancy'] > 0
    assert len(said) == 1 and 'no intensity' in said[0][0] and said[0][1] == logging.WARNING


def rigid(angle, shift, scale=1.0, mirrored=False):
    """A turn around z, after a change of size and a mirrored axis, then a shift; float64 (4, 4)."""
    c, s = torch.tensor(angle).double().cos(), torch.tensor(angle).double().sin()
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:2, :2] = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    matrix[:3, :3] = matrix[:3, :3] * scale @ torch.diag(torch.tensor([1.0, -1 if mirrored else 1, 1])).double()
    matrix[:3, 3] = torch.tensor(shift)
    return matrix


def moved(matrix, xyz):
    return (xyz.double() @ matrix[:3, :3].T + matrix[:3, 3]).float()


def wall_frames():
    """Two samples of two frames and one of a keyframe alone; each frame looks at the wall x = 10 of its keyframe."""
    torch.manual_seed(0)
    scans, frames, queries, clouds = [], [], [], []
    for sample in range(3):
        for frame in range(1 if sample == 2 else 2):
            # where the sensor of this frame stands in the keyframe, and how the frame was augmented
            pose = rigid(0.3, (2.0, 1.0, 0.1)) if frame else torch.eye(4).double()
            augmented = rigid(2.0 + sample, (0.5, -0.3, 0.0), scale=0.95 + 0.1 * frame, mirrored=bool(frame))
            wall = torch.rand(200, 3) * torch.tensor([0.0, 8, 3]) + torch.tensor([10.0, -4, -1])
            seen = moved(torch.linalg.inv(pose), wall)
            here = occupancy_queries(moved(augmented, seen), torch.rand(200), augmented[:3, 3].float(), 60, 0.1)
            here.scan = torch.full((60,), len(scans))
            to_sample = pose @ torch.linalg.inv(augmented)
            scans.append(Frames.single(200, frame=frame, to_sample=to_sample))
            queries.append(here)
            clouds.append(moved(augmented, seen))
        frames.append(Frames.cat(scans[-1 if sample == 2 else -2 :]))
    return Frames.batch(frames), Queries.cat(queries), torch.cat(clouds)


def test_queries_of_the_next_frame_lie_at_the_wall_of_the_keyframe():
    frames, queries, _ = wall_frames()
    found = moved_queries(queries, frames, 1, 0)
    assert found.scan.tolist() == [0] * 60 + [2] * 60
    rows = [i for i, scan in enumerate(queries.scan) if scan in (1, 3)]
    for name in ('occupied', 'intensity', 'has_intensity'):
        assert torch.equal(found[name], queries[name][rows])
    for i, row in enumerate(rows):
        key = int(queries.scan[row]) - 1
        place = frames.to_sample[key + 1] @ torch.cat([queries.position[row], torch.ones(1)]).double()
        expected = torch.linalg.inv(frames.to_sample[key]) @ place
        torch.testing.assert_close(found.position[i], expected[:3].float(), atol=1e-5, rtol=1e-5)
    for key in (0, 2):
        own = found[found.scan == key]
        # without the keyframe's augmentation
        depth = moved(frames.to_sample[key], own.position)[:, 0] - 10
        # 0.1 m along the ray in an augmented frame, which is larger by 1.05
        assert (depth[own.occupied] > 0).all() and (depth[own.occupied] < 0.1).all()
        assert (depth[~own.occupied] < 0).all() and (depth[~own.occupied] < -0.2).any()


def test_frames_without_the_asked_one_have_no_queries():
    frames, queries, _ = wall_frames()
    assert len(moved_queries(queries, frames, 0, 1).position) == 120
    assert not len(moved_queries(queries, frames, 2, 0).position)
    alone = moved_queries(queries, frames, 0, 0)
    assert torch.equal(alone.scan, torch.tensor([0, 2, 4]).repeat_interleave(60))
    torch.testing.assert_close(alone.position, queries.position[[s in (0, 2, 4) for s in queries.scan.tolist()]])


def test_the_objective_asks_the_keyframe_what_the_next_frame_saw():
    frames, queries, xyz = wall_frames()
    features = torch.randn(len(xyz), 12, requires_grad=True)
    scan = torch.arange(5).repeat_interleave(200)
    (other, head), (plain, _) = build(frames=(1, 0), max_neighbors=None), build(max_neighbors=None)
    batch = make_queries_batch(features, xyz, scan, queries, head)
    batch.frames = frames
    found = other(batch)
    expected = plain(make_queries_batch(features, xyz, scan, moved_queries(queries, frames, 1, 0), head))
    assert found['pairs'] == expected['pairs'] > 100
    assert found['loss_occupancy'] == expected['loss_occupancy']
    (found['loss_occupancy'] + found['loss_intensity']).backward()
    learned = features.grad.view(5, 200, 12).any(2).any(1)
    assert learned.tolist() == [True, False, True, False, False]


def test_batch_without_queries_is_a_config_error():
    features, xyz, scan, _ = scene()
    objective, head = build()
    with pytest.raises(ConfigError, match=r'SampleOccupancyQueries'):
        objective(make_queries_batch(features, xyz, scan, None, head))


@pytest.mark.parametrize(
    'predicted, occupied, iou',
    [
        ('0011', '0011', 1.0),
        ('0101', '0011', 1 / 3),
        ('0111', '0001', (1 / 3 + 1 / 3) / 2),
        ('01', '00', 0.5),
        ('', '', 0),
    ],
)
def test_iou(predicted, occupied, iou):
    predicted, occupied = (torch.tensor([c == '1' for c in text], dtype=torch.bool) for text in (predicted, occupied))
    assert occupancy_iou(predicted, occupied).item() == pytest.approx(iou)


def small_second(tmp_path):
    path = tmp_path / 'small.py'
    path.write_text(f"""
_base_ = '{SECOND}'
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=[0, -3.2, -3, 6.4, 3.2, 1])),
    middle_encoder=dict(sparse_shape=[41, 128, 128]),
)
""")
    return str(path)


def test_cells_of_a_detector_lie_at_their_centers(tmp_path):
    init_default_scope('mmdet3d')
    trunk = DetectorTrunk(small_second(tmp_path), 'middle_encoder').eval()
    points = [torch.rand(200, 4) * torch.tensor([6.4, 6.4, 2, 1]) - torch.tensor([0, 3.2, 2, 0]) for _ in range(2)]
    features = trunk(points)
    supports = features.supports(torch.cat(points)[:, :3], torch.zeros(400).long())
    height, width = features.bev.shape[-2:]
    assert (height, width) == (16, 16)
    # at the center of cell (row 3, column 5) of the second scan, 2 m above the ground plane of the cells
    place = torch.tensor([[5.5 * 0.4, -3.2 + 3.5 * 0.4, 2.0]])
    query, cells = supports.near(place, torch.tensor([1]), 1.0)
    assert len(cells) == 21
    offset = supports.offset(place[query], cells)
    own = (cells == (16 + 3) * 16 + 5).nonzero()[0, 0]
    torch.testing.assert_close(offset[own], torch.tensor([0, 0, 2.0]), atol=1e-5, rtol=0)
    assert (offset[:, :2].norm(dim=1) < 1).all()
    torch.testing.assert_close(
        supports.read(cells[own : own + 1], lambda rows: 2 * rows)[0], 2 * features.bev[1, :, 3, 5]
    )


def test_cells_without_any_query_near_give_zero_with_all_gradients(tmp_path):
    init_default_scope('mmdet3d')
    trunk = DetectorTrunk(small_second(tmp_path))
    points = torch.rand(200, 4) * torch.tensor([6.4, 6.4, 2, 1]) - torch.tensor([0, 3.2, 2, 0])
    objective, head = connected(OccupancyReconstruction(), 8), LatentHead(trunk.out_channels, channels=8)
    _, _, _, queries = scene()
    queries.position = queries.position + 50
    queries.scan = torch.zeros_like(queries.scan)
    step = make_queries_batch(torch.zeros(200, 12), points[:, :3], torch.zeros(200).long(), queries, head)
    step.supports = trunk([points]).supports(points[:, :3], torch.zeros(200).long())
    results = objective(step)
    assert results['pairs'] == 0
    (results['loss_occupancy'] + results['loss_intensity']).backward()
    modules = (trunk, head, objective)
    assert all(p.grad is not None and not p.grad.any() for m in modules for p in m.parameters())


def model_config(camera: bool) -> dict:
    infonce = dict(type='peridot.PointPixelInfoNCE', head='instance', num_pairs=20)
    return copy.deepcopy(
        dict(
            type='peridot.Pretrainer',
            student=dict(type='peridot.PointwiseStudent'),
            teacher=dict(type='peridot.TinyTeacher') if camera else None,
            heads=dict(
                **(dict(instance=dict(channels=6)) if camera else {}),
                occupancy=dict(type='peridot.LatentHead', channels=8),
            ),
            objectives=dict(
                **(dict(infonce=infonce) if camera else {}),
                occupancy=dict(type='peridot.OccupancyReconstruction'),
            ),
        )
    )


def samples(camera: bool, sizes=(60, 90)) -> dict:
    inputs, g = [], torch.Generator().manual_seed(0)
    for size in sizes:
        _, xyz, _, queries = scene(size, 30, seed=size)
        del queries.scan
        own = dict(
            points=F.pad(xyz, (0, 1)), pairs=Pairs.empty(), queries=queries, frames=Frames.single(len(xyz), int(camera))
        )
        if camera:
            own['images'] = torch.randint(256, (1, 3, 16, 24), generator=g, dtype=torch.uint8)
            own['pairs'] = Pairs(
                point=torch.arange(30), camera=torch.zeros(30).long(), position=torch.rand(30, 2, generator=g) * 15
            )
        inputs.append(own)
    joined = {key: [own[key] for own in inputs] for key in inputs[0]}
    return dict(inputs=joined, data_samples=[Det3DDataSample(metainfo=dict(token=str(s))) for s in sizes])


@pytest.mark.parametrize('camera', [False, True])
def test_pretrainer_without_and_with_a_camera_objective(camera):
    torch.manual_seed(0)
    model = MODELS.build(model_config(camera))
    results = model(**model.data_preprocessor(samples(camera), True), mode='loss')
    assert model.student.calls == 1
    assert ('infonce/loss' in results) == camera
    assert results['occupancy/loss_occupancy'] > 0 and results['occupancy/pairs'] > 0
    sum(v for k, v in results.items() if 'loss' in k).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters() if p.requires_grad)


def test_queries_belong_to_their_own_scan():
    """The losses of a batch are those of its scans, weighted by their pairs."""
    torch.manual_seed(0)
    config = model_config(False)
    config['objectives']['occupancy']['max_neighbors'] = None
    model = MODELS.build(config)

    def run(**part):
        results = model(**model.data_preprocessor(samples(False, **part), True), mode='loss')
        return results['occupancy/loss_occupancy'].item(), results['occupancy/pairs'].item()

    (joint, pairs), *apart = run(), run(sizes=(60,)), run(sizes=(90,))
    assert pairs == sum(count for _, count in apart)
    assert joint == pytest.approx(sum(loss * count for loss, count in apart) / pairs, rel=1e-5)


def test_decoder_overfits_a_wall():
    """Behind a plane there is matter, in front of it there is none: a few supports learn it."""
    g = torch.Generator().manual_seed(0)
    xyz = torch.rand(100, 3, generator=g) * torch.tensor([0.0, 2, 2])
    position = torch.rand(300, 3, generator=g) * torch.tensor([0.4, 2, 2]) - torch.tensor([0.2, 0, 0])
    queries = Queries(
        position=position,
        occupied=position[:, 0] > 0,
        intensity=torch.full((300,), 0.5),
        has_intensity=torch.ones(300, dtype=torch.bool),
        scan=torch.zeros(300, dtype=torch.int64),
    )
    objective, head = build(max_neighbors=8)
    features = torch.zeros(100, 12)
    optimizer = torch.optim.AdamW([*objective.parameters(), *head.parameters()], lr=1e-2)
    for seed in range(80):
        results = objective(make_queries_batch(features, xyz, torch.zeros(100).long(), queries, head, seed=seed))
        optimizer.zero_grad()
        (results['loss_occupancy'] + results['loss_intensity']).backward()
        optimizer.step()
    assert results['iou'] > 0.9
    assert results['loss_intensity'] < 0.05

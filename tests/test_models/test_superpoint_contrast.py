"""SuperFlow's terms: superpixels of a sample within frames, superpoints of two frames."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peridot.errors import ConfigError
from peridot.models.heads import ProjectionHead
from peridot.models.objectives import SuperpixelInfoNCE, SuperpointContrast
from peridot.models.students import VoxelFeatures
from peridot.structures import Frames, Pairs
from test_objectives import UnitHead
from tiny import make_batch
from torch.testing import assert_close

SIZE, IDS, CHANNELS, TAU = (12, 16), 7, 6, 0.07
# frames of two samples: the second is the first of its drive
FRAMES = ((0, 1, 2, 3), (0, 2, 3))
SPATIAL = dict(ids='sample', within='frame')


def one_scan(frame: int, images: int, points: int, generator: torch.Generator) -> dict:
    """Points, pairs with the scan's own images, ids of their pixels."""
    count = points + 10
    pairs = Pairs(
        # some points are seen twice
        point=torch.randint(points, (count,), generator=generator),
        camera=torch.randint(max(images, 1), (count,), generator=generator).sort().values,
        position=torch.rand(count, 2, generator=generator) * torch.tensor([SIZE[0] - 1.0, SIZE[1] - 1.0]),
    )
    return dict(frames=Frames.single(points, images, frame), pairs=pairs, points=points)


def frames_batch(samples=FRAMES, seed: int = 0, absent: tuple[int, ...] = ()):
    """Samples of these frames, of which frame 3 is a dense cloud; `absent` ids are in no map."""
    g = torch.Generator().manual_seed(seed)
    frames, pairs, points, images = [], [], [0], [0]
    for numbers in samples:
        parts = [one_scan(frame, 0 if frame == 3 else 2, 30, g) for frame in numbers]
        frames.append(Frames.cat([part['frames'] for part in parts]))
        key = images[-1]
        for frame, part in zip(numbers, parts):
            own = part['pairs']
            if frame == 3:
                own.camera = (own.point * 7 % 2).sort().values
            first = key if frame == 3 else images[-1]
            pairs.append(own.replace(point=own.point + points[-1], camera=own.camera + first))
            points.append(points[-1] + part['points'])
            images.append(images[-1] + int(part['frames'].num_images))
    frames, maps = Frames.batch(frames), torch.randint(-1, IDS, (images[-1], *SIZE), generator=g)
    maps[torch.isin(maps, torch.tensor(absent, dtype=torch.int64))] = -1
    head = ProjectionHead(5, 4, CHANNELS)
    for parameter in head.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=g) * 0.5)
    feature_map = torch.randn(len(maps), 4, 3, 4, generator=g)
    scan = torch.arange(len(frames.frame)).repeat_interleave(frames.num_points)
    return make_batch(
        points=torch.randn(len(scan), 4, generator=g),
        scan=scan,
        student=torch.randn(len(scan), 5, generator=g).requires_grad_(),
        frames=frames,
        pairs=Pairs.cat(pairs),
        heads={'instance': head},
        make_teacher_map=lambda: feature_map,
        image_size=SIZE,
        maps={'superpixels': maps},
        map_ids={'superpixels': IDS},
    )


def place(batch, sample, frame):
    """Number of a scan, or None."""
    found = [i for i in range(len(batch.frames.frame)) if batch.frames.sample[i] == sample]
    return next((i for i in found if batch.frames.frame[i] == frame), None)


def loop_means(batch, sample, frame):
    """Mean embedding of every id of a scan that has points, pair by pair."""
    scan, means = place(batch, sample, frame), {}
    if scan is None:
        return means
    for pair in range(batch.num_pairs):
        if batch.scan[batch.pairs.point[pair]] != scan:
            continue
        row, column = batch.pairs.position[pair].round().long().tolist()
        number = int(batch.maps['superpixels'][batch.pairs.camera[pair], row, column])
        if number >= 0:
            means.setdefault(number, []).append(batch.embed_student('instance', torch.tensor([pair]))[0])
    return {number: torch.stack(rows).mean(0) for number, rows in means.items()}


def loop_pixels(batch, sample, frame):
    """Mean of the unit embeddings of all pixels of every id, over all images of a scan."""
    dense = F.interpolate(batch.project_teacher_map('instance'), SIZE, mode='bilinear', align_corners=True)
    dense, maps = F.normalize(dense, dim=1), batch.maps['superpixels']
    own = [i for i, scan in enumerate(batch.frames.image_scan.tolist()) if scan == place(batch, sample, frame)]
    means = {}
    for number in range(IDS):
        rows = [dense[image, :, maps[image] == number].T for image in own]
        if rows and len(torch.cat(rows)):
            means[number] = torch.cat(rows).mean(0)
    return means


def nce(k, q):
    return F.cross_entropy(torch.stack(k) @ torch.stack(q).T / TAU, torch.arange(len(k)))


@pytest.mark.parametrize('frames', [[(0, 1), (0, 2)], [(0, 3)], [(2, 0)]])
@pytest.mark.parametrize('distance', ['infonce', 'cosine'])
def test_superpoints_equal_loops_over_pairs(frames, distance):
    batch = frames_batch()
    terms, count = [], 0
    for first, second in frames:
        k, q = [], []
        for sample in (0, 1):
            here, there = (loop_means(batch, sample, frame) for frame in (first, second))
            both = sorted(set(here) & set(there))
            k += [here[number] for number in both]
            q += [there[number] for number in both]
        terms.append(
            nce(k, q) if distance == 'infonce' else (1 - F.cosine_similarity(*map(torch.stack, (k, q)))).mean()
        )
        count += len(k)
    results = SuperpointContrast(frames=frames, distance=distance, loss_weight=2.0)(batch)
    assert_close(results['loss'], 2 * sum(terms) / len(terms))
    assert results['superpoints'] == count > 6
    assert results['missing'] == sum(1 for pair in frames if 1 in pair)


def test_superpixels_of_a_sample_equal_loops():
    batch = frames_batch()
    terms, count = [], 0
    for frame in (0, 1, 2):
        k, q = [], []
        for sample in (0, 1):
            here, pixels = loop_means(batch, sample, frame), loop_pixels(batch, sample, frame)
            k += [here[number] for number in sorted(here)]
            q += [pixels[number] for number in sorted(here)]
        terms.append(nce(k, q))
        count += len(k)
    results = SuperpixelInfoNCE(**SPATIAL)(batch)
    assert_close(results['loss'], sum(terms) / 3)
    assert results['superpixels'] == count
    # one for all frames is another number
    assert abs(SuperpixelInfoNCE(ids='sample')(batch)['loss'] - results['loss']) > 1e-3


def test_superpixels_of_images_within_frames_equal_calls_of_each_frame():
    batch = frames_batch()
    images = batch.frames.image_scan
    terms = []
    for frame in (0, 1, 2):
        part = frames_batch()
        own = batch.frames.frame[batch.scan[batch.pairs.point]] == frame
        part.pairs = part.pairs[own]
        terms.append(SuperpixelInfoNCE()(part)['loss'])
    assert_close(SuperpixelInfoNCE(within='frame')(batch)['loss'], sum(terms) / 3)
    assert len(images) == 10


def test_points_of_the_dense_cloud_are_in_no_superpixel():
    batch, without = frames_batch(), frames_batch()
    without.pairs = without.pairs[batch.frames.frame[batch.scan[batch.pairs.point]] != 3]
    for settings in ({}, SPATIAL):
        found, expected = (SuperpixelInfoNCE(**settings)(one) for one in (batch, without))
        assert_close(found, expected, rtol=0, atol=0)
    assert batch.num_pairs > without.num_pairs


@pytest.mark.parametrize('objective', [SuperpixelInfoNCE(**SPATIAL), SuperpointContrast()], ids=['spatial', 'temporal'])
def test_order_of_samples_does_not_matter(objective):
    one, other = frames_batch(), frames_batch()
    other.frames.sample = 1 - other.frames.sample
    assert_close(objective(one), objective(other), rtol=0, atol=0)


def test_the_same_frame_twice_is_contrasted_with_itself():
    batch = frames_batch(samples=((0, 1), (0, 1)))
    half = len(batch.points) // 4
    rows, pairs = torch.arange(len(batch.points)), batch.pairs
    same = rows - half * (rows // half % 2)
    batch.student.inverse = same
    # pairs of the first frames, then the same of the second ones
    first = pairs[rows[pairs.point] // half % 2 == 0]
    batch.pairs = Pairs.cat([first, first.replace(point=first.point + half)])
    k = [mean for sample in (0, 1) for _, mean in sorted(loop_means(batch, sample, 0).items())]
    assert_close(SuperpointContrast(frames=[(0, 1)])(batch)['loss'], nce(k, k))


def test_a_sample_without_the_other_frame_takes_no_part():
    batch = frames_batch()
    results = SuperpointContrast(frames=[(0, 1)])(batch)
    results['loss'].backward()
    reached = [bool(grad.any()) for grad in batch.student.features.grad.split(batch.frames.num_points.tolist())]
    assert reached == [True, True, False, False, False, False, False]
    assert results['missing'] == 1


@pytest.mark.parametrize('distance', ['infonce', 'cosine'])
def test_nothing_in_common_is_a_loss_of_zero(distance):
    frames = frames_batch(absent=tuple(range(IDS)))
    for batch in (frames, frames_batch(samples=((0,), (2,)))):
        results = SuperpointContrast(distance=distance)(batch)
        assert (results['loss'], results['superpoints']) == (0, 0)
    assert SuperpixelInfoNCE(**SPATIAL)(frames)['loss'] == 0
    gathered = SuperpointContrast(gather_negatives=True)(frames)['loss']
    gathered.backward()
    assert gathered == 0


def test_partners_are_of_the_same_sample():
    batch = frames_batch()
    assert batch.frames.partners(0, 1).tolist() == [1] + [-1] * 6
    assert batch.frames.partners(3, 0).tolist() == [-1, -1, -1, 0, -1, -1, 4]
    assert SuperpointContrast(frames=[(0, 1), (3, 0)])(batch)['missing'] == 1


@pytest.mark.parametrize(
    'objective, settings, text',
    [
        (SuperpointContrast, dict(frames=[]), 'set pairs of two frames'),
        (SuperpointContrast, dict(frames=[(0, 0)]), 'set pairs of two frames'),
        (SuperpointContrast, dict(frames=[(0, 1, 2)]), 'set pairs of two frames'),
        (SuperpointContrast, dict(distance='l2'), "choose 'infonce' or 'cosine'"),
        (SuperpointContrast, dict(distance='cosine', gather_negatives=True), 'has no negatives'),
        (SuperpixelInfoNCE, dict(ids='scene'), "choose 'image' or 'sample'"),
        (SuperpixelInfoNCE, dict(within='sample'), "and 'batch' or 'frame'"),
    ],
)
def test_settings_without_sense(objective, settings, text):
    with pytest.raises(ConfigError, match=text):
        objective(**settings)


def test_maps_that_are_not_loaded_are_named():
    with pytest.raises(ConfigError, match=r'maps called .classes.*LoadViewMaps'):
        SuperpointContrast(groups='classes')(frames_batch())


# --- the released losses ---------------------------------------------------------------------------------------------

BRANCHES = ('key', 'previous', 'next', 'dense')


def golden_batch(g: dict[str, torch.Tensor]):
    """The batch of the golden vectors: two samples of four clouds, and the leaves that gradients are asked for."""
    voxels = {name: g[f'feature::voxels_{name}'].clone().requires_grad_() for name in BRANCHES}
    images = {name: g[f'feature::image_{name}'].clone().requires_grad_() for name in BRANCHES[:3]}
    first_voxel = dict(zip(BRANCHES, np.cumsum([0, *(len(voxels[name]) for name in BRANCHES)])))
    frames, pairs, inverse, points, order = [], [], [], 0, []
    for sample in range(2):
        for number, name in enumerate(BRANCHES):
            rows = g[f'inverse_{name}'][sample]
            cameras = 0 if name == 'dense' else 3
            image = g[f'pairing_images_{name}'][sample]
            first_image = 9 * sample + (0 if name == 'dense' else 3 * number)
            pairs.append(
                Pairs(
                    point=g[f'pairing_points_{name}'][sample] + points,
                    camera=image[:, 0] + first_image,
                    position=image[:, 1:].float(),
                )
            )
            inverse.append(rows + first_voxel[name] + sample * len(voxels[name]) // 2)
            frames.append(Frames.single(len(rows), cameras, number))
            points += len(rows)
            if cameras:
                order.append((name, sample))
    frames = Frames.batch([Frames.cat(frames[:4]), Frames.cat(frames[4:])])
    student = VoxelFeatures(torch.cat([voxels[name] for name in BRANCHES]), torch.cat(inverse))
    feature_map = torch.cat([images[name][3 * sample : 3 * sample + 3] for name, sample in order])
    maps = torch.cat([g[f'superpixels_{name}'][sample] for name, sample in order]).long()
    batch = make_batch(
        points=torch.zeros(points, 4),
        scan=torch.arange(8).repeat_interleave(frames.num_points),
        student=student,
        frames=frames,
        pairs=Pairs.cat(pairs),
        heads={'instance': UnitHead()},
        make_teacher_map=lambda: feature_map,
        image_size=tuple(feature_map.shape[-2:]),
        maps={'superpixels': maps},
        map_ids={'superpixels': int(g['superpixels_per_sample'])},
    )
    leaves = {f'voxels_{name}': leaf for name, leaf in voxels.items()}
    return batch, leaves | {f'image_{name}': leaf for name, leaf in images.items()}


@pytest.mark.parametrize(
    'name, objective',
    [
        ('loss_spatial', SuperpixelInfoNCE(**SPATIAL)),
        ('loss_d2s', SuperpointContrast(frames=[(0, 3)])),
        ('loss_temporal', SuperpointContrast(frames=[(0, 1), (0, 2)])),
    ],
)
def test_losses_and_gradients_are_the_released_ones(name, objective, golden):
    g = {key: torch.from_numpy(value) for key, value in golden('superflow_losses').items()}
    batch, leaves = golden_batch(g)
    objective.temperature = float(g['temperature'])
    loss = objective(batch)['loss']
    loss.backward()
    assert loss.item() == pytest.approx(g[name].item(), rel=1e-6)
    for branch, leaf in leaves.items():
        expected = g.get(f'grad::{name}::{branch}')
        if expected is None:
            # the branch is not reached
            assert leaf.grad is None or not leaf.grad.any(), branch
            continue
        if branch.startswith('image'):
            # unit vectors: normalizing them again takes the radial part out of the gradient
            unit = leaf.detach()
            expected = expected - unit * (unit * expected).sum(1, keepdim=True)
        assert_close(leaf.grad, expected, rtol=1e-4, atol=1e-7)

"""Several processes give the losses, gradients and buffers that the table of docs/several_gpus.md promises."""

import re
from pathlib import Path

import peridot.models.objectives
import pytest
import tiny  # noqa: F401 (registers student and teacher)
import torch
from mmdet3d.structures import Det3DDataSample, PointData
from mmengine.dataset import pseudo_collate
from peridot.models.functional import (
    gather_across_processes,
    mean_over_processes,
    reduce_sum,
    sizes_of_processes,
)
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs, Queries
from processes import in_processes
from torch.nn.parallel import DistributedDataParallel

PAGE = (Path(__file__).resolve().parents[2] / 'docs/several_gpus.md').read_text()
# what the processes together equal, by class: by default, and with gathered negatives ('-': it has none)
TABLE = {name: kinds for name, *kinds in re.findall(r'^\| `(\w+)` \| (own|joint) \| (own|joint|-) \|$', PAGE, re.M)}
HEIGHT, WIDTH, CAMERAS, CLASSES, SEGMENTS = 16, 24, 2, 5, 4
STEPS = 3
HEADS = dict(
    embed=dict(channels=6),
    distill=dict(type='peridot.DistillationHead'),
    scene=dict(type='peridot.DistillationHead', teacher_layer='class_token', normalize=False),
    latent=dict(type='peridot.LatentHead', channels=8),
    classes=dict(type='peridot.LatentHead', channels=CLASSES),
)
VMF = dict(type='VMFConsistency', head='embed', num_classes=CLASSES, momentum=0.9)
# nothing is drawn: all pairs are asked for
OBJECTIVES = dict(
    infonce=dict(type='PointPixelInfoNCE', head='embed'),
    superpixels=dict(type='SuperpixelInfoNCE', head='embed'),
    classes_in_frames=dict(type='SuperpixelInfoNCE', head='embed', ids='sample', within='frame'),
    superpoints=dict(type='SuperpointContrast', head='embed'),
    segments=dict(type='SuperpointContrast', head='embed', groups=None, unit_means=True),
    points=dict(type='PointSegmentConsistency', head='embed', frames=[(0, 1), (0, 2)]),
    sup_in=dict(type='WeaklySupervisedContrast', head='embed'),
    sup_out=dict(type='WeaklySupervisedContrast', head='embed', reduction='sup_out'),
    vmf=dict(VMF, warmup_steps=2),
    vmf_moving=dict(VMF, warmup_steps=1, freeze_after_warmup=False),
    distance=dict(type='FeatureDistance', head='distill'),
    distance_of_images=dict(type='FeatureDistance', head='distill', mean_over='images'),
    scene=dict(type='SceneToken', head='scene'),
    occupancy=dict(type='OccupancyReconstruction', head='latent', radius=4.0, max_neighbors=None),
    classes=dict(type='PointClassification', head='classes', ignore_index=CLASSES),
    cells=dict(type='BEVCellContrast', head='latent', cell=2.0, reach=12.0),
)
OLIVINE = ('infonce', 'sup_in', 'vmf')
# objectives, whether negatives are gathered, and what the processes equal
TRAININGS = {
    (names, gather): TABLE[OBJECTIVES[names[0]]['type']][gather]
    for names in [(name,) for name in OBJECTIVES] + [OLIVINE]
    for gather in (False, True)
    if (gather or names != OLIVINE) and TABLE[OBJECTIVES[names[0]]['type']][gather] != '-'
}
# for each process the pairs (queries, labeled points) of its samples
BATCHES = {
    'two': ((40, 7), (3, 25)),
    'two, the last batch is incomplete': ((20, 9), (45,)),
    'two, one without pairs': ((12, 30), (0, 0)),
    'two without pairs': ((0, 0), (0, 0)),
    'four, one without pairs': ((12,), (50,), (0,), (7,)),
}


def build(names, gather):
    torch.manual_seed(0)
    objectives = {name: {**OBJECTIVES[name], 'type': f'peridot.{OBJECTIVES[name]["type"]}'} for name in names}
    for name, settings in objectives.items():
        if gather and TABLE[OBJECTIVES[name]['type']][True] != '-':
            settings['gather_negatives'] = True
    return MODELS.build(
        dict(
            type='peridot.Pretrainer',
            student=dict(type='peridot.PointwiseStudent'),
            teacher=dict(type='peridot.TinyTeacher'),
            heads={name: dict(HEADS[name]) for name in {settings['head'] for settings in objectives.values()}},
            objectives=objectives,
        )
    )


def sample(seed, count):
    """Two frames of an image each, some pairs, as many queries and labeled points; samples have other classes.

    Without pairs there are no segments, either.
    """
    g = torch.Generator().manual_seed(seed)
    num_points, low = count + 10, seed % 3
    points = torch.rand(num_points, 4, generator=g) * 20 - 10
    camera, half = torch.randint(CAMERAS, (count,), generator=g).sort().values, num_points // 2
    pairs = Pairs(
        # some points are seen twice
        point=torch.randint(half, (count,), generator=g) + camera * half,
        camera=camera,
        position=torch.rand(count, 2, generator=g) * torch.tensor([HEIGHT - 1.0, WIDTH - 1.0]),
        label=torch.randint(low, low + 3, (count,), generator=g),
    )
    pairs.label[1::5] = -1
    queries = Queries(
        position=points[:count, :3] + torch.randn(count, 3, generator=g),
        occupied=torch.rand(count, generator=g) < 0.4,
        intensity=torch.rand(count, generator=g),
        has_intensity=torch.rand(count, generator=g) < 0.7,
    )
    labels = torch.randint(low, low + 3, (num_points,), generator=g)
    labels[count:] = CLASSES
    move = torch.eye(4, dtype=torch.float64)
    move[:2, 3] = torch.rand(2, generator=g)
    num_ids = 5 + low
    inputs = dict(
        points=points,
        pairs=pairs,
        queries=queries,
        # the second is the first or the second one asked for
        frames=Frames.cat([Frames.single(half, 1), Frames.single(num_points - half, 1, 1 + seed % 2, to_sample=move)]),
        segments=torch.randint(-1, SEGMENTS if count else 0, (num_points,), generator=g),
        images=torch.randint(256, (CAMERAS, 3, HEIGHT, WIDTH), generator=g, dtype=torch.uint8),
        maps=dict(superpixels=torch.randint(-1, num_ids, (CAMERAS, HEIGHT, WIDTH), generator=g)),
    )
    meta = dict(token=f'token{seed}', label_classes=CLASSES, map_ids=dict(superpixels=num_ids), num_segments=SEGMENTS)
    return dict(
        inputs=inputs,
        data_samples=Det3DDataSample(metainfo=meta, gt_pts_seg=PointData(pts_semantic_mask=labels)),
    )


def samples(batches, rank, step):
    """The batch of a process."""
    first = sum(map(len, batches[:rank]))
    return [sample(100 * step + first + i, count) for i, count in enumerate(batches[rank])]


def joint_batch(batches, step):
    return [one for rank in range(len(batches)) for one in samples(batches, rank, step)]


def train(names, gather, steps, wrap=lambda model: model):
    """Losses of some steps, as optimized and as logged, gradients of the last, buffers; the weights stay."""
    model = build(names, gather)
    network = wrap(model)
    losses, logged = [], []
    for batch in steps:
        model.zero_grad()
        loss, log = model.parse_losses(network(**model.data_preprocessor(pseudo_collate(batch), True), mode='loss'))
        loss.backward()
        losses.append(loss.detach())
        logged.append(log['loss'])
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return torch.stack(losses), torch.tensor(logged), gradients, dict(model.named_buffers())


def alone(names, gather, batches):
    """Mean over batches, each in a model of its own; the buffers of the first."""
    runs = [
        train(names, gather, [samples(batches, rank, step) for step in range(STEPS)]) for rank in range(len(batches))
    ]
    losses, logged, gradients, buffers = zip(*runs)
    mean = {name: sum(own[name] for own in gradients) / len(runs) for name in gradients[0]}
    return torch.stack(losses).mean(0), torch.stack(logged).mean(0), mean, buffers[0]


def exchange(rank):
    """Results of the exchange functions with 3 and 1 rows."""
    rows = torch.arange(3.0 if rank == 0 else 1.0)[:, None] + 10 * rank
    rows.requires_grad_()
    sizes = sizes_of_processes(len(rows), rows.device)
    gathered = gather_across_processes(rows, sizes)
    (gathered * (rank + 1)).sum().backward()
    mean = mean_over_processes(torch.tensor([3 * rank, 0]))
    return dict(
        sizes=sizes, gathered=gathered.detach(), grad=rows.grad, sum=reduce_sum(torch.tensor([rank + 1.0])), mean=mean
    )


def trainings(rank, chosen):
    """All trainings of a process, by their batches, objectives and gathering."""
    return {
        (case, *key): train(
            *key,
            [samples(batches, rank, step) for step in range(STEPS)],
            lambda model: DistributedDataParallel(model, broadcast_buffers=False),
        )
        for case, batches in chosen.items()
        for key in TRAININGS
    }


def with_exchange(rank):
    return trainings(rank, {name: parts for name, parts in BATCHES.items() if len(parts) == 2}), exchange(rank)


def with_four(rank):
    return trainings(rank, {name: parts for name, parts in BATCHES.items() if len(parts) == 4})


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    return in_processes(with_exchange, 2, tmp_path_factory.mktemp('two'))


@pytest.fixture(scope='module')
def found(two, tmp_path_factory):
    """Results of every process, by their batches, objectives and gathering."""
    four = in_processes(with_four, 4, tmp_path_factory.mktemp('four'))
    return {key: [own[key] for own in part] for part in ([own for own, _ in two], four) for key in part[0]}


def test_the_page_has_all_objectives():
    assert set(TABLE) == set(peridot.models.objectives.__all__) - {'Objective'}
    assert {settings['type'] for settings in OBJECTIVES.values()} == set(TABLE)
    for name, kinds in TABLE.items():
        gathers = issubclass(getattr(peridot.models.objectives, name), peridot.models.objectives.contrast.Contrast)
        assert (kinds[True] != '-') == gathers, name


@pytest.mark.parametrize('case', BATCHES)
@pytest.mark.parametrize('names, gather', TRAININGS, ids=['+'.join(n) + ', gathered' * g for n, g in TRAININGS])
def test_processes_equal_what_the_page_says(names, gather, case, found):
    batches = BATCHES[case]
    if TRAININGS[names, gather] == 'own':
        expected = alone(names, gather, batches)
    else:
        expected = train(names, gather, [joint_batch(batches, step) for step in range(STEPS)])
    losses, logged, gradients, buffers = expected
    own = found[case, names, gather]
    torch.testing.assert_close(sum(result[0] for result in own) / len(own), losses, rtol=1e-5, atol=1e-6)
    for _, its_log, its_gradients, its_buffers in own:
        torch.testing.assert_close(its_log, logged, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(its_gradients, gradients, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(its_buffers, buffers, rtol=1e-5, atol=1e-7)
    if case != 'two without pairs':
        assert losses[-1] != 0 and gradients['student.backbone.weight'].any()


def test_rows_of_different_number_are_gathered(two):
    for _, own in two:
        assert own['sizes'] == [3, 1]
        assert own['gathered'][:, 0].tolist() == [0, 1, 2, 10]


def test_gathered_rows_collect_the_gradients_of_all_processes(two):
    # the first process weights all rows by 1, the second by 2
    assert [own['grad'][:, 0].tolist() for _, own in two] == [[3, 3, 3], [3]]


def test_sums_and_means_over_processes(two):
    for _, own in two:
        assert own['sum'].item() == 3
        # the second is nothing in all processes, of which at least 1 is divided by
        assert own['mean'].tolist() == [1.5, 0.5]


def test_single_process_needs_no_exchange():
    rows = torch.ones(2, 3, requires_grad=True)
    assert sizes_of_processes(2, rows.device) == [2]
    assert gather_across_processes(rows, [2]) is rows
    assert reduce_sum(rows).tolist() == rows.tolist()
    assert not reduce_sum(rows).requires_grad
    assert mean_over_processes(torch.tensor([0, 3])).tolist() == [1, 3]

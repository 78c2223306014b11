"""Two processes whose gradients are averaged must equal one process with the joint batch."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from peridot.models.functional import gather_across_processes, reduce_sum, sizes_of_processes
from peridot.models.heads import ProjectionHead
from peridot.models.objectives import PointPixelInfoNCE, SuperpixelInfoNCE, VMFConsistency, WeaklySupervisedContrast
from peridot.structures import Pairs
from tiny import connected, make_batch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

CLASSES, DIM, POINTS, SUPERPIXELS = 4, 8, 30, 10
OBJECTIVES = {
    'info_nce': lambda: PointPixelInfoNCE(head='semantic', gather_negatives=True),
    'superpixel': lambda: SuperpixelInfoNCE(head='semantic', gather_negatives=True),
    'sup_in': lambda: WeaklySupervisedContrast(gather_negatives=True),
    'sup_out': lambda: WeaklySupervisedContrast(reduction='sup_out', gather_negatives=True),
    'vmf': lambda: connected(VMFConsistency(CLASSES, momentum=0.9, warmup_steps=2), DIM),
    'vmf_moving': lambda: connected(
        VMFConsistency(CLASSES, momentum=0.9, warmup_steps=1, freeze_after_warmup=False), DIM
    ),
}
# pairs in the first and the second process
PAIRS = {'equal': (12, 12), 'unequal': (7, 19), 'none in one': (0, 15), 'none': (0, 0)}


class Model(nn.Module):
    """A linear student, heads and one objective; a training step is a call with one batch."""

    def __init__(self, objective):
        super().__init__()
        torch.manual_seed(0)
        self.student = nn.Linear(4, 6)
        self.heads = nn.ModuleDict({'semantic': ProjectionHead(6, 5, DIM)})
        self.objective = objective

    def forward(self, batch):
        points, pairs, feature_map, superpixels = batch
        encoded = make_batch(
            points=points,
            student=self.student(points),
            pairs=pairs,
            heads=self.heads,
            make_teacher_map=lambda: feature_map,
            image_size=(16, 16),
            label_classes=CLASSES,
            maps={'superpixels': superpixels},
            map_ids={'superpixels': SUPERPIXELS},
        )
        # as the pre-trainer does it
        zero = 0.0 * sum(parameter.sum() for parameter in self.parameters())
        return self.objective(encoded)['loss'] + zero


def sample(rank, step, num_pairs):
    """One scan with one image; classes seen differ between processes."""
    g = torch.Generator().manual_seed(100 * step + rank)
    pairs = Pairs(
        point=torch.randint(0, POINTS, (num_pairs,), generator=g),
        camera=torch.zeros(num_pairs, dtype=torch.int64),
        position=torch.rand(num_pairs, 2, generator=g) * 15,
        label=torch.randint(rank, CLASSES - 1 + rank, (num_pairs,), generator=g),
    )
    superpixels = torch.randint(-1, SUPERPIXELS, (1, 16, 16), generator=g)
    return torch.randn(POINTS, 4, generator=g), pairs, torch.randn(1, 5, 4, 4, generator=g), superpixels


def joint(step, sizes):
    points, pairs, *stacked = zip(*(sample(rank, step, size) for rank, size in enumerate(sizes)))
    return torch.cat(points), Pairs.batch(pairs, [POINTS, POINTS], [1, 1]), *(torch.cat(part) for part in stacked)


def train(model, batches):
    """Losses of the steps, gradients of the last, statistics at the end; weights stay as they are."""
    losses = []
    for batch in batches:
        model.zero_grad()
        loss = model(batch)
        loss.backward()
        losses.append(loss.detach())
    inner = getattr(model, 'module', model)
    gradients = {name: p.grad.clone() for name, p in inner.named_parameters()}
    return torch.stack(losses), gradients, inner.objective.state_dict()


def exchange(rank):
    """Results of the exchange functions with 3 and 1 rows."""
    rows = torch.arange(3.0 if rank == 0 else 1.0)[:, None] + 10 * rank
    rows.requires_grad_()
    sizes = sizes_of_processes(len(rows), rows.device)
    gathered = gather_across_processes(rows, sizes)
    (gathered * (rank + 1)).sum().backward()
    return sizes, gathered.detach(), rows.grad, reduce_sum(torch.tensor([rank + 1.0]))


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    results = {'exchange': exchange(rank)}
    for name, build in OBJECTIVES.items():
        for case, sizes in PAIRS.items():
            model = DistributedDataParallel(Model(build()))
            results[name, case] = train(model, [sample(rank, s, sizes[rank]) for s in range(3)])
    torch.save(results, f'{folder}/{rank}.pt')
    dist.barrier()
    # tearing down DDP and gloo can hang in the destructors; everything is saved
    os._exit(0)


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp('two_processes')
    mp.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f'{rank}.pt', weights_only=True) for rank in range(2)]


@pytest.mark.parametrize('case', PAIRS)
@pytest.mark.parametrize('name', OBJECTIVES)
def test_two_processes_equal_the_joint_batch(both, name, case):
    losses, gradients, state = train(Model(OBJECTIVES[name]()), [joint(s, PAIRS[case]) for s in range(3)])
    mean = (both[0][name, case][0] + both[1][name, case][0]) / 2
    torch.testing.assert_close(mean, losses, rtol=1e-5, atol=1e-6)
    for rank in range(2):
        _, theirs, their_state = both[rank][name, case]
        torch.testing.assert_close(theirs, gradients, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(their_state, state, rtol=1e-5, atol=1e-7)
    if case != 'none':
        assert losses[-1].item() != 0
        assert gradients['student.weight'].any()


def test_rows_of_different_number_are_gathered(both):
    for sizes, gathered, _, _ in (both[0]['exchange'], both[1]['exchange']):
        assert sizes == [3, 1]
        assert gathered[:, 0].tolist() == [0, 1, 2, 10]


def test_gathered_rows_collect_the_gradients_of_all_processes(both):
    # the first process weights all rows by 1, the second by 2
    assert both[0]['exchange'][2][:, 0].tolist() == [3, 3, 3]
    assert both[1]['exchange'][2][:, 0].tolist() == [3]


def test_sum_over_processes(both):
    assert both[0]['exchange'][3].item() == both[1]['exchange'][3].item() == 3


def test_single_process_needs_no_exchange():
    rows = torch.ones(2, 3, requires_grad=True)
    assert sizes_of_processes(2, rows.device) == [2]
    assert gather_across_processes(rows, [2]) is rows
    assert reduce_sum(rows).tolist() == rows.tolist()
    assert not reduce_sum(rows).requires_grad

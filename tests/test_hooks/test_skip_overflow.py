"""Half precision on the CPU: mmengine's AmpOptimWrapper with torch's own scaler, and samples that overflow."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from mmdet3d.structures import Det3DDataSample
from mmengine.dataset import pseudo_collate
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from peridot.errors import PeridotError
from peridot.models.objectives.objective import Objective
from peridot.models.students import VoxelFeatures
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs
from processes import in_processes
from torch import nn
from torch.utils.data import Dataset

OVERFLOW = 1e6


@OPTIM_WRAPPERS.register_module(force=True)
class CpuAmpOptimWrapper(AmpOptimWrapper):
    """Scales losses and skips steps as on a GPU."""

    def __init__(self, scale: float = 2.0**12, static: bool = False, **kwargs) -> None:
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = scale if static else None
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=scale)
        self.cast_dtype = torch.float16

    optim_context = OptimWrapper.optim_context


@MODELS.register_module(force=True)
class HalfStudent(nn.Module):
    """Linear layer and batch normalization; activations beyond the range of float16 become infinite."""

    out_channels = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, points):
        flat = torch.cat(points)
        values = self.layer(flat).half().float()
        return VoxelFeatures(self.norm(values), torch.arange(len(flat)))


@MODELS.register_module(force=True)
class Centered(Objective):
    """Embeddings at pairs should lie at a place; counts its steps as class statistics do."""

    def connect(self, channels: int) -> None:
        self.register_buffer('average', torch.zeros(channels))

    def forward(self, batch):
        z = batch.embed_student(self.head, torch.arange(batch.num_pairs))
        self.average.lerp_(z.detach().mean(0), 0.5)
        return dict(loss=(z - 0.5).square().mean(), largest=batch.log(z.max()))


class Samples(Dataset):
    """Ten clouds, some of which overflow."""

    metainfo = {}

    def __init__(self, overflowing: tuple[int, ...]) -> None:
        self.overflowing = overflowing

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        points = torch.rand(20, 4, generator=torch.Generator().manual_seed(index))
        points[:, 3] *= OVERFLOW if index in self.overflowing else 1
        zeros = torch.zeros(20, dtype=torch.int64)
        pairs = Pairs(point=torch.arange(20), camera=zeros, position=torch.zeros(20, 2), label=zeros)
        inputs = dict(points=points, frames=Frames.single(20), pairs=pairs)
        return dict(inputs=inputs, data_samples=Det3DDataSample(metainfo=dict(token=f'token{index}')))


MODEL = dict(
    type='peridot.Pretrainer',
    student=dict(type='peridot.HalfStudent'),
    heads=dict(point=dict(channels=3)),
    objectives=dict(centered=dict(type='peridot.Centered', head='point')),
)


def train(folder: Path, overflowing: tuple[int, ...], wrapper: dict | None = None, resume=None, **settings) -> Runner:
    """Ten iterations of one sample each (two processes: five); as many again if the run is resumed."""
    torch.manual_seed(0)
    runner = Runner(
        model=MODEL,
        work_dir=str(folder),
        train_dataloader=dict(
            **dict(batch_size=1, num_workers=0, dataset=Samples(overflowing)),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2 if resume else 1),
        optim_wrapper={'type': 'CpuAmpOptimWrapper', 'optimizer': dict(type='SGD', lr=0.1), **(wrapper or {})},
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            skip_overflow=dict(type='peridot.SkipOverflowHook', **settings),
        ),
        experiment_name=str(folder).replace('/', '_'),
        default_scope='mmdet3d',
        resume=resume is not None,
        load_from=str(resume) if resume else None,
    )
    runner.train()
    return runner


def log_of(folder: Path) -> tuple[list[dict], str]:
    rows = [json.loads(line) for path in folder.glob('*/vis_data/scalars.json') for line in path.open()]
    return rows, next(folder.glob('*/*.log')).read_text()


def finite(values: dict[str, torch.Tensor]) -> bool:
    return all(value.isfinite().all() for value in values.values())


def test_a_few_overflows_are_skipped_and_leave_no_trace(tmp_path):
    runner = train(tmp_path / 'some', (3, 6))
    assert finite(runner.model.state_dict())
    rows, text = log_of(tmp_path / 'some')
    assert [row['skipped_steps'] for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert 'step 4: no finite loss in half precision (samples token3): skipped, 1 so far; loss scale 2048' in text
    assert 'samples token6): skipped, 2 so far; loss scale 1024' in text
    # averages in the log do not know these steps
    assert all(torch.tensor(list(row.values())).isfinite().all() for row in rows)
    # neither do batch statistics
    assert int(runner.model.iteration) == 10
    assert int(runner.model.student.norm.num_batches_tracked) == 8


def test_the_step_itself_changes_nothing_but_the_counter(tmp_path):
    model = train(tmp_path / 'run', ()).model
    model.zero_grad()
    assert model.skips_overflow
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = model.data_preprocessor(pseudo_collate([Samples((0,))[0]]), True)
    losses = model(**data, mode='loss')
    assert losses['centered/loss'].isnan()
    losses['centered/loss'].backward()
    assert all(not p.grad.isfinite().all() for p in model.parameters())
    after = model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {'iteration.count'}


def test_many_in_a_row_end_the_run_in_one_line(tmp_path):
    text = (
        r'^step 8: no finite loss .*\(samples token7\), as in the 3 steps before: .*'
        'leave --amp out, or set optim_wrapper.type=OptimWrapper .*--resume$'
    )
    with pytest.raises(PeridotError, match=text):
        train(tmp_path / 'many', (1, 2, 4, 5, 6, 7), limit=4)
    # pairs and triples do not
    train(tmp_path / 'others', (1, 2, 4, 5, 7, 8), limit=4)


@pytest.mark.parametrize('optimizer', [dict(type='SGD', lr=0.1), dict(type='Adam', lr=0.1, fused=True)])
def test_gradients_that_overflow_are_counted_though_losses_do_not(optimizer, tmp_path):
    # beyond the range of float16 until the scale has fallen
    runner = train(tmp_path / 'high', (), dict(scale=2.0**26, optimizer=optimizer))
    rows, text = log_of(tmp_path / 'high')
    skipped = rows[-1]['skipped_steps']
    assert 0 < skipped < 10
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0 ** (26 - skipped)
    assert 'step 1: no finite gradients in half precision (samples token0): skipped, 1 so far' in text
    # their losses are as good as others
    assert all('centered/loss' in row for row in rows)


@pytest.mark.parametrize('static', [False, True])
def test_many_steps_with_such_gradients_end_the_run(static, tmp_path):
    with pytest.raises(
        PeridotError, match=r'^step 4: no finite gradients .*\(samples token3\), as in the 3 steps before'
    ):
        train(tmp_path / 'run', (), dict(scale=2.0**60, static=static), limit=4)


def test_a_step_of_several_batches_counts_once(tmp_path):
    # the steps are of samples 0 to 2, 3 to 5, 6 to 8, and 9
    three = dict(accumulative_counts=3)
    train(tmp_path / 'some', (1, 3, 4, 9), three, limit=3)
    rows, text = log_of(tmp_path / 'some')
    assert [row['skipped_steps'] for row in rows] == [0, 0, 1, 1, 1, 2, 2, 2, 2, 3]
    assert 'step 6: no finite loss in half precision (samples token3, token4): skipped, 2 so far' in text
    # batches in between whose losses are finite do not make a step of it
    with pytest.raises(PeridotError, match=r'^step 9: no finite loss .*\(samples token7\), as in the 2 steps before'):
        train(tmp_path / 'many', (0, 5, 7), three, limit=3)
    with pytest.raises(PeridotError, match=r'^step 3: no finite gradients .*\(samples token0, token1, token2\)'):
        train(tmp_path / 'steep', (), dict(three, scale=2.0**60), limit=1)


def test_a_resumed_run_goes_on_counting(tmp_path):
    train(tmp_path / 'first', (3, 6))
    train(tmp_path / 'second', (5,), resume=tmp_path / 'first' / 'epoch_1.pth')
    assert [row['skipped_steps'] for row in log_of(tmp_path / 'second')[0]] == [2, 2, 2, 2, 2, 3, 3, 3, 3, 3]


def test_without_a_scaler_the_first_ends_the_run(tmp_path):
    with pytest.raises(PeridotError, match=r'centered/loss=nan at step 3, samples token3: training stopped before'):
        train(tmp_path / 'plain', (3,), dict(type='OptimWrapper'))
    assert 'skipped_steps' not in log_of(tmp_path / 'plain')[0][0]


def run_process(rank: int, folder: Path) -> tuple:
    Runner.wrap_model = lambda self, config, model: MMDistributedDataParallel(model, broadcast_buffers=False)
    # the processes share the samples in turn: only the second one overflows
    runner = train(folder / 'two', (3,))
    skipped = next(hook.skipped for hook in runner.hooks if hasattr(hook, 'skipped'))
    scale = runner.optim_wrapper.loss_scaler.get_scale()
    return runner.model.module.state_dict(), skipped, scale


def test_processes_decide_alike(tmp_path):
    (first, *one), (second, *two) = in_processes(partial(run_process, folder=tmp_path), 2, tmp_path)
    assert one == two == [1, 2048.0]
    assert finite(first) and finite(second)
    for name, value in first.items():
        # batch statistics are those of each process
        assert torch.equal(value, second[name]) or 'norm.running' in name or 'average' in name, name
    assert int(first['student.norm.num_batches_tracked']) == int(second['student.norm.num_batches_tracked']) == 4

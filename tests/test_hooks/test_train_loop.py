"""Runs continue within an epoch as if they had never stopped."""

import re

import pytest
import torch
from mmengine.hooks import Hook
from peridot.hooks.train_loop import Remainder
from tiny_runs import SAMPLES, Net, Numbers, loader, logged, train
from torch import Tensor

SCHEDULE = [dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=2, convert_to_iter_based=True)]
EVERY_ITERATION = dict(
    logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)
)
LOOP = dict(train_cfg=dict(type='peridot.TrainLoop', max_epochs=3), default_hooks=EVERY_ITERATION)


class Recorder(Hook):
    """The samples of every iteration, by number."""

    def __init__(self) -> None:
        self.seen = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        assert batch_idx == runner.iter % len(runner.train_dataloader)
        self.seen[runner.iter] = [round(SAMPLES * float(x[0])) for x in data_batch['x']]


class Noted(Numbers):
    """Notes which samples were loaded."""

    loaded = []

    def __getitem__(self, index: int) -> dict:
        self.loaded.append(index)
        return super().__getitem__(index)


def weights(runner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in runner.model.parameters()])


def test_a_resumed_run_is_the_undisturbed_one_after_any_iteration(tmp_path):
    whole, order = train(tmp_path / 'whole', SCHEDULE, 3, model=Net(0.5), hooks=[seen := Recorder()], **LOOP), seen.seen
    assert len(order) == 12 and sorted(s for i in range(4) for s in order[i]) == list(range(SAMPLES))
    for iteration in (1, 6, 7, 8, 11):
        folder, recorder = tmp_path / str(iteration), Recorder()
        start = tmp_path / 'whole' / f'iter_{iteration}.pth'
        runner = train(folder, SCHEDULE, 3, resume=start, model=Net(0.5), hooks=[recorder], **LOOP)
        assert recorder.seen == {step: samples for step, samples in order.items() if step >= iteration}
        assert logged(folder) == {step: rate for step, rate in logged(tmp_path / 'whole').items() if step > iteration}
        assert weights(runner).equal(weights(whole)), iteration
    assert re.search(r'\[3\] *\[4/4\]|\[12/12\]', next(folder.glob('*/*.log')).read_text())


def test_batches_before_the_checkpoint_are_not_loaded(tmp_path):
    train(tmp_path / 'whole', SCHEDULE, 3, **LOOP)
    Noted.loaded.clear()
    train(
        tmp_path / 'b',
        SCHEDULE,
        3,
        resume=tmp_path / 'whole' / 'iter_7.pth',
        train_dataloader=loader(3, Noted()),
        **LOOP,
    )
    assert len(Noted.loaded) == 3 + SAMPLES


def test_without_a_seed_in_the_config_a_resumed_epoch_keeps_its_order(tmp_path):
    seedless = dict(LOOP, randomness=dict(seed=None))
    train(tmp_path / 'whole', SCHEDULE, 3, hooks=[whole := Recorder()], **seedless)
    start = tmp_path / 'whole' / 'iter_6.pth'
    train(tmp_path / 'second', SCHEDULE, 3, resume=start, hooks=[second := Recorder()], **seedless)
    assert second.seen == {step: samples for step, samples in whole.seen.items() if step >= 6}


@pytest.mark.parametrize('before, after, iteration, at', [(2, 3, 9, 6), (2, 4, 7, 3), (3, 2, 5, 7), (6, 2, 3, 9)])
def test_another_batch_size_continues_at_the_same_sample(before, after, iteration, at, tmp_path):
    """Rounded down to whole batches: no sample is left out."""
    train(tmp_path / 'part', SCHEDULE, before, hooks=[first := Recorder()], **LOOP)
    start = tmp_path / 'part' / f'iter_{iteration}.pth'
    train(tmp_path / 'second', SCHEDULE, after, resume=start, hooks=[second := Recorder()], **LOOP)
    assert min(second.seen) == at
    length = SAMPLES // before
    done = [s for step in range(length, 2 * length) if step < iteration for s in first.seen[step]]
    rest = [s for step, samples in second.seen.items() if step < 2 * SAMPLES // after for s in samples]
    assert set(done) | set(rest) == set(range(SAMPLES)) and len(done) + len(rest) < SAMPLES + after
    assert logged(tmp_path / 'second')[at + 1] == pytest.approx(logged(tmp_path / 'part')[iteration + 1], rel=0.2)


def test_the_remainder_keeps_the_length_of_the_whole():
    assert list(Remainder(range(5), 2)) == [2, 3, 4] and len(Remainder(range(5), 2)) == 5
    assert list(Remainder(range(5), 7)) == []

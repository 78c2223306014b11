"""A preempted run loses nothing."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from peridot.errors import Preempted
from peridot.hooks import InterruptionHook, interruption
from peridot.work_dirs import last_checkpoint
from tiny_runs import Net, Numbers, loader, train
from torch import Tensor

LOOP = dict(train_cfg=dict(type='peridot.TrainLoop', max_epochs=3))
RATE = [dict(type='ExponentialLR', gamma=0.9, by_epoch=False)]


class At(Hook):
    """Does something before an iteration."""

    def __init__(self, iteration: int, action) -> None:
        self.iteration, self.action = iteration, action

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            self.action()


def send(number: int):
    return lambda: os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def afterwards_as_before():
    """A run that is ended leaves its process listening."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    InterruptionHook.listening = False


def run(folder: Path, *hooks: Hook, minutes: float = 30, batch: int = 3, **settings):
    hooks = [InterruptionHook(minutes), *hooks]
    return train(folder, RATE, batch, model=Net(0.5), hooks=hooks, **{**LOOP, **settings})


def weights(runner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in runner.model.parameters()])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('*.pth')}


def test_sigterm_saves_and_ends_and_resuming_gives_the_same_weights(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    whole = run(tmp_path / 'whole')
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(Preempted, match=r'ended by SIGTERM after iteration 7, which is saved: .* --resume continues'):
        run(tmp_path / 'part', At(6, send(signal.SIGTERM)))
    assert last_checkpoint(tmp_path / 'part') == str(tmp_path / 'part' / 'interim_7.pth')
    resumed = run(tmp_path / 'part', resume=last_checkpoint(tmp_path / 'part'))
    assert weights(resumed).equal(weights(whole)) and resumed.iter == 12
    # superseded by the next one of its kind, also in another run
    with pytest.raises(Preempted):
        run(tmp_path / 'part', At(9, send(signal.SIGTERM)), resume=tmp_path / 'part' / 'interim_7.pth')
    assert 'interim_7.pth' not in files(tmp_path / 'part') >= {'interim_10.pth'}


def test_sigusr1_saves_and_goes_on(tmp_path):
    run(tmp_path, At(1, send(signal.SIGUSR1)), At(5, send(signal.SIGUSR1)))
    # the last one of its kind remains
    assert files(tmp_path) == {'interim_6.pth', 'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'}
    assert last_checkpoint(tmp_path).endswith('epoch_3.pth')


def test_time_saves_within_an_epoch(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: clock[0])

    def pass_minutes(minutes: float):
        return lambda: clock.__setitem__(0, clock[0] + 60 * minutes)

    # the checkpoint of the first epoch counts, too
    run(tmp_path, At(2, pass_minutes(8)), At(5, pass_minutes(8)), At(6, pass_minutes(3)), minutes=10)
    assert files(tmp_path) == {'interim_7.pth', 'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'}


def test_within_an_accumulation_of_gradients_it_waits_for_the_step(tmp_path):
    wrapper = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=3))
    whole = run(tmp_path / 'whole', **wrapper)
    with pytest.raises(Preempted, match='after iteration 6'):
        run(tmp_path / 'part', At(4, send(signal.SIGTERM)), **wrapper)
    resumed = run(tmp_path / 'part', resume=last_checkpoint(tmp_path / 'part'), **wrapper)
    assert weights(resumed).equal(weights(whole))


def test_at_the_end_of_an_epoch_all_that_belongs_to_it_comes_first(tmp_path):
    with pytest.raises(Preempted, match='after iteration 8'):
        run(tmp_path, At(7, send(signal.SIGUSR1)), At(7, send(signal.SIGTERM)))
    assert files(tmp_path) == {'epoch_1.pth', 'epoch_2.pth', 'interim_8.pth'}
    resumed = run(tmp_path, resume=last_checkpoint(tmp_path))
    assert resumed.iter == 12 and {'epoch_3.pth'} < files(tmp_path)


def test_gradients_that_the_end_of_an_epoch_leaves_are_not_lost(tmp_path):
    """Epochs of 4 iterations, of which 3 make a step."""
    wrapper = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=3))
    with pytest.raises(Preempted, match='after iteration 6'):
        run(tmp_path, At(3, send(signal.SIGTERM)), **wrapper)


def test_saving_at_every_chance_keeps_the_last(tmp_path):
    run(tmp_path, minutes=0)
    assert last_checkpoint(tmp_path).endswith('interim_12.pth') and 'interim_12.pth' in files(tmp_path)
    assert len([name for name in files(tmp_path) if name.startswith('interim')]) == 1


def test_checkpoints_go_where_the_others_go(tmp_path):
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, out_dir=str(tmp_path / 'away')))
    run(tmp_path / 'run', At(5, send(signal.SIGUSR1)), default_hooks=hooks)
    assert 'interim_6.pth' in files(tmp_path / 'away' / 'run') and not files(tmp_path / 'run')


def forked(function, *arguments) -> multiprocessing.Process:
    """A process with a group of its own, which ends without Python's clean-up of what it shares with this one."""

    def body() -> None:
        os.setsid()
        torch.set_num_threads(1)
        try:
            function(*arguments)
        except Preempted as end:
            print(end, flush=True)
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(143)
        os._exit(0)

    process = multiprocessing.get_context('fork').Process(target=body)
    process.start()
    return process


class Slow(Numbers):
    def __getitem__(self, index: int) -> dict:
        time.sleep(0.05)
        return super().__getitem__(index)


def test_a_signal_to_the_whole_job_spares_the_loaders_workers(tmp_path):
    started = multiprocessing.Event()
    process = forked(lambda: run(tmp_path, At(5, started.set), train_dataloader=loader(3, Slow(), workers=2)))
    assert started.wait(60)
    os.killpg(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    assert last_checkpoint(tmp_path).endswith(tuple(f'interim_{n}.pth' for n in (6, 7, 8)))


def test_the_end_of_workers_at_the_end_of_a_program_is_no_accident():
    def accident(number, frame):
        raise RuntimeError('a worker was killed')

    previous = signal.signal(signal.SIGCHLD, accident)
    try:
        child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,), daemon=True)
        child.start()
        interruption._kill_children()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    finally:
        signal.signal(signal.SIGCHLD, previous)


def test_sigterm_outside_the_iterations_ends_the_run_at_once(tmp_path):
    class Validation(Hook):
        def before_train_epoch(self, runner) -> None:
            if runner.epoch == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    process = forked(lambda: run(tmp_path, Validation()))
    process.join(60)
    assert process.exitcode == -signal.SIGTERM and files(tmp_path) == {'epoch_1.pth'}


def run_rank(rank: int, port: int, folder: Path, at: int, batch: int) -> None:
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    # only the second process gets the signal
    hooks = [At(at, send(signal.SIGTERM))] if rank else []
    try:
        run(folder, *hooks, batch=batch)
    except Preempted as end:
        (folder / f'{rank}.txt').write_text(str(end))
        dist.barrier()
        raise


@pytest.mark.parametrize(
    'batch, at, end',
    [(1, 7, 10), (3, 2, 4)],
    ids=['within an epoch', 'at its end'],
)
def test_processes_end_together(batch, at, end, tmp_path, free_port):
    """Epochs of 6 or 2 iterations."""
    processes = [forked(run_rank, rank, free_port, tmp_path, at, batch) for rank in range(2)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [143, 143]
    assert all(f'after iteration {end},' in (tmp_path / f'{rank}.txt').read_text() for rank in range(2))
    assert last_checkpoint(tmp_path).endswith(f'interim_{end}.pth')

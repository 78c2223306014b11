"""Estimates of a run's duration and warnings of slow loading, with made-up times."""

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub
from peridot.hooks import duration
from peridot.hooks.duration import DurationHook, evaluations_left, in_words


class Run:
    """A run by epochs whose steps take 0.4 s, of which `waiting` s for data; it keeps what is logged."""

    def __init__(self, monkeypatch, waiting=0.03, epochs=50, steps=100, first=0, evaluates=True, interval=10):
        self.message_hub = MessageHub('duration')
        self.train_loop = SimpleNamespace(
            epoch=first // steps, iter=first, max_epochs=epochs, max_iters=epochs * steps, val_begin=1
        )
        self.train_loop.val_interval = interval
        self.val_loop = object() if evaluates else None
        self.train_dataloader = SimpleNamespace(num_workers=2)
        self.waiting, self.lines, self.clock = waiting, [], 0.0
        monkeypatch.setattr(duration, 'print_log', lambda text, *_: self.lines.append(text))
        monkeypatch.setattr(duration.time, 'monotonic', lambda: self.clock)
        monkeypatch.setattr(duration, 'usable_cores', lambda: 8)
        monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
        self.hook = DurationHook()
        self.hook.before_train(self)

    max_epochs = property(lambda self: self.train_loop.max_epochs)
    max_iters = property(lambda self: self.train_loop.max_iters)
    iter = property(lambda self: self.train_loop.iter)

    def step(self, count, time=0.4, waiting=None):
        for _ in range(count):
            self.message_hub.update_scalar('train/time', time)
            self.message_hub.update_scalar('train/data_time', self.waiting if waiting is None else waiting)
            self.hook.after_train_iter(self, 0)
            self.train_loop.iter += 1

    def evaluate(self, epoch, seconds):
        self.train_loop.epoch = epoch
        self.hook.before_val(self)
        self.clock += seconds
        self.hook.after_val(self)


def test_the_estimate_comes_once_and_leaves_out_the_first_steps(monkeypatch):
    run = Run(monkeypatch)
    run.step(10, time=20, waiting=19)
    run.step(39)
    assert run.lines == []
    run.step(400)
    assert run.lines == [
        'about 33 min for 50 epochs at 0.4 s a step (0.03 s waiting for data), evaluations not counted'
    ]


def test_the_estimate_of_a_resumed_run_is_of_what_is_left(monkeypatch):
    run = Run(monkeypatch, first=4750, evaluates=False)
    run.step(50)
    assert run.lines == ['about 100 s for 2.5 epochs at 0.4 s a step (0.03 s waiting for data)']


def test_a_run_by_steps_counts_steps(monkeypatch):
    run = Run(monkeypatch, evaluates=False)
    run.train_loop.max_epochs = None
    run.step(50)
    assert run.lines[0].startswith('about 33 min for 5000 steps at')


def test_the_first_evaluation_makes_the_estimate_complete(monkeypatch):
    run = Run(monkeypatch)
    run.step(1000)
    run.evaluate(10, 300)
    run.evaluate(20, 900)
    assert run.lines[1:] == ['about 47 min left: 40 epochs, 4 evaluations of 5.0 min']


def test_an_evaluation_before_the_estimate_or_without_training_says_nothing(monkeypatch):
    run = Run(monkeypatch)
    run.evaluate(1, 300)
    run.step(50)
    run.train_loop = dict(type='EpochBasedTrainLoop')
    run.evaluate_only = True
    run.hook.before_val(run)
    assert evaluations_left(run) == 0 and len(run.lines) == 1


@pytest.mark.parametrize(
    ('interval', 'begin', 'epoch', 'left'), [(10, 1, 0, 5), (7, 1, 0, 8), (10, 25, 0, 3), (10, 1, 40, 1), (60, 1, 0, 1)]
)
def test_evaluations_are_counted_as_the_loop_does(monkeypatch, interval, begin, epoch, left):
    run = Run(monkeypatch, interval=interval)
    run.train_loop.val_begin, run.train_loop.epoch = begin, epoch
    assert evaluations_left(run) == left


def test_slow_loading_is_warned_of_once_with_the_setting_that_helps(monkeypatch):
    run = Run(monkeypatch)
    run.step(50)
    run.step(80, waiting=0.2)
    (warning,) = run.lines[1:]
    assert warning.startswith('50% of the last 40 steps was waiting for data (0.2 of 0.4 s a step), with 2 workers')
    assert 'on 8 cores for this process: set train_dataloader.num_workers=8 (--cfg-options), or see' in warning


def test_more_workers_than_cores_are_not_advised(monkeypatch):
    run = Run(monkeypatch, waiting=0.2)
    run.train_dataloader.num_workers = 2
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    run.step(50)
    assert '2 workers on 2 cores for this process: see docs/performance.md' in run.lines[1]


def test_loading_just_below_a_third_is_no_warning(monkeypatch):
    run = Run(monkeypatch, waiting=0.13)
    run.step(200)
    assert len(run.lines) == 1


def test_without_times_nothing_is_said(monkeypatch):
    run = Run(monkeypatch)
    for _ in range(60):
        run.hook.after_train_iter(run, 0)
        run.train_loop.iter += 1
    assert run.lines == []


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(4.2, '4.2 s'), (59, '59 s'), (119, '119 s'), (300, '5.0 min'), (7100, '118 min'), (11520, '3.2 h')]
    + [(86400, '24 h'), (259200, '3.0 days')],
)
def test_durations_have_a_fitting_unit(seconds, text):
    assert in_words(seconds) == text

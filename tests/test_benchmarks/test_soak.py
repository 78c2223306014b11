"""benchmarks/soak.py: it finds what grows; 2000 steps of a tiny network do not."""

import multiprocessing
import runpy
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny  # noqa: F401  (registers the network)

REPO = Path(__file__).resolve().parents[2]
CONFIG = f"""
_base_ = ['{REPO}/configs/_base_/datasets/demo_paired.py', '{REPO}/configs/_base_/methods/ppkt.py',
          '{REPO}/configs/_base_/schedules/adamw_cosine_10e.py', '{REPO}/configs/_base_/default_runtime.py']
model = dict(
    type='peridot.Pretrainer',
    student=dict(type='peridot.PointwiseStudent'),
    teacher=dict(type='peridot.TinyTeacher'),
    heads=_base_.heads,
    objectives=dict(infonce=dict(_base_.objectives.infonce, num_pairs=128)),
)
train_pipeline = [*_base_.read_sample, *_base_.augment]
train_dataloader = dict(
    num_workers=2,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(cameras=['CAM_FRONT'], pipeline=train_pipeline)
)
"""


@pytest.fixture
def soak(demo_root, tmp_path, monkeypatch):
    """`soak('--steps', 100)`: exit status of the benchmark with a network that takes milliseconds."""
    (tmp_path / 'tiny.py').write_text(CONFIG)

    def run(*arguments) -> int:
        command = ['soak.py', tmp_path / 'tiny.py', '--data-root', demo_root, *arguments]
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(REPO / 'benchmarks' / 'soak.py'), run_name='__main__')
        return int(stop.value.code)

    return run


@pytest.mark.slow
def test_memory_is_flat_over_2000_steps(soak):
    assert soak('--steps', 2000, '--limit', 1.02) == 0


def test_memory_that_grows_is_found():
    hook, kept = runpy.run_path(str(REPO / 'benchmarks' / 'soak.py'))['MemoryHook'](interval=2), []
    worker = multiprocessing.get_context('fork').Process(target=signal.pause, daemon=True)
    worker.start()
    for step in range(6):
        hook.after_train_iter(SimpleNamespace(iter=step), step)
        kept.append(np.ones(5_000_000))
    worker.kill()
    worker.join()
    first, last = hook.values[0][0], hook.values[-1][0]
    # 4 steps with 40 MB each
    assert len(hook.values) == 3 and 150 < last - first < 250
    of_trainer, of_worker = hook.growth()
    assert of_trainer == last / first and of_worker == pytest.approx(1, abs=0.05)

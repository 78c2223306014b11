"""benchmarks/scaling.py without measurements: what a step waits for."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[2] / 'benchmarks' / 'scaling.py'


@pytest.fixture(scope='module')
def scaling():
    spec = importlib.util.spec_from_file_location('scaling', PATH)
    module = sys.modules['scaling'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules['scaling']


def test_a_step_waits_for_the_slowest_part(scaling):
    parts = scaling.Parts(step=0.2, load=0.1, batch=4, exchange=0.05)
    assert parts.seconds(1, workers=4) == (0.2, 'step')
    assert parts.seconds(1, workers=1) == (0.4, 'loader')
    # a ring of many sends every number twice
    assert parts.seconds(2, workers=4) == (0.25, 'step')
    assert parts.seconds(1000, workers=4)[0] == pytest.approx(0.3, abs=1e-3)
    assert scaling.Parts(0.01, 0.001, 4, 0.05).seconds(2, 4)[1] == 'exchange'


def test_processes_on_a_cpu_share_its_cores(scaling):
    parts = scaling.Parts(step=1.0, load=0.0, batch=1)
    assert parts.on_cpu(1, cores=2, beside=1.0) == parts.on_cpu(2, cores=2, beside=1.0) == 1.0
    assert parts.on_cpu(2, cores=2, beside=1.5) == pytest.approx(1.5)
    assert parts.on_cpu(4, cores=2, beside=1.0) == pytest.approx(2.0)
    # a worker that is busy for a quarter of a step slows this part of it
    loading = scaling.Parts(step=1.0, load=0.25, batch=1)
    assert loading.on_cpu(1, cores=2, beside=1.4) == pytest.approx(1.1, abs=0.01)


def test_processes_wait_for_the_longest_of_their_steps(scaling):
    generator = np.random.default_rng(0)
    times = generator.gamma(4.0, size=2000)
    assert scaling.slowest(times, 1) == np.median(times)
    longest = generator.choice(times, (3, 20_000)).max(0)
    assert scaling.slowest(times, 3) == pytest.approx(np.median(longest), rel=0.02)


def test_the_table_says_where_it_ends(scaling, capsys):
    scaling.table(scaling.Parts(0.1, 0.1, 8, 0.0), samples=800, epochs=9, cores=4)
    printed = capsys.readouterr().out
    assert 'cores that one GPU keeps busy: 8.0' in printed
    assert '| 1 | 40.0 | 0.1 | loader |' in printed

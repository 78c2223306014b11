"""benchmarks/effect.py without trainings: what it records, what it skips, what it writes."""

import functools
import importlib.util
import json
from pathlib import Path

import pytest
from mmengine.config import Config
from peridot.demo.comparison import Comparison
from PIL import Image

REPO = Path(__file__).resolve().parents[2]


class ReadOnce:
    """In place of `Config`, whose files inherit from many others: each is read once for all tests."""

    fromfile = staticmethod(functools.cache(Config.fromfile))


@pytest.fixture
def effect(tmp_path, monkeypatch):
    """The module, with its results in a folder of the test and made-up numbers in place of runs."""
    spec = importlib.util.spec_from_file_location('effect', REPO / 'benchmarks' / 'effect.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = tmp_path / 'page.md'
    page.write_text('OLIVINE: <!--linear_probe_miou/olivine-->-<!--/-->')
    monkeypatch.setattr(module, 'Config', ReadOnce)
    monkeypatch.setattr(module, 'OUT', tmp_path)
    monkeypatch.setattr(module, 'documents', lambda: [page])
    monkeypatch.setattr(module, 'commit', lambda: 'abc')
    module.runs = []

    def probed(self, network, seed):
        module.runs.append(('probe', network, seed))
        self.keep('probe', network, seed, dict(miou=0.4 + seed / 100, mlp_miou=0.5))

    def tuned(self, table, config, network, seed):
        module.runs.append((table, network, seed))
        self.keep(table, network, seed, dict(miou=0.3))

    monkeypatch.setattr(Comparison, 'run_network', probed)
    monkeypatch.setattr(Comparison, 'tool', lambda *args, **kwargs: None)
    monkeypatch.setattr(module.Effect, 'fine_tune', tuned)
    return module


def test_networks_are_measured_once_and_written_everywhere(effect, tmp_path):
    effect.Effect(tmp_path / 'work', ['olivine'], []).run()
    found = json.loads((tmp_path / 'streets.json').read_text())
    assert found['linear_probe_miou'] == {name: [0.4, 0.41, 0.42] for name in ('random', 'olivine')}
    assert found['fine_tune_10pct_published_miou']['random'] == [0.3, 0.3, 0.3]
    assert found['runs']['olivine']['commits'] == ['abc'] * 3
    assert (tmp_path / 'page.md').read_text() == 'OLIVINE: <!--linear_probe_miou/olivine-->0.410 ± 0.010<!--/-->'
    assert '| OLIVINE | 0.410 ± 0.010 | - | 0.500 ± 0.000 |' in (tmp_path / 'streets.md').read_text()
    assert Image.open(tmp_path / 'streets.png').size > (800, 300)
    # another machine: nothing is left but the results
    done = len(effect.runs)
    effect.Effect(tmp_path / 'other', ['olivine', 'ppkt'], []).run()
    assert {run[1] for run in effect.runs[done:]} == {'ppkt'}


def test_experiments_are_probed_alone(effect, tmp_path):
    name = 'olivine_perfect_labels'
    effect.Effect(tmp_path / 'work', ['olivine'], [name]).run()
    assert effect.runs == [('probe', name, seed) for seed in (0, 1, 2)]
    options = effect.EXPERIMENTS[name][1]
    assert effect.Effect(tmp_path / 'work', ['olivine'], [name]).options_of(name) == options
    assert f'| `{name}` | 0.410 ± 0.010 | - | 0.500 ± 0.000 |' in (tmp_path / 'streets.md').read_text()


def test_settings_decide_what_is_measured_again(effect):
    olivine = effect.configs_of('olivine')
    assert effect.fingerprint(olivine) == effect.fingerprint(olivine)
    different = [effect.fingerprint(olivine, ['a=1']), effect.fingerprint(effect.configs_of('ppkt'))]
    assert len({effect.fingerprint(olivine), *different}) == 3


def test_drive_and_segment_runs_beside_the_networks(effect, tmp_path, monkeypatch):
    calls = []

    def scored(self, name, *arguments, prefix=''):
        if name != 'drive_and_segment':
            return
        folder, seed = (arguments[arguments.index(key) + 1] for key in ('--work-dir', '--seeds'))
        calls.append((prefix, seed))
        Path(folder).mkdir(parents=True)
        scores = {title: {seed: dict(miou=0.2 + int(seed) / 100, acc=0.5)} for title in effect.DRIVE_AND_SEGMENT_ROWS}
        (Path(folder) / 'results.json').write_text(json.dumps(dict(scores=scores)))

    monkeypatch.setattr(Comparison, 'tool', scored)
    effect.Effect(tmp_path / 'work', ['ppkt'], [], images=True).run()
    assert calls == [(f'Drive&Segment seed {seed} | ', str(seed)) for seed in (0, 1, 2)]
    found = json.loads((tmp_path / 'streets.json').read_text())
    assert found['drive_and_segment_miou'] == {row: [0.2, 0.21, 0.22] for row in effect.DRIVE_AND_SEGMENT_ROWS.values()}
    assert found['linear_probe_miou']['ppkt'] == [0.4, 0.41, 0.42]
    assert '| student of the extension | 0.210 ± 0.010 |' in (tmp_path / 'streets.md').read_text()
    effect.Effect(tmp_path / 'other', ['ppkt'], [], images=True).run()
    assert len(calls) == 3

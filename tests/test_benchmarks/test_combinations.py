"""benchmarks/combinations.py without trainings: what it tries, what it keeps, what it trains with."""

import importlib
from pathlib import Path

import pytest
from mmengine.config import Config
from peridot.models.pretrainer import Pretrainer
from peridot.registry import MODELS
from peridot.walk import steps_of

REPO = Path(__file__).resolve().parents[2]
# what the made-up probe gains by each part
GAINS = {'olivine': 0.3, 'slidr': 0.25, 'scalr': 0.2, 'also': 0.1, 'seal': 0.2, 'bevcontrast': 0.05}


@pytest.fixture
def combinations(tmp_path, monkeypatch):
    """The module, with its results in a folder of the test."""
    monkeypatch.syspath_prepend(REPO / 'benchmarks')
    module = importlib.import_module('combinations')
    monkeypatch.setattr(module, 'OUT', tmp_path)
    return module


def test_parts_are_added_while_they_help(combinations, tmp_path, monkeypatch):
    tried = []

    def probe(self, network, seed, config):
        tried.append((network, seed))
        parts = network.split('+')
        # each part gains a third of what it gains alone when another one is there; two of them gain nothing more
        values = sorted((GAINS[part] for part in parts), reverse=True)
        value = values[0] + (values[1] / 3 if len(values) > 1 else 0)
        with self.lock:
            self.measured.put(network, seed, {combinations.TABLE: value + seed / 1000}, 'settings', 'abc')

    monkeypatch.setattr(combinations.Search, 'run_combination', probe)
    monkeypatch.setattr(combinations.Search, 'stage', lambda *arguments: None)
    monkeypatch.setattr(combinations, 'combined', lambda parts: Config(dict(parts=parts)))
    search = combinations.Search(tmp_path / 'work')
    search.run()
    # near the best: one of the single parts, three of the pairs, all triples
    assert [seed for _, seed in tried] == [0] * 6 + [1] + [0] * 5 + [1] * 3 + [0] * 4 + [1] * 4
    assert {name for name, _ in tried[-4:]} == {f'olivine+slidr+{p}' for p in ('scalr', 'also', 'seal', 'bevcontrast')}
    assert search.measured.tables[combinations.TABLE]['olivine+slidr'] == [0.3833, 0.3843]
    (combinations.OUT / 'x.md').write_text(combinations.markdown(search.measured))
    assert '| olivine, slidr | 0.384 ± 0.001 |' in (combinations.OUT / 'x.md').read_text()


@pytest.mark.parametrize('parts', [('olivine',), ('seal',), ('scalr', 'also'), ('bevcontrast', 'slidr')])
def test_a_combination_has_what_its_parts_need(combinations, parts):
    config = combinations.combined(list(parts))
    dataset, steps = (
        config.train_dataloader.dataset,
        {step['type'] for step in steps_of(config.train_dataloader.dataset)},
    )
    for name, part in combinations.STEPS.items():
        assert (name in steps) == (part in parts), name
    assert {combinations.MAPS[name] for name in dataset.maps} == set(parts) & set(combinations.MAPS.values())
    assert bool(dataset.frames) == bool({'seal', 'bevcontrast'} & set(parts))
    model: Pretrainer = MODELS.build(config.model)
    assert list(model.objectives) == [name for part in parts for name in combinations.PARTS[part]]

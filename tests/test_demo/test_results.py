"""Results that are kept with the code, and the documents that quote them."""

import json
from pathlib import Path

import pytest
from peridot.demo.results import QUOTE, Results
from peridot.errors import PeridotError

REPO = Path(__file__).resolve().parents[2]
SEEDS = [0, 1, 2]


@pytest.fixture
def results(tmp_path) -> Results:
    return Results(tmp_path / 'results.json', SEEDS)


def test_rows_are_kept_by_seed_and_quoted(results):
    results.put('olivine+also', 1, dict(probe=0.41234, tuned=0.2), 'a', 'c1')
    results.put('olivine+also', 0, dict(probe=0.4), 'a', 'c2')
    again = Results(results.path, SEEDS)
    assert again.tables == {
        'probe': {'olivine+also': [0.4, 0.4123, None]},
        'tuned': {'olivine+also': [None, 0.2, None]},
    }
    assert again.content['runs']['olivine+also'] == dict(settings='a', commits=['c2', 'c1', None])
    assert again.has('olivine+also', 0, 'a') and not again.has('olivine+also', 2, 'a')
    page = 'is <!--probe/olivine+also-->?<!--/-->, <!--tuned/olivine+also--><!--/-->, <!--probe/ppkt-->0.1<!--/-->'
    filled = again.fill(page)
    assert QUOTE.sub('|', filled) == QUOTE.sub('|', page)
    assert '>0.406 ± 0.009<' in filled and '>0.200<' in filled and '/ppkt-->-<' in filled
    assert again.fill(filled) == filled


def test_values_of_other_settings_do_not_mix(results):
    results.put('olivine', 0, dict(probe=0.4), 'a', 'c1')
    results.put('ppkt', 0, dict(probe=0.3), 'a', 'c1')
    assert not results.has('olivine', 0, 'b')
    results.put('olivine', 2, dict(probe=0.5), 'b', 'c2')
    assert results.tables == {'probe': {'olivine': [None, None, 0.5], 'ppkt': [0.3, None, None]}}
    assert not results.has('olivine', 0, 'b') and results.has('ppkt', 0, 'a')


def test_results_of_other_seeds_are_refused(results):
    results.put('olivine', 0, dict(probe=0.4), 'a', 'c1')
    with pytest.raises(PeridotError, match=r'is of seeds \[0, 1, 2\]'):
        Results(results.path, [0])
    results.path.write_text(results.path.read_text()[:40])
    with pytest.raises(PeridotError, match=r'results\.json is damaged'):
        Results(results.path, SEEDS)


def test_documents_quote_the_results_as_they_are():
    path = REPO / 'docs' / 'results' / 'streets.json'
    results = Results(path, json.loads(path.read_text())['seeds'])
    quoting = [page for page in (REPO / 'README.md', *(REPO / 'docs').rglob('*.md')) if QUOTE.search(page.read_text())]
    assert REPO / 'README.md' in quoting
    for page in quoting:
        assert results.fill(page.read_text()) == page.read_text(), f'{page}: run benchmarks/effect.py'

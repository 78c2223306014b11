"""docs/model_zoo.md, OpenMMLab's metafiles and the heads of the configs are complete and have the same numbers."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from peridot.cli import config_name
from peridot.weights import KINDS

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / 'docs/model_zoo.md').read_text()
LISTED = ('pretrain', 'finetune', 'drive_and_segment')
CONFIGS = {
    str(path.relative_to(REPO))
    for folder in LISTED
    for path in (REPO / 'configs' / folder).rglob('*.py')
    if not path.stem.endswith('demo')
}
METAFILES = {
    path: yaml.safe_load((REPO / path).read_text())
    for path in yaml.safe_load((REPO / 'model-index.yml').read_text())['Import']
}
MODELS = [model for content in METAFILES.values() for model in content['Models']]
PAPER = {model['Config']: model['Metadata'].get('Paper Results', []) for model in MODELS}
# targets of the page's links, by their labels
TARGETS = dict(re.findall(r'^\[([\w.+-]+)\]: (\S+)$', PAGE, re.M))
HEAD = re.compile(r'Published (?:mIoU|AP)(?:[^:(]|\([^)]*\))*: (.*?)\.(?:\s|$)', re.S)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r'\d+\.\d+', text)]


def head(config: str) -> dict[str, list[float]]:
    """Published numbers in the docstring of a config, by what was measured."""
    found = HEAD.search(ast.get_docstring(ast.parse((REPO / config).read_text())) or '')
    text = re.sub(r'\([^)]*\)', '', found[1]) if found else ''
    return {name: numbers(row) for name, row in re.findall(r'([A-Z]?[a-zA-Z]\w*\+?) ((?:\d+\.\d+[;\s]*)+)', text)}


def table_cells() -> dict[tuple[str, str], list[list[float]]]:
    """Numbers of the page's tables, by column (its config, or its title where it links none) and row."""
    cells, columns = defaultdict(list), None
    for line in PAGE.splitlines():
        if not line.startswith('|'):
            columns = None
            continue
        row = [cell.strip() for cell in line.strip('|').split('|')]
        if columns is None:
            labels = [re.fullmatch(r'\[.*\]\[(.*)\]', cell) for cell in row]
            columns = [TARGETS[m[1]].removeprefix('../') if m else cell for m, cell in zip(labels, row)]
        for column, cell in zip(columns[1:], row[1:]):
            if numbers(cell):
                cells[column, row[0]].append(numbers(cell))
    return cells


CELLS = table_cells()
WITH_NUMBERS = sorted(config for config in CONFIGS if head(config))


def as_list(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def test_every_config_is_listed_once():
    assert sorted(model['Config'] for model in MODELS) == sorted(CONFIGS)
    assert set(METAFILES) == {f'configs/{folder}/metafile.yml' for folder in LISTED}
    for path, content in METAFILES.items():
        assert all(Path(model['Config']).is_relative_to(Path(path).parent) for model in content['Models'])


def test_names_are_unique_and_those_of_the_configs():
    names = [model['Name'] for model in MODELS]
    assert len(set(names)) == len(names)
    for model in MODELS:
        prefix = 'drive_and_segment_' if 'drive_and_segment/' in model['Config'] else ''
        assert model['Name'] == prefix + config_name(model['Config'])


def test_collections_exist_once_and_have_a_page():
    collections = [entry for content in METAFILES.values() for entry in content['Collections']]
    names = [entry['Name'] for entry in collections]
    assert len(set(names)) == len(names)
    assert all((REPO / entry['README']).is_file() for entry in collections)
    assert {model['In Collection'] for model in MODELS} == set(names)


def test_nothing_is_claimed_as_ours():
    assert not [model['Name'] for model in MODELS if {'Results', 'Weights'} & model.keys()]


@pytest.mark.parametrize('config', [config for config, results in PAPER.items() if results])
def test_metafile_and_page_agree(config):
    for result in PAPER[config]:
        assert result['Sources'] and all(source.startswith('https://') for source in result['Sources'])
        for name, value in result['Values'].items():
            assert CELLS[result['Protocol'], name] == [as_list(value)], (result['Protocol'], name)


@pytest.mark.parametrize('config', WITH_NUMBERS)
def test_head_and_metafile_agree(config):
    results = PAPER[config]
    if config.startswith('configs/pretrain'):
        values = {result['Dataset']: as_list(*result['Values'].values()) for result in results}
        assert head(config) == values
    elif results:
        (result,) = results
        assert head(config) == {name: as_list(value) for name, value in result['Values'].items()}


@pytest.mark.parametrize('config', [config for config in WITH_NUMBERS if config.startswith('configs/finetune')])
def test_head_and_page_agree(config):
    # both networks of SLidR's protocol quote one table, which links the published one
    twin = re.sub('minkunet34', 'res16unet34', config)
    for name, values in head(config).items():
        assert CELLS[twin, name] == [values], name


def test_heads_are_read_at_all():
    assert head('configs/finetune/second_kitti/100pct.py')['PPKT'] == [81.8, 51.4, 68.2, 67.1]
    assert head('configs/finetune/minkunet34_nus/also-0.1pct.py') == {'random': [21.6], 'ALSO': [26.2]}
    assert head('configs/pretrain/scalr_wi48x768_nus-kitti-pandaset.py')['Pandar64'] == [37.9]
    text = {config: (REPO / config).read_text() for config in CONFIGS}
    assert set(WITH_NUMBERS) == {config for config in text if re.search('Published (mIoU|AP)', text[config])}


def test_links_and_configs_of_the_page_exist():
    for label, target in TARGETS.items():
        assert f'][{label}]' in PAGE, label
        assert target.startswith('https://') or (REPO / 'docs' / target).is_file(), target
    assert set(re.findall(r'\]\[([\w.+-]+)\]', PAGE)) <= TARGETS.keys()
    pretraining = {config for config in CONFIGS if config.startswith('configs/pretrain')}
    assert pretraining <= {target.removeprefix('../') for target in TARGETS.values()}
    for pattern in re.findall(r'configs/finetune/[\w*]+', PAGE):
        assert list(REPO.glob(pattern)), pattern


def test_kinds_of_the_page_exist():
    files = PAGE.split('\n## Files\n')[1].split('\n## ')[0]
    rows = [line.strip('|').split('|') for line in files.splitlines() if line.startswith('| ')]
    kinds = {kind for row in rows[2:] for kind in re.findall(r'`(?:--kind )?([a-z0-9-]+)`', row[-1])}
    assert kinds == KINDS.keys() - {'mmdet3d-torchsparse'}

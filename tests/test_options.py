import argparse
import shlex

import pytest
from mmengine.config import Config, DictAction
from peridot.errors import ConfigError
from peridot.options import KeyValues, override, parse_value, setting


def given(*arguments: str) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues)
    return parser.parse_args(['--cfg-options', *arguments]).cfg_options


@pytest.fixture
def config():
    steps = [dict(type='A', path='old'), dict(type='B', delta=0.1, on=True)]
    loader = dict(batch_size=4, dataset=dict(pipeline=steps, maps=dict(labels='weak'), cameras=['A', 'B']))
    return Config(dict(train_dataloader=loader, model=dict(type='M', weights=None), param_scheduler=[dict(end=1)]))


@pytest.mark.parametrize(
    'text',
    ['3', '0.5', '1e-3', 'true', 'None', 'text', 'a/b.pth', '1,2', '[1,2]', '(1,2)', '[(1,2),[a,b],c]', '"[a,b]"'],
)
def test_values_are_those_of_mmengine(text):
    assert parse_value(text) == DictAction._parse_iterable(text)


PATHS = [
    'my runs/backbone.pth',
    'a,b.pth',
    '[x].pth',
    '[a,b]',
    '(1',
    "it's.pth",
    '"a", b',
    'x=y.pth',
    ' a ',
    'plain.pth',
]


@pytest.mark.parametrize('path', [*PATHS, '1', '1e3', 'None', 'true'])
def test_paths_survive_the_way_through_a_command(path):
    ((key, text),) = given(*shlex.split(shlex.join([setting('load_from', path)]))).items()
    assert key == 'load_from' and parse_value(text) == path
    config = Config(dict(load_from=None))
    override(config, {key: text})
    assert config.load_from == path


@pytest.mark.parametrize(
    'text, value',
    [
        ('[traffic light,road]', ['traffic light', 'road']),
        ('traffic light, road', ['traffic light', 'road']),
        ('[ my runs/a.pth , "b, c.pth", (1, 2) ]', ['my runs/a.pth', 'b, c.pth', (1, 2)]),
        ("['a',\"it's\",'1']", ['a', "it's", '1']),
        ('"a b","c"', ['a b', 'c']),
        ('[(a b,c),[]]', [('a b', 'c'), []]),
        ('[a],[b c]', [['a'], ['b c']]),
        ('f(x y),b', ['f(x y)', 'b']),
        ('1,', [1]),
        ('', ''),
    ],
)
def test_items_of_lists_keep_their_blanks(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize('text', ['[a,b', 'a,b]', '[a,(b]', '[(1,2],3)', '[x'])
def test_brackets_that_do_not_match_are_one_line(config, text):
    with pytest.raises(ConfigError, match=r'^--cfg-options train_dataloader.dataset.cameras=.*quotes$') as caught:
        override(config, {'train_dataloader.dataset.cameras': text})
    assert text in str(caught.value)


def test_the_path_of_an_existing_file_may_have_commas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a,b c.pth').touch()
    assert parse_value('a,b c.pth') == 'a,b c.pth'
    assert parse_value('a,b') == ['a', 'b']


def test_text_in_place_of_text_is_taken_as_it_is(config):
    override(config, given('train_dataloader.dataset.maps.labels=weak labels/a,b', 'model.weights=my weights.pth'))
    assert config.train_dataloader.dataset.maps.labels == 'weak labels/a,b'
    assert config.model.weights == 'my weights.pth'


@pytest.mark.parametrize('text', ['2024', '1e3', '1,2', '[a,b]', 'weak(a,b'])
def test_text_stays_text_whatever_it_looks_like(config, text):
    keys = ['train_dataloader.dataset.maps.labels', 'work_dir', 'load_from', 'experiment_name']
    override(config, dict.fromkeys(keys, text))
    assert config.train_dataloader.dataset.maps.labels == text
    assert config.work_dir == config.load_from == config.experiment_name == text


def test_text_is_switched_off_by_none_and_false(config):
    override(config, {'train_dataloader.dataset.maps.labels': 'None', 'load_from': 'None', 'model.type': 'False'})
    assert config.train_dataloader.dataset.maps.labels is config.load_from is None and config.model.type is False


def test_settings_are_replaced(config):
    override(
        config,
        given('train_dataloader.batch_size=2', 'train_dataloader.dataset.pipeline.1.delta=1', 'randomness.seed=1')
        | given('train_dataloader.dataset.cameras=[A]', 'train_dataloader.dataset.pipeline.1.on=False'),
    )
    loader = config.train_dataloader
    assert (loader.batch_size, loader.dataset.pipeline[1].delta, loader.dataset.pipeline[1].on) == (2, 1, False)
    assert loader.dataset.cameras == ['A'] and config.randomness.seed == 1


@pytest.mark.parametrize(
    'option, message',
    [
        ('train_dataloader.batch_size=two', r'the config has 4 there: give a number'),
        ('train_dataloader.batch_size=1,2', r'the config has 4 there: give a number'),
        ('train_dataloader.dataset.pipeline.1.on=maybe', r'has True there: give True or False'),
        ('train_dataloader.dataset.cameras=A', r'give a list, \[A,B\]'),
        ('train_dataloader.dataset.cameras=3', r'give a list, \[A,B\]'),
        ('train_dataloader.dataset=a', r'give single settings of it, KEY.NAME=VALUE'),
        ('train_dataloader=5', r'give single settings of it, KEY.NAME=VALUE'),
        ('train_dataloder.batch_size=2', r"has no 'train_dataloder': did you mean train_dataloader\?"),
        ('train_dataloader.dataset.pipeline.7.delta=1', r'Index 7 exceeds the length .*check these keys'),
        ('model.weights.name=x', r'--cfg-options model.weights.name: .*check these keys'),
        ('train_dataloader.batch_size.x=1', r'--cfg-options train_dataloader.batch_size.x: .*check these keys'),
    ],
)
def test_wrong_settings_are_one_line(config, option, message):
    with pytest.raises(ConfigError, match=message) as caught:
        override(config, given(option))
    assert '\n' not in str(caught.value) and option.split('=')[0].split('.')[0] in str(caught.value)


def test_arguments_without_a_value_are_refused(capsys):
    with pytest.raises(SystemExit):
        given('train_cfg.max_epochs')
    assert '--cfg-options train_cfg.max_epochs: write key=value' in capsys.readouterr().err

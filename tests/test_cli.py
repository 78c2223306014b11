import argparse
import errno
import re
from argparse import Namespace
from collections import Counter
from functools import reduce
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, LOOPS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from peridot.cli import (
    add_worker_arguments,
    config_name,
    load_config,
    load_runner_config,
    run,
    set_data_root,
)
from peridot.errors import ConfigError, DataError

REPO = Path(__file__).resolve().parents[1]


def failing(error: BaseException):
    def main():
        raise error

    return main


@pytest.mark.parametrize('number', [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_one_line(number):
    with pytest.raises(SystemExit, match=r'error: data/kitti/training: .*choose another folder'):
        run(failing(OSError(number, 'text', 'data/kitti/training')))


@pytest.mark.parametrize(
    'error, line',
    [
        (FileNotFoundError(errno.ENOENT, 'text', 'data/kitti'), 'error: data/kitti: no such file: restore it'),
        (FileNotFoundError('file "data/kitti" does not exist'), 'error: file "data/kitti" does not exist: no such'),
        (NotADirectoryError(errno.ENOTDIR, 'text', 'data/kitti/a'), 'error: data/kitti/a: Not a directory: fix that'),
        (
            FileNotFoundError(
                'Caught FileNotFoundError in DataLoader worker process 0.\nOriginal Traceback (most recent call):\n'
                "  File x\nFileNotFoundError: [Errno 2] No such file or directory: 'a.bin'\n"
            ),
            "error: No such file or directory: 'a.bin': no such file",
        ),
        (
            DataError('Caught DataError in DataLoader worker process 0.\nOriginal\nperidot.errors.DataError: a: b\n'),
            'error: a: b',
        ),
    ],
)
def test_what_a_user_can_fix_is_one_line(error, line):
    with pytest.raises(SystemExit) as stop:
        run(failing(error))
    assert str(stop.value).startswith(line) and '\n' not in str(stop.value)


@pytest.mark.parametrize(
    'settings, line',
    [
        (dict(type='Nowhere'), r'Nowhere is not in the \S+::hook registry'),
        (dict(type='IterTimerHook', speed=1), "unexpected keyword argument 'speed': check the settings"),
        (dict(type='VerifyLoadingHook', _scope_='peridot', x=1), "unexpected keyword argument 'x': check the settings"),
    ],
)
def test_a_config_that_cannot_be_built_is_one_line(settings, line):
    with pytest.raises(SystemExit, match=line) as stop:
        run(lambda: HOOKS.build(settings))
    assert '\n' not in str(stop.value)


@HOOKS.register_module()
class Demanding(Hook):
    """Refuses what does not fit, and has a defect further inside for `broken`."""

    def __init__(self, number: int = 1, broken: bool = False) -> None:
        if number > 9:
            raise AssertionError
        if number < 0:
            raise ValueError(f'number should not be negative.\nIt is {number}.')
        if broken:
            self.number = Part() if number else self.use()

    def use(self) -> None:
        raise ValueError('a defect')


class Part:
    def __init__(self) -> None:
        raise TypeError('a defect')


@HOOKS.register_module()
class Heir(Demanding):
    def __init__(self, **settings) -> None:
        super().__init__(**settings)


def loader(**settings) -> dict:
    return dict(dataset=[0], sampler=dict(type='DefaultSampler', shuffle=True), **settings)


@pytest.mark.parametrize(
    'build, line',
    [
        (lambda: HOOKS.build(dict(type='Demanding', number=-1)), r'^error: Demanding: It is -1: check the settings'),
        (lambda: HOOKS.build(dict(type='Demanding', number=10)), r'^error: Demanding: raise AssertionError: check'),
        (lambda: HOOKS.build(dict(type='Heir', number=-1)), r'^error: Heir: It is -1: check'),
        (
            lambda: LOOPS.build(dict(type='EpochBasedTrainLoop', runner=None, dataloader=[], max_epochs=1.5)),
            r'^error: EpochBasedTrainLoop: `max_epochs` should be a integer number, but get 1\.5: check',
        ),
        (lambda: Runner.build_dataloader(loader(num_workers=-1)), r'^error: DataLoader: num_workers option should'),
        (lambda: Runner.build_dataloader(loader(batch_size=0)), r'^error: DataLoader: batch_size should be a positive'),
    ],
)
def test_values_that_a_class_refuses_are_one_line(build, line):
    with pytest.raises(SystemExit, match=line) as stop:
        run(build)
    assert '\n' not in str(stop.value)


@pytest.mark.parametrize(('dtype', 'loss_scale', 'line'), [('half', 512.0, 'got half'), ('float16', 512, 'got 512')])
def test_a_precision_that_does_not_exist_is_one_line(monkeypatch, dtype, loss_scale, line):
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    optimizer = torch.optim.SGD([torch.zeros(1)], 0.1)
    settings = dict(type='AmpOptimWrapper', optimizer=optimizer, dtype=dtype, loss_scale=loss_scale)
    with pytest.raises(SystemExit, match=f'^error: AmpOptimWrapper: .*{line}: check the settings'):
        run(lambda: OPTIM_WRAPPERS.build(settings))


@pytest.mark.parametrize('settings', [dict(number=1), dict(number=0)])
def test_defects_inside_a_built_class_keep_their_traceback(settings):
    with pytest.raises((TypeError, ValueError)):
        run(lambda: HOOKS.build(dict(type='Demanding', broken=True, **settings)))


@pytest.mark.parametrize(
    'error',
    [ValueError('x'), AssertionError('x'), TypeError("f() got an unexpected keyword argument 'x'"), KeyError(1)],
)
def test_defects_keep_their_traceback(error):
    with pytest.raises(type(error)):
        run(failing(error))


@pytest.mark.parametrize(
    'text, reason',
    [
        ('a = dict(\n', 'SyntaxError'),
        ('a = b\n', "name 'b' is not defined"),
        ("_base_ = './none.py'\n", 'none.py'),
        ("custom_imports = dict(imports=['nowhere'])\n", 'nowhere'),
    ],
)
def test_a_config_with_a_mistake_is_one_line(tmp_path, text, reason):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(Namespace(config=str(path), data_root=None, cfg_options=None))
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


@pytest.fixture
def mixed():
    one, two = dict(data_root='data/one/', ann_file='data/one/infos.pkl'), dict(data_root='data/two')
    return Config(dict(unused=dict(data_root='data/three/'), train_dataloader=dict(dataset=dict(datasets=[one, two]))))


def test_folders_of_a_mix_are_replaced_one_by_one(mixed):
    set_data_root(mixed, 'data/one=new/a,data/two/=new/b/')
    one, two = mixed.train_dataloader.dataset.datasets
    assert (one.data_root, one.ann_file, two.data_root) == ('new/a/', 'new/a/infos.pkl', 'new/b')


def test_folders_may_have_any_name(mixed):
    set_data_root(mixed, 'data/one=a, b/c=d,data/two=x,y')
    one, two = mixed.train_dataloader.dataset.datasets
    assert (one.data_root, two.data_root) == ('a, b/c=d/', 'x,y')
    single = Config(dict(train_dataloader=dict(dataset=dict(data_root='data/x/'))))
    set_data_root(single, 'my data, a=b')
    assert single.train_dataloader.dataset.data_root == 'my data, a=b/'


@pytest.mark.parametrize('text', ['new/a', 'data/four=new/a'])
def test_one_folder_cannot_stand_for_several(mixed, text):
    with pytest.raises(ConfigError, match='reads data/one and data/two: give --data-root data/one=FOLDER,data/two='):
        set_data_root(mixed, text)


def test_unused_folders_do_not_count():
    config = Config(
        dict(unused=dict(data_root='data/three/'), train_dataloader=dict(dataset=dict(data_root='data/x/')))
    )
    set_data_root(config, 'new/a')
    assert config.train_dataloader.dataset.data_root == 'new/a/'


@pytest.mark.parametrize(
    'path, name',
    [
        ('configs/pretrain/olivine_nus.py', 'olivine_nus'),
        ('configs/finetune/minkunet34_nus/1pct.py', 'minkunet34_nus_1pct'),
        ('configs/pretrain/../finetune/minkunet34_nus/also-0.1pct.py', 'minkunet34_nus_also-0.1pct'),
        ('configs/own.py', 'own'),
        ('experiments/minkunet34_nus/1pct.py', '1pct'),
    ],
)
def test_a_config_is_named_after_its_place(tmp_path, monkeypatch, path, name):
    monkeypatch.chdir(tmp_path)
    assert config_name(path) == name


def test_no_two_configs_share_a_work_directory():
    names = Counter(config_name(path) for path in (REPO / 'configs').rglob('*.py') if '_base_' not in path.parts)
    assert len(names) > 60 and names.most_common(1)[0][1] == 1


def runner_config(path: str, *options: str, **more) -> Config:
    """What tools/train.py reads, without a work directory on the command line and without data."""
    args = Namespace(config=str(REPO / path), data_root=None, launcher='none', local_rank=0, work_dir=None, **more)
    args.cfg_options = dict(option.split('=') for option in options)
    return load_runner_config(args)


def test_a_config_of_mixed_precision_trains_in_full_precision():
    path, option = 'configs/pretrain/scalr_plus_wi48x768_nus-kitti-pandaset.py', 'optim_wrapper.type=OptimWrapper'
    assert runner_config(path).optim_wrapper.dtype == 'bfloat16'
    assert runner_config(path, option, amp=True).optim_wrapper.dtype == 'bfloat16'
    full = runner_config(path, option, 'optim_wrapper.loss_scale=dynamic').optim_wrapper
    full.optimizer = torch.optim.SGD([torch.zeros(1)], 0.1)
    OPTIM_WRAPPERS.build(full)


def test_configs_of_one_name_train_in_different_folders():
    folders = {
        runner_config(f'configs/finetune/minkunet34_{data}/1pct.py').work_dir for data in ('nus', 'semantickitti')
    }
    assert folders == {'work_dirs/minkunet34_nus_1pct', 'work_dirs/minkunet34_semantickitti_1pct'}


def test_a_fraction_as_an_option_is_the_config_of_that_fraction():
    option = 'train_dataloader.dataset.split=splits/nuscenes_slidr_1pct.txt'
    given = runner_config('configs/finetune/minkunet34_nus/100pct.py', option).to_dict()
    own = runner_config('configs/finetune/minkunet34_nus/1pct.py').to_dict()
    assert given.pop('work_dir') != own.pop('work_dir')
    assert given == own


def test_fractions_of_the_documentation():
    """Each command sets the split of the dataset that is cut, and nothing else."""
    text = (REPO / 'docs/finetune.md').read_text()
    commands = re.findall(r'(configs/finetune/\S+\.py)[^`]*?(train_dataloader\.\S*)\.split=(\S+)', text)
    assert len(commands) == 2
    for path, place, split in commands:
        config, whole = runner_config(path, f'{place}.split={split}').to_dict(), runner_config(path).to_dict()
        assert config != whole
        part = reduce(dict.__getitem__, place.split('.'), config)
        assert part['type'] == 'peridot.LabelFraction' and part['split'] == split
        part['split'] = None
        assert config == whole


@pytest.mark.parametrize(('processes', 'workers'), [(None, 8), ('3', 2), ('16', 1)])
def test_processes_of_torchrun_share_the_cores(monkeypatch, processes, workers):
    monkeypatch.setattr('peridot.cli.usable_cores', lambda: 8)
    monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
    if processes:
        monkeypatch.setenv('LOCAL_WORLD_SIZE', processes)
    parser = argparse.ArgumentParser()
    add_worker_arguments(parser)
    assert parser.parse_args([]).workers == workers

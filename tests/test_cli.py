import argparse
import errno

import pytest
from mmengine.config import Config
from peridot.cli import add_worker_arguments, run, set_data_root
from peridot.errors import ConfigError


def failing(error: BaseException):
    def main():
        raise error

    return main


@pytest.mark.parametrize('number', [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_one_line(number):
    with pytest.raises(SystemExit, match=r'error: data/kitti/training: .*choose another folder'):
        run(failing(OSError(number, 'text', 'data/kitti/training')))


def test_defects_keep_their_traceback():
    with pytest.raises(FileNotFoundError):
        run(failing(FileNotFoundError(errno.ENOENT, 'text', 'data/kitti')))


@pytest.fixture
def mixed():
    one, two = dict(data_root='data/one/', ann_file='data/one/infos.pkl'), dict(data_root='data/two')
    return Config(dict(unused=dict(data_root='data/three/'), train_dataloader=dict(dataset=dict(datasets=[one, two]))))


def test_folders_of_a_mix_are_replaced_one_by_one(mixed):
    set_data_root(mixed, 'data/one=new/a,data/two/=new/b/')
    one, two = mixed.train_dataloader.dataset.datasets
    assert (one.data_root, one.ann_file, two.data_root) == ('new/a/', 'new/a/infos.pkl', 'new/b')


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


@pytest.mark.parametrize(('processes', 'workers'), [(None, 8), ('3', 2), ('16', 1)])
def test_processes_of_torchrun_share_the_cores(monkeypatch, processes, workers):
    monkeypatch.setattr('peridot.cli.usable_cores', lambda: 8)
    monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
    if processes:
        monkeypatch.setenv('LOCAL_WORLD_SIZE', processes)
    parser = argparse.ArgumentParser()
    add_worker_arguments(parser)
    assert parser.parse_args([]).workers == workers

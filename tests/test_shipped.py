"""Configs and programs of the package, named from any folder."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from peridot.cli import run
from peridot.errors import PeridotError
from peridot.shipped import config_file, tool_file, with_paths
from peridot.work_dirs import Stages

REPO = Path(__file__).resolve().parents[1]


# pre-training, a detector of mmdet3d, a network of mmsegmentation
@pytest.mark.parametrize(
    'name', ['pretrain/olivine_nus.py', 'finetune/second_kitti/100pct.py', 'drive_and_segment/student_ema_demo.py']
)
def test_a_config_inherits_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'own.py').write_text(f"_base_ = 'peridot::{name}'\nown = 1\n")
    config = Config.fromfile('own.py').to_dict()
    assert config.pop('own') == 1
    # also the scopes in which everything is built
    assert config == Config.fromfile(REPO / 'configs' / name).to_dict()


def test_an_own_pipeline_takes_parts_of_the_base(tmp_path):
    (tmp_path / 'own.py').write_text(
        "_base_ = 'peridot::demo/ppkt_demo.py'\n"
        'train_dataloader = dict(dataset=dict(pipeline=[*_base_.read_sample, _base_.pack]))\n'
    )
    pipeline = Config.fromfile(tmp_path / 'own.py').train_dataloader.dataset.pipeline
    assert not [part for part in pipeline if part.get('_scope_') == 'peridot']


@pytest.mark.parametrize('read', [Config.fromfile, get_config])
def test_mmengine_reads_a_config_by_its_name(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read('peridot::pretrain/ppkt_nus.py').model.type == 'peridot.Pretrainer'


def test_a_command_line_names_configs_of_the_package_and_files():
    assert config_file('peridot::demo/ppkt_demo.py') == str(REPO / 'configs' / 'demo' / 'ppkt_demo.py')
    assert config_file('own/ppkt.py') == 'own/ppkt.py'


def test_messages_name_what_can_be_run_from_the_current_folder(tmp_path, monkeypatch):
    text = (
        "run `python tools/train.py configs/demo/ppkt_demo.py`, or mmdet3d's tools/test.py; tools/none.py, a/tools/x.py"
    )
    monkeypatch.chdir(REPO)
    assert with_paths(text) == text
    monkeypatch.chdir(tmp_path)
    files = f'{REPO}/tools/train.py {REPO}/configs/demo/ppkt_demo.py'
    assert with_paths(text) == text.replace('tools/train.py configs/demo/ppkt_demo.py', files)

    def fail():
        raise PeridotError('make it with tools/embed_text.py')

    with pytest.raises(SystemExit, match=f'^error: make it with {REPO}/tools/embed_text.py$'):
        run(fail)


def test_a_stage_runs_its_program_in_the_current_folder(tmp_path, monkeypatch, capfd):
    program = tmp_path / 'where.py'
    program.write_text('import os; print(os.getcwd())')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('peridot.work_dirs.tool_file', lambda name: program)
    Stages(tmp_path, {}).tool('train')
    assert capfd.readouterr().out.split() == ['$', 'python', str(tool_file('train')), str(tmp_path)]

import logging
from types import SimpleNamespace

import pytest
from mmengine import runner as upstream
from mmengine.config import Config
from mmengine.logging import MMLogger
from peridot.runner import Runner


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A runner as far as its log goes, and its log file."""
    runner = Runner.__new__(Runner)
    runner._log_dir, runner._timestamp, runner._experiment_name = str(tmp_path), 'log', f'startup_{tmp_path.name}'
    runner.cfg, runner._randomness_cfg = Config(dict(model=dict(type='Net'))), {}
    runner._seed, runner._launcher, runner._distributed, runner._world_size = 0, 'none', False, 1
    monkeypatch.setattr(upstream.runner, 'collect_env', lambda: {'Python': '3'})
    runner.logger = runner.build_logger()
    yield SimpleNamespace(runner=runner, file=tmp_path / 'log.log')
    MMLogger._instance_dict.pop(runner._experiment_name)


def test_config_and_environment_are_in_the_log_file_alone(run):
    screen = next(handler for handler in run.runner.logger.handlers if not isinstance(handler, logging.FileHandler))
    shown = []
    screen.emit = lambda record: shown.append(record.getMessage())
    run.runner._log_env({})
    run.runner.logger.info('Hooks will be executed in the following order:\nbefore_run')
    run.runner.logger.info('Epoch(train) [1][10/20]')
    assert shown == ['Epoch(train) [1][10/20]']
    text = run.file.read_text()
    for part in ("type='Net'", 'Python: 3', 'before_run', 'Epoch(train)', str(run.file)):
        assert part in text

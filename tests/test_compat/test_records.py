import pytest
from mmengine.logging import MMLogger
from peridot import compat
from peridot.compat import records


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(records, '_active', {})
    monkeypatch.setattr(records, '_said', set())


@pytest.fixture
def log(tmp_path):
    path = tmp_path / 'train.log'
    name = f'records_{tmp_path.name}'
    logger = MMLogger.get_instance(name, log_file=str(path))
    yield path
    for handler in logger.handlers:
        handler.close()
    MMLogger._instance_dict.pop(name)


def test_each_repair_is_said_once(fresh, log):
    records.note('one', 'first sentence')
    records.note('one', 'another sentence')
    compat.log_report()
    records.note('two', 'late')
    compat.log_report()
    lines = log.read_text().splitlines()
    assert [line.split(' - INFO - ')[1] for line in lines] == ['compat.one: first sentence', 'compat.two: late']
    assert compat.report() == ['compat.one: first sentence', 'compat.two: late']


def test_other_ranks_are_silent(fresh, log, monkeypatch):
    monkeypatch.setattr('mmengine.dist.is_main_process', lambda: False)
    records.note('one', 'sentence')
    compat.log_report()
    assert log.read_text() == ''


def test_applying_again_changes_nothing():
    before = compat.report()
    compat.apply()
    assert compat.report() == before

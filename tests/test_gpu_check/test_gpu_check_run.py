import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peridot.errors import ConfigError
from peridot.gpu_check import run
from peridot.gpu_check.checks import Row
from peridot.gpu_check.table import text_of


@pytest.mark.parametrize(
    'end, message',
    [('crash', "died of SIGSEGV, after 'fine'"), pytest.param('hang', 'did not end within', marks=pytest.mark.slow)],
)
def test_a_part_that_crashes_or_hangs_takes_nothing_with_it(end, message, small, monkeypatch):
    monkeypatch.setenv('PART_ENDS_WITH', end)
    monkeypatch.setattr(sys, 'path', [str(Path(__file__).parent), *sys.path])
    monkeypatch.setattr(run, 'GRACE', 10 if end == 'hang' else 60)
    rows = run.isolated('part', 'parts_that_end_badly', replace(small, seconds=2.0))
    assert rows[-1].status == 'failed' and message in rows[-1].error
    if end == 'crash':
        assert rows[0].status == 'ok' and rows[0].values == dict(number=1)


@pytest.mark.slow
def test_the_tool_writes_a_report_and_fails_with_a_check(small, run_tool, tmp_path, capsys, monkeypatch):
    out = tmp_path / 'gpu.json'
    monkeypatch.setitem(run.PARTS, 'functions', ('peridot.gpu_check.absent', 30))
    options = ['--device', 'cpu', '--small', '--out', out]
    with pytest.raises(SystemExit) as stop:
        run_tool('check_gpu', '--parts', 'functions', 'convolutions', *options)
    assert stop.value.code == 1
    report = json.loads(out.read_text())
    assert {check['status'] for check in report['parts']['convolutions']['checks']} == {'ok'}
    (check,) = report['parts']['functions']['checks']
    assert check['error'] == "ModuleNotFoundError: No module named 'peridot.gpu_check.absent'"
    assert 'import_module' in check['traceback'] and report['machine']['torch'] == torch.__version__
    assert 'failed: functions: preparation: ModuleNotFoundError' in capsys.readouterr().out


def test_without_gpu_one_line_says_so(small, run_tool, tmp_path):
    if torch.cuda.is_available():
        pytest.skip('there is one')
    with pytest.raises(SystemExit, match=r'error: --device cuda: torch .* sees no GPU'):
        run_tool('check_gpu', '--out', tmp_path / 'gpu.json')
    with pytest.raises(ConfigError, match='run this from the folder of the repository'):
        run.check_setup(replace(small, configs=tmp_path))


def test_a_line_has_what_is_short():
    row = Row('part', 'check', 'failed', 1.25, dict(loss=0.123456, syncs_at=dict(a=1), dtype='float16'), 'too far')
    assert ' '.join(text_of(row).split()) == 'failed part check 1.2 s too far loss 0.123, dtype float16'

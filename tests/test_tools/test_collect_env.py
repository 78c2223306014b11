import sys


def test_says_what_a_report_of_a_problem_needs(run_tool, capsys, monkeypatch):
    run_tool('collect_env')
    lines = capsys.readouterr().out.splitlines()
    said = dict(line.partition(': ')[::2] for line in lines)
    assert {'PyTorch', 'MMEngine', 'GCC', 'mmcv', 'mmdet', 'spconv', 'peridot-mmdet3d'} <= set(said)
    assert said['mmdet3d'].startswith('1.4.')
    assert [line for line in lines if line.startswith('compat.minkunet_')]
    monkeypatch.setitem(sys.modules, 'peridot.hooks', None)
    run_tool('collect_env')
    assert 'peridot cannot be imported: ModuleNotFoundError' in capsys.readouterr().out

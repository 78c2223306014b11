"""mmcv's operators: joined sources, and that the environment has all of them."""

import importlib
import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'setup_env.py'


@pytest.fixture
def tool():
    return runpy.run_path(str(TOOL))


def test_every_source_is_compiled_once(tool, tmp_path):
    names = ['a.cpp', 'b.cpp', 'c.cpp', 'pybind.cpp', 'cpu/nms.cpp', 'cpu/psamask.cpp', 'cpu/roi_align.cpp']
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'// {name}\n')
    tool['join_sources'](tmp_path)
    compiled = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.cpp'))
    alone = ['cpu/psamask.cpp', 'cpu/roi_align.cpp']
    assert compiled == ['cpu/joined_0.cpp', *alone, 'joined_0.cpp', 'joined_1.cpp']
    included = []
    for path in tmp_path.rglob('joined_*.cpp'):
        first, *lines = path.read_text().splitlines()
        assert first == '#include <torch/extension.h>'
        included += [(path.parent / line.split('"')[1]).read_text() for line in lines]
    assert sorted(included) == sorted(f'// {name}\n' for name in names if name not in alone)


def test_released_sources_are_compiled_where_joined_ones_fail(tool, tmp_path, monkeypatch, capsys):
    attempts = []

    def unpack(download, source, joined):
        source.mkdir(parents=True, exist_ok=True)
        for path in source.glob('joined_*.cpp'):
            path.unlink()
        (source / ('joined_0.cpp' if joined else 'nms.cpp')).touch()

    def build(source, built, log):
        attempts.append(sorted(path.name for path in source.iterdir()))
        works = 'nms.cpp' in attempts[-1]
        if works:
            built.mkdir()
            (built / 'mmcv.whl').touch()
        return works

    scope = tool['compile_mmcv'].__globals__
    monkeypatch.setitem(scope, 'unpack_mmcv', unpack)
    monkeypatch.setitem(scope, 'build_wheel', build)
    tool['compile_mmcv'](tmp_path)
    assert attempts == [['joined_0.cpp'], ['nms.cpp']]
    assert (tmp_path / 'mmcv.whl').is_file()
    assert 'compiling them one by one' in capsys.readouterr().out


def test_environment_has_every_operator_that_mmcv_exports():
    ops, compiled = importlib.import_module('mmcv.ops'), importlib.import_module('mmcv._ext')
    assert all(hasattr(ops, name) for name in ops.__all__) and len(ops.__all__) > 100
    functions = {name for name in dir(compiled) if not name.startswith('__')}
    assert len(functions) == 112
    assert functions > {'nms', 'roi_align_forward', 'deform_conv_forward', 'hard_voxelize_forward'}

"""mmcv's operators: joined sources, what is missing to compile them, and that the environment has all of them."""

import importlib
import tarfile
from pathlib import Path

import pytest
from bootstrap import mmcv_operators
from bootstrap.interpreter import Interpreter


def write_files(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'// {name}\n')


def test_every_source_is_compiled_once(tmp_path):
    alone = ['cpu/psamask.cpp', 'cpu/roi_align.cpp', 'cuda/convex_iou.cu', 'cuda/cudabind.cpp']
    names = ['a.cpp', 'b.cpp', 'c.cpp', 'pybind.cpp', 'cpu/nms.cpp', 'cuda/nms.cu', 'cuda/convert.cu', *alone]
    write_files(tmp_path, names)
    mmcv_operators.join_sources(tmp_path)
    compiled = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.c*')}
    joined = {'cpu/joined_0.cpp', 'joined_0.cpp', 'joined_1.cpp', *(f'cuda/joined_{i}.cu' for i in range(12))}
    assert compiled == {*joined, *alone}
    included = []
    for path in tmp_path.rglob('joined_*'):
        first, *lines = path.read_text().splitlines()
        assert first == '#include <torch/extension.h>'
        included += [(path.parent / line.split('"')[1]).read_text() for line in lines]
    assert sorted(included) == sorted(f'// {name}\n' for name in names if name not in alone)


def test_sources_include_what_torch_has(tmp_path):
    operators = tmp_path / 'mmcv-2.1.0' / 'mmcv' / 'ops' / 'csrc'
    header = operators / 'common' / 'pytorch_cuda_helper.hpp'
    sources = ['pytorch/nms.cpp', 'pytorch/cpu/nms.cpp', 'pytorch/cuda/nms.cu', 'common/pytorch_cuda_helper.hpp']
    write_files(operators, sources)
    header.write_text('#include <THC/THCAtomics.cuh>\n')
    with tarfile.open(tmp_path / 'mmcv-2.1.0.tar.gz', 'w:gz') as archive:
        archive.add(tmp_path / 'mmcv-2.1.0', 'mmcv-2.1.0')
    source = tmp_path / 'source'
    for joined in (True, False):
        mmcv_operators.unpack_mmcv(tmp_path / 'mmcv-2.1.0.tar.gz', source, joined)
        assert (source / header.relative_to(tmp_path / 'mmcv-2.1.0')).read_text() == '#include <ATen/cuda/Atomic.cuh>\n'
        assert bool(list(source.rglob('joined_0.cpp'))) == joined


def test_released_sources_are_compiled_where_joined_ones_fail(tmp_path, monkeypatch, capsys):
    attempts = []

    def unpack(archive, source, joined):
        source.mkdir(parents=True, exist_ok=True)
        for path in source.glob('joined_*'):
            path.unlink()
        (source / ('joined_0.cpp' if joined else 'nms.cpp')).touch()

    def build(interpreter, source, built, log):
        attempts.append(sorted(path.name for path in source.iterdir()))
        works = 'nms.cpp' in attempts[-1]
        if works:
            built.mkdir()
            (built / 'mmcv.whl').touch()
        return works

    (tmp_path / 'mmcv-2.1.0.tar.gz').touch()
    monkeypatch.setattr(mmcv_operators, 'unpack_mmcv', unpack)
    monkeypatch.setattr(mmcv_operators, 'build_wheel', build)
    mmcv_operators.compile_mmcv(Interpreter(Path('python')), tmp_path, sources=tmp_path)
    assert attempts == [['joined_0.cpp'], ['nms.cpp']]
    assert (tmp_path / 'mmcv.whl').is_file()
    assert 'compiling them one by one' in capsys.readouterr().out


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    mmcv_operators.check_compilers(needs_cuda=False, cuda='-')
    for cuda in ('-', tmp_path):
        with pytest.raises(SystemExit, match='error: no CUDA compiler'):
            mmcv_operators.check_compilers(needs_cuda=True, cuda=str(cuda))
    monkeypatch.setenv('CXX', 'no-such-compiler -O2')
    with pytest.raises(SystemExit, match=r'error: no C\+\+ compiler \(no-such-compiler -O2\) found'):
        mmcv_operators.check_compilers(needs_cuda=False, cuda='-')


def test_environment_has_every_operator_that_mmcv_exports():
    ops, compiled = importlib.import_module('mmcv.ops'), importlib.import_module('mmcv._ext')
    assert all(hasattr(ops, name) for name in ops.__all__) and len(ops.__all__) > 100
    functions = {name for name in dir(compiled) if not name.startswith('__')}
    assert len(functions) == 112
    assert functions > {'nms', 'roi_align_forward', 'deform_conv_forward', 'hard_voxelize_forward'}

import sys
import textwrap

import pytest
from peridot.compat import spconv_triton

FAKE_PYTORCH = """
from torch import nn
from spconv_triton.core import ConvAlgo
from spconv_triton.pytorch import functional, ops
from spconv_triton.pytorch.modules import SparseModule

class SparseSequential(SparseModule):
    pass

class SparseConvTensor:
    pass

for kind in ('SubMConv', 'SparseConv', 'SparseInverseConv', 'SparseConvTranspose', 'SparseMaxPool'):
    for ndim in '1234':
        globals()[f'{kind}{ndim}d'] = type(f'{kind}{ndim}d', (SparseModule,), {})
"""
FILES = {
    '__init__.py': "from . import constants\n__version__ = '1.0.0'\nSPCONV_VERSION_NUMBERS = [2, 3, 8]\n",
    'constants.py': 'SPCONV_ALLOW_TF32 = False\n',
    'core.py': 'class ConvAlgo:\n    Native = 0\n',
    'test_utils.py': 'raise RuntimeError("test helpers are not for import")\n',
    'pytorch/__init__.py': FAKE_PYTORCH,
    'pytorch/modules.py': 'from torch import nn\n\nclass SparseModule(nn.Module):\n    pass\n',
    'pytorch/ops.py': 'def indice_conv():\n    return "triton"\n',
    'pytorch/functional.py': '',
    'pytorch/conv.py': 'from spconv_triton.pytorch import ops\n\nclass SparseConvolutionBase:\n    pass\n',
}
# `hide_spconv` hides the installed spconv from the repair.
HEAD = """
import sys, torch
import peridot
from peridot.compat import spconv_triton as repair
find_spec = repair.find_spec
def hide_spconv():
    repair.find_spec = lambda name: None if name == 'spconv' else find_spec(name)
"""


@pytest.fixture
def fake(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / 'spconv_triton' / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return tmp_path


def run(python, code, *paths):
    done = python(HEAD + textwrap.dedent(code), *paths)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_stands_in_where_spconv_is_absent_and_mmdet3d_takes_it(fake, python):
    code = """
        hide_spconv()
        assert repair.apply() and not repair.apply()
        import spconv, spconv.pytorch.ops, spconv_triton
        assert spconv.__version__ == '2.3.8'
        assert spconv.pytorch.ops is sys.modules['spconv_triton.pytorch.ops']
        assert spconv.constants is spconv_triton.constants
        assert spconv.pytorch.ops.indice_conv() == 'triton', 'the CPU repair is not for the stand-in'
        from mmdet3d.models.layers.spconv import IS_SPCONV2_AVAILABLE
        assert IS_SPCONV2_AVAILABLE
        from mmdet3d.models.backbones import minkunet_backbone
        from mmdet3d.registry import MODELS
        print(MODELS.get('SubMConv3d').__module__, peridot.compat.report())
    """
    out = run(python, code, fake)
    assert out.startswith('spconv_triton.pytorch ')
    assert 'sparse convolution by spconv-triton 1.0.0, because spconv is not installed' in out


def test_where_it_does_not_stand_in_and_the_cpu_build_on_a_gpu_machine(fake, python):
    code = """
        assert repair.unfit_reason() is None, 'without a GPU the CPU build is right'
        assert not repair.apply() and 'spconv' not in sys.modules

        hide_spconv()
        ops = fake / 'pytorch' / 'ops.py'
        text = ops.read_text()
        ops.write_text('import triton_is_absent')
        assert not repair.apply() and 'spconv' not in sys.modules
        assert "No module named 'triton_is_absent'" in peridot.compat.report()[-1]
        ops.write_text(text)

        repair.find_spec = find_spec
        torch.cuda.is_available = lambda: True
        from spconv.cppconstants import CPU_ONLY_BUILD
        repair._forget('spconv')
        assert repair.apply() == CPU_ONLY_BUILD
        import spconv
        print('package' if hasattr(spconv, '__file__') else 'stand-in', CPU_ONLY_BUILD)
    """
    code = f'import pathlib; fake = pathlib.Path({str(fake / "spconv_triton")!r})\n' + textwrap.dedent(code)
    out = run(python, code, fake).split()
    assert (out[0] == 'stand-in') == (out[1] == 'True')


def test_nothing_happens_without_spconv_triton(monkeypatch):
    monkeypatch.setattr(spconv_triton, 'find_spec', lambda name: None)
    monkeypatch.delitem(sys.modules, 'spconv', raising=False)
    assert not spconv_triton.apply()
    assert 'spconv' not in sys.modules


def test_an_imported_spconv_stays():
    import spconv

    assert not spconv_triton.apply()
    assert sys.modules['spconv'] is spconv

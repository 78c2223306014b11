"""The check of a GPU on a machine without package index: what is carried there, and what is installed from it."""

import itertools
import json
import platform
import runpy
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from bootstrap import bundle, unbundle
from bootstrap.interpreter import Interpreter

REPO = Path(__file__).resolve().parents[2]
HERE = sysconfig.get_python_version()


def download(command: list[str], missing: set[str] = frozenset()) -> int:
    """What pip does with a command: a wheel, or an archive of sources, of the named size."""
    options = dict(itertools.pairwise(command))
    *_, wanted = (word for word in command if word[0] not in '-/' and word not in ('pip', 'download'))
    if wanted in missing:
        return 1
    name, _, version = wanted.partition('==')
    folder = Path(options['-d'])
    folder.mkdir(parents=True, exist_ok=True)
    if '--no-binary=:all:' in command:
        (folder / f'{name}-{version}.tar.gz').touch()
    else:
        with zipfile.ZipFile(folder / f'{name}-{version or "9.9"}-py3-none-any.whl', 'w') as wheel:
            wheel.writestr(f'{name}/__init__.py', '')
    return 0


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """Commands that were run, by a pip that makes files; the repository is a few of its parts."""
    ran = []

    def call(command: list[str], env: dict, **streams) -> int:
        ran.append(command)
        return download(command)

    monkeypatch.setattr(subprocess, 'call', call)
    monkeypatch.setattr(bundle, 'PARTS', ('tools', 'requirements', 'setup.cfg'))
    return ran


@pytest.fixture
def bundled(commands, tmp_path) -> Path:
    """A bundle for this machine, with a Python that nothing is expected of."""
    bundle.make_bundle(tmp_path / 'bundle', HERE)
    return tmp_path / 'bundle'


def test_everything_comes_for_the_other_python(commands, tmp_path):
    bundle.make_bundle(tmp_path / 'new' / 'bundle', '3.12')
    *wheels, sources = commands
    names = bundle.read_names(bundle.CARRIED)
    assert len(wheels) == len(names) + len(bundle.BUILD_TOOLS) + 1
    for command in wheels:
        assert command[:6] == [sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary=:all:']
        assert '--python-version=3.12' in command and f'--platform=manylinux_2_28_{platform.machine()}' in command
    wanted = {command[-1] for command in wheels}
    assert {'mmdet3d==1.4.0', 'Pygments==2.21.0', 'spconv-triton==1.0.0', 'setuptools==80.10.2'} < wanted
    assert 'mmcv==2.1.0' in sources and '--no-binary=:all:' in sources
    manifest = json.loads((tmp_path / 'new' / 'bundle' / 'manifest.json').read_text())
    assert (manifest['python'], manifest['machine']) == ('3.12', platform.machine())
    assert {'peridot/tools/bootstrap/bundle.py', 'sources/mmcv-2.1.0.tar.gz'} < manifest['files'].keys()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['bundle']


def test_another_python_gets_the_newest_version_that_it_has(monkeypatch, tmp_path):
    tried = []

    def call(command: list[str], **_) -> int:
        tried.append(command[-1])
        return download(command, {'shapely==2.0.7'})

    monkeypatch.setattr(subprocess, 'call', call)
    monkeypatch.setattr(
        bundle, 'read_names', lambda file: ['shapely'] if file == bundle.CARRIED else ['shapely==2.0.7']
    )
    bundle.download_wheels(tmp_path, '3.10')
    assert tried[-2:] == ['shapely==2.0.7', 'shapely']
    monkeypatch.setattr(subprocess, 'call', lambda command, **_: 1)
    with pytest.raises(SystemExit, match=r'error: no wheel of pip==.* for Python 3\.10 on'):
        bundle.download_wheels(tmp_path, '3.10')


def test_carried_packages_have_a_version_and_none_is_expected():
    locked = {line.partition('==')[0].lower() for line in bundle.read_names(bundle.LOCKED)}
    names = bundle.read_names(bundle.CARRIED)
    assert [name for name in names if '==' not in name and name.lower() not in locked] == []
    assert not {name.lower() for name in names} & {'torch', 'numpy', 'scipy', 'pandas', 'numba', 'pillow', 'mmcv'}


def test_a_bundle_has_a_largest_size(commands, tmp_path, monkeypatch):
    (tmp_path / 'some').mkdir()
    (tmp_path / 'some' / 'large.whl').write_bytes(bytes(3_000_000))
    (tmp_path / 'small.whl').write_bytes(bytes(500_000))
    assert bundle.check_size(tmp_path) == 3.5
    monkeypatch.setattr(bundle, 'LIMIT_MB', 3.4)
    with pytest.raises(
        SystemExit, match=r'error: the bundle has 3.5 MB, more than 3.4 \(large.whl 3.0, small.whl 0.5\)'
    ):
        bundle.check_size(tmp_path)
    monkeypatch.setattr(bundle, 'LIMIT_MB', 1e-3)
    with pytest.raises(SystemExit, match=r'more than 0\.001'):
        bundle.make_bundle(tmp_path / 'bundle', HERE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['small.whl', 'some']
    with pytest.raises(SystemExit, match='some exists: remove it'):
        bundle.make_bundle(tmp_path / 'some', HERE)


def test_what_is_lacking_is_installed_from_the_bundle_alone(bundled, commands, monkeypatch):
    commands.clear()
    monkeypatch.setattr(subprocess, 'call', lambda command, **_: commands.append(command) or 0)
    monkeypatch.setattr(unbundle, 'installed', lambda name: name not in ('mmengine', 'spconv-triton'))
    monkeypatch.setattr(unbundle, 'install_mmcv', lambda interpreter, *folders: commands.append(list(folders)))
    interpreter = unbundle.environment_from(bundled)
    pip, packages, mmcv, imports = commands
    wheels = str(bundled / 'wheels')
    python = str(bundled / 'venv' / 'bin' / 'python')
    assert pip[:4] == [python, str(next(bundled.glob('wheels/pip-*.whl')) / 'pip'), 'install', '--no-index']
    assert packages[:8] == [python, '-m', 'pip', 'install', '--no-index', '--no-deps', '--find-links', wheels]
    assert {'mmengine', 'spconv-triton', 'setuptools==80.10.2'} < set(packages) and 'mmdet3d' not in packages
    assert mmcv == [bundled / 'compiled', bundled / 'sources']
    assert imports[:2] == [python, '-c']
    commands.clear()
    assert unbundle.environment_from(bundled) == interpreter
    assert commands == []  # what is complete is used again


def test_the_environment_sees_peridot_and_the_packages_of_its_parent(tmp_path):
    (tmp_path / 'peridot' / 'projects').mkdir(parents=True)
    unbundle.create_venv(tmp_path)
    found = Interpreter(tmp_path / 'venv' / 'bin' / 'python').output('import sys, pytest; print(sys.prefix, sys.path)')
    assert found.startswith(str(tmp_path / 'venv')) and str(tmp_path / 'peridot' / 'projects') in found
    assert found.index('venv/lib') < found.index(str(Path(pytest.__file__).parents[1]))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(python='3.8'), 'is for Python 3.8 on .*, this is Python .*--bundle DIR --python'),
        (dict(machine='sparc'), 'is for Python .* on sparc, this is Python'),
        (dict(files={'wheels/absent.whl': '0'}), 'wheels/absent.whl is missing: copy the bundle again'),
        (dict(files={'sources/mmcv-2.1.0.tar.gz': '0'}), 'mmcv-2.1.0.tar.gz is damaged: copy the bundle again'),
    ],
)
def test_a_bundle_that_does_not_fit_is_one_line(bundled, changes, message):
    file = bundled / 'manifest.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(SystemExit, match=message):
        unbundle.environment_from(bundled)


def test_a_folder_or_a_machine_that_does_not_fit_is_one_line(bundled, monkeypatch):
    with pytest.raises(SystemExit, match='test_tools is no bundle: make one with'):
        unbundle.environment_from(REPO / 'tests' / 'test_tools')
    monkeypatch.setattr(unbundle, 'EXPECTED', ['torch', 'no_such_module', 'nor_this'])
    with pytest.raises(SystemExit, match='has no no_such_module, nor_this, which a bundle does not carry'):
        unbundle.environment_from(bundled)


def test_the_other_options_go_to_the_check_in_the_environment(monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(unbundle, 'environment_from', lambda folder: Interpreter(folder / 'python'))
    monkeypatch.setattr(subprocess, 'call', lambda command, **_: ran.append(command) or 3)
    options = ['--parts', 'convolutions', '--out', 'gpu.json']
    monkeypatch.setattr(sys, 'argv', ['check_gpu.py', '--from', str(tmp_path), *options])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(REPO / 'tools' / 'check_gpu.py'), run_name='__main__')
    assert stop.value.code == 3
    assert ran == [[str(tmp_path / 'python'), str(tmp_path / 'peridot' / 'tools' / 'check_gpu.py'), *options]]


def test_an_installed_package_refers_to_a_clone(monkeypatch, tmp_path):
    monkeypatch.setattr(bundle, 'CARRIED', tmp_path / 'requirements' / 'carried.txt')
    monkeypatch.setattr(sys, 'argv', ['check_gpu.py', '--bundle', str(tmp_path / 'bundle')])
    with pytest.raises(SystemExit, match=r'^error: a bundle is made .* of a clone of the repository'):
        runpy.run_path(str(REPO / 'tools' / 'check_gpu.py'), run_name='__main__')
    assert not list(tmp_path.iterdir())


def test_nothing_is_imported_that_a_bare_python_lacks(tmp_path):
    command = [sys.executable, '-S', '-E', str(REPO / 'tools' / 'check_gpu.py'), '--from', str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (
        ended.stderr
        == f'error: {tmp_path} is no bundle: make one with tools/check_gpu.py --bundle DIR and copy all of it\n'
    )

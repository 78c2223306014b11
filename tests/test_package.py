"""The package as others install it: a wheel and an archive of sources, without the repository around them."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import peridot
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from peridot.compat.installation import RANGES

REPO = Path(__file__).resolve().parents[1]
SOURCES = ('configs', 'projects', 'tools', 'LICENSE', 'README.md', 'model-index.yml', 'pyproject.toml', 'setup.cfg')
BUILD = 'from setuptools import build_meta; build_meta.build_{}({!r})'
SETUP = configparser.ConfigParser()
SETUP.read(REPO / 'setup.cfg')


def build(kind: str, sources: Path, out: Path) -> Path:
    """A wheel or an sdist, made as pip makes it."""
    out.mkdir(exist_ok=True)
    subprocess.run([sys.executable, '-c', BUILD.format(kind, str(out))], cwd=sources, check=True, capture_output=True)
    return next(out.iterdir())


@pytest.fixture(scope='session')
def built(make_once) -> Path:
    """Folder of `wheel/` and `from_sdist/`, the wheel of the sources that the sdist in `sdist/` holds."""

    def make(folder: Path) -> None:
        sources, unpacked = folder / 'sources', folder / 'unpacked'
        sources.mkdir(parents=True)
        for name in SOURCES:
            copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy2
            options = dict(symlinks=True, ignore=shutil.ignore_patterns('__pycache__', '*.egg-info'))
            copy(REPO / name, sources / name, **(options if (REPO / name).is_dir() else {}))
        build('wheel', sources, folder / 'wheel')
        with tarfile.open(build('sdist', sources, folder / 'sdist')) as archive:
            archive.extractall(unpacked, filter='data')
        shutil.rmtree(sources)
        build('wheel', next(unpacked.iterdir()), folder / 'from_sdist')

    return make_once('package', make)


def contents(folder: Path) -> dict[str, bytes]:
    """Files of the wheel in a folder."""
    with zipfile.ZipFile(next(folder.glob('*.whl'))) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def test_the_wheel_holds_configs_tools_and_index(built):
    files = contents(built / 'wheel')
    shipped = {name.partition('/.mim/')[2]: data for name, data in files.items() if '/.mim/' in name}
    paths = [path for folder in ('configs', 'tools') for path in (REPO / folder).rglob('*') if path.is_file()]
    expected = {str(path.relative_to(REPO)) for path in paths if '__pycache__' not in path.parts}
    assert set(shipped) == expected - {'tools/setup_env.py'} | {'model-index.yml'}
    for name, data in shipped.items():
        assert data == (REPO / name).read_bytes(), name
    for index in yaml.safe_load(shipped['model-index.yml'])['Import']:
        for model in yaml.safe_load(shipped[index])['Models']:
            assert model['Config'] in shipped
    assert {name.partition('/')[0] for name in files} == {'peridot', 'streets', 'peridot_mmdet3d-0.1.0.dist-info'}
    assert [name for name in files if name.startswith('peridot/text/classes/')]


def test_the_archive_of_sources_gives_the_same_wheel(built):
    wheel, again = contents(built / 'wheel'), contents(built / 'from_sdist')
    assert wheel == again


def requirements(option: str, section: str = 'options') -> dict[str, Requirement]:
    lines = [line for line in SETUP[section][option].splitlines() if line and not line.startswith('#')]
    return {item.name: item for item in map(Requirement, lines)}


def test_the_import_checks_the_ranges_that_the_metadata_require():
    required = requirements('install_requires')
    assert {name: required[name].specifier for name in RANGES} == {k: SpecifierSet(v) for k, v in RANGES.items()}


def test_the_readme_installs_what_the_metadata_offer():
    section = (REPO / 'README.md').read_text().partition('## Install into')[2].partition('\n## ')[0]
    extras = SETUP['options.extras_require']
    named = [name for names in re.findall(r'\.\[([\w,-]+)\]|`\[([\w-]+)\]`', section) for name in names if name]
    assert len(named) > 1 and set(named) <= set(extras)
    packages = {name for line in re.findall(r'^pip install ([^.\'#\n]+)', section, re.M) for name in line.split()}
    known = set(requirements('install_requires')).union(*(requirements(e, 'options.extras_require') for e in extras))
    mim = {'openmim', 'click', 'colorama', 'model-index', 'ordered-set', 'tabulate'}
    assert {name for name in packages if not name.startswith('-')} <= known | mim


def test_one_version_everywhere():
    version = SETUP['metadata']['version']
    assert peridot.__version__ == version
    assert yaml.safe_load((REPO / 'CITATION.cff').read_text())['version'] == version
    assert re.search(r'^## (\S+)', (REPO / 'CHANGELOG.md').read_text(), re.M)[1] == version


def test_github_runs_what_ci_runs_and_asks_for_the_environment():
    steps = yaml.safe_load((REPO / '.github/workflows/ci.yml').read_text())['jobs']['test']['steps']
    assert [step['run'] for step in steps if 'run' in step] == ['bash .ci/run']
    form = yaml.safe_load((REPO / '.github/ISSUE_TEMPLATE/bug_report.yml').read_text())
    asked = {item['id']: item for item in form['body'] if 'id' in item}['environment']
    assert 'tools/collect_env.py' in asked['attributes']['description'] and asked['validations']['required']


OBJECTIVE = """
import json
import sys

import peridot
from peridot.models.objectives import Objective
from peridot.registry import MODELS


@MODELS.register_module()
class Shrink(Objective):
    def forward(self, batch):
        files = [str(module.__file__) for module in sys.modules.values() if getattr(module, '__file__', None)]
        with open('seen.json', 'w') as file:
            json.dump(files, file)
        return {'loss': batch.embed_points(self.head, slice(None)).square().sum()}
"""
CONFIG = """
_base_ = 'peridot::demo/ppkt_demo.py'
custom_imports = dict(imports=['shrink'])
model = dict(objectives=dict(shrink=dict(type='peridot.Shrink', head='instance')))
train_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(indices=1))
train_cfg = dict(max_epochs=1, val_interval=9)
default_hooks = dict(logger=dict(interval=1))
custom_hooks = []
"""


@pytest.fixture
def installed(built, tmp_path) -> Path:
    """Folder of the package in an environment of its own, which has the wheel and the other packages of this one."""
    venv.create(tmp_path / 'venv', symlinks=True)
    (packages,) = (tmp_path / 'venv').glob('lib/python*/site-packages')
    # a folder that a .pth names is searched, but not for other .pth files, such as that of an editable installation
    (packages / 'others.pth').write_text(str(Path(torch.__file__).parents[1]))
    with zipfile.ZipFile(next((built / 'wheel').glob('*.whl'))) as wheel:
        wheel.extractall(packages)
    return packages / 'peridot'


@pytest.mark.slow
def test_an_installed_package_trains_with_an_own_config_and_objective(installed, tmp_path, demo_root):
    """As `mim train` starts it, from a folder that holds nothing of the repository."""
    own = tmp_path / 'own'
    own.mkdir()
    (own / 'shrink.py').write_text(OBJECTIVE)
    (own / 'shrink_nus.py').write_text(CONFIG)
    python = tmp_path / 'venv' / 'bin' / 'python'
    command = [python, installed / '.mim' / 'tools' / 'train.py', 'shrink_nus.py', '--launcher', 'none']
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run(
        [*command, '--data-root', demo_root],
        **dict(cwd=own, env={**environment, 'PYTHONPATH': str(own)}, capture_output=True, text=True, timeout=600),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    log = next((own / 'work_dirs' / 'shrink_nus').glob('*/*.log')).read_text()
    assert 'shrink/loss' in log and (own / 'work_dirs' / 'shrink_nus' / 'epoch_1.pth').is_file()
    files = ast.literal_eval((own / 'seen.json').read_text())
    assert str(installed / '__init__.py') in files
    ours = [REPO / name for name in ('projects', 'tools', 'configs')]
    assert not [file for file in files if any(Path(file).is_relative_to(folder) for folder in ours)]

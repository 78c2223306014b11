"""tools/bootstrap/lock.py, and what is locked."""

import configparser
import re
from importlib.metadata import version
from pathlib import Path

from bootstrap import lock
from packaging.requirements import Requirement

REPO = Path(__file__).resolve().parents[2]


def read_lines(path):
    return [line for line in path.read_text().splitlines() if line and not line.startswith('#')]


def test_what_torch_needs_and_what_is_compiled_is_not_locked(tmp_path, monkeypatch):
    file = tmp_path / 'locked.txt'
    file.write_text('# why\nmmdet3d==0.1\ngone==1.0\n')
    monkeypatch.setattr(lock, 'LOCKED', file)
    lock.main()
    versions = dict(line.split('==') for line in read_lines(file))
    assert file.read_text().startswith('# why\n')
    assert versions['mmdet3d'] == version('mmdet3d').partition('+')[0] and 'gone' not in versions
    assert not [name for name, number in versions.items() if '+' in number]
    assert {lock.canonical(name) for name in versions}.isdisjoint({'torch', 'sympy', 'mpmath', 'numpy', 'mmcv', 'pip'})
    assert list(versions) == sorted(versions, key=str.lower)


def test_locked_versions_are_those_that_the_package_allows():
    settings = configparser.ConfigParser()
    settings.read(REPO / 'setup.cfg')
    texts = [settings['options']['install_requires'], *settings['options.extras_require'].values()]
    requirements = [Requirement(line) for text in texts for line in text.split('\n') if re.match(r'\w', line)]
    locked = dict(line.split('==') for line in read_lines(lock.LOCKED))
    locked = {lock.canonical(name): number for name, number in locked.items()}
    checked = [r for r in requirements if lock.canonical(r.name) in locked]
    assert len(checked) > 20
    for requirement in checked:
        assert requirement.specifier.contains(locked[lock.canonical(requirement.name)]), requirement

"""Wheels without some of their requirements."""

import subprocess
import sys
import zipfile
from pathlib import Path

from bootstrap.interpreter import Interpreter
from bootstrap.left_out import LEFT_OUT, install_without
from packaging.requirements import Requirement

REPO = Path(__file__).resolve().parents[2]
METADATA = 'Metadata-Version: 2.1\nName: {}\nVersion: 1.4.0\nRequires-Dist: numpy\n{}\n\nopen3d draws.\n'
WHEEL = 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n'


def write_wheel(folder: Path, name: str) -> None:
    """A wheel that requires numpy and what is left out of it."""
    module = name.replace('-', '_')
    information = folder / 'content' / f'{module}-1.4.0.dist-info'
    information.mkdir(parents=True)
    lines = '\n'.join(f'Requires-Dist: {left} (>=3)' for left in LEFT_OUT[name])
    (information / 'METADATA').write_text(METADATA.format(name, lines))
    (information / 'WHEEL').write_text(WHEEL)
    (folder / 'content' / f'{module}.py').write_text('x = 1')
    Interpreter(Path(sys.executable)).python('-m', 'wheel', 'pack', '--dest-dir', str(folder), str(folder / 'content'))


def test_a_version_says_what_is_left_out(tmp_path, monkeypatch):
    ran, call = [], subprocess.call

    def pip(command: list[str], env: dict) -> int:
        if command[1:3] != ['-m', 'pip']:
            return call(command, env=env, stdout=subprocess.DEVNULL)
        if command[3] == 'download':
            write_wheel(Path(command[command.index('-d') + 1]), command[6].partition('==')[0])
        else:
            (path,) = (Path(word) for word in command if word.endswith('.whl'))
            with zipfile.ZipFile(path) as wheel:
                ran.append((path.name, {name: wheel.read(name).decode() for name in wheel.namelist()}))
        return 0

    monkeypatch.setattr(subprocess, 'call', pip)
    install_without(Interpreter(Path(sys.executable)), {name: f'{name}==1.4.0' for name in LEFT_OUT})
    assert len(ran) == len(LEFT_OUT)
    name, files = ran[1]
    assert name == 'mmdet3d-1.4.0+without.open3d-py3-none-any.whl'
    text = files['mmdet3d-1.4.0+without.open3d.dist-info/METADATA']
    assert text.splitlines()[2:4] == ['Version: 1.4.0+without.open3d', 'Requires-Dist: numpy']
    assert text.endswith('open3d draws.\n') and files['mmdet3d.py'] == 'x = 1'
    assert 'METADATA,sha256=' in files['mmdet3d-1.4.0+without.open3d.dist-info/RECORD']


def test_nothing_that_is_left_out_is_installed_or_locked():
    locked = {
        Requirement(line).name
        for line in (REPO / 'requirements/locked.txt').read_text().splitlines()
        if line and not line.startswith('#')
    }
    assert set(LEFT_OUT) <= locked and not locked & {name for names in LEFT_OUT.values() for name in names}

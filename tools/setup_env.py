#!/usr/bin/env python3
"""Create `.venv` with the locked versions and mmcv's operators (standard library only; run by `make env`).

mmcv's operators are compiled once, and the wheel is kept in the user's cache folder. Every step can be interrupted
and run again.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
import venv
from pathlib import Path

from bootstrap.bundle import read_names
from bootstrap.interpreter import Interpreter
from bootstrap.left_out import LEFT_OUT, install_without
from bootstrap.mmcv_operators import BUILD_TOOLS, MMCV, install_mmcv

REPO = Path(__file__).resolve().parents[1]
VENV = REPO / '.venv'
PYTHON = Interpreter(VENV / 'bin' / 'python')
LOCKED = REPO / 'requirements' / 'locked.txt'
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'peridot'
TORCH = 'torch==2.13.0'
NUMPY = 'numpy==1.26.4'
DISK_GB = 8


def main() -> None:
    """Run the steps unless this environment is complete."""
    check_machine()
    fingerprint = hashlib.sha256(
        '\n'.join(
            [LOCKED.read_text(), TORCH, MMCV, *BUILD_TOOLS, NUMPY, str(LEFT_OUT), sys.version, str(REPO)]
        ).encode()
    ).hexdigest()
    done = VENV / 'peridot-env.json'
    if done.is_file() and json.loads(done.read_text()).get('fingerprint') == fingerprint:
        return
    start = time.time()
    steps = [
        ('create .venv', create_venv),
        ('install build tools', lambda: PYTHON.pip('install', *BUILD_TOOLS, NUMPY)),
        # Python compiles what is imported, and most of these packages never is
        (f'install {TORCH}', lambda: PYTHON.pip('install', '--no-compile', TORCH)),
        ('install locked packages', lambda: PYTHON.pip('install', '--no-compile', '--no-deps', '-r', str(LOCKED))),
        ('leave out what nothing here uses', lambda: install_without(PYTHON, locked_versions())),
        (f'install {MMCV} with compiled operators', lambda: install_mmcv(PYTHON, CACHE / 'wheels')),
        ('install peridot', lambda: PYTHON.pip('install', '--no-deps', '--no-build-isolation', '-e', str(REPO))),
        ('check imports', lambda: PYTHON.python('-c', 'import peridot, mmcv.ops, mmdet3d, timm, spconv.pytorch')),
        ('check requirements', lambda: PYTHON.python('-m', 'pip', 'check')),
    ]
    for number, (title, step) in enumerate(steps, 1):
        print(f'[{number}/{len(steps)}] {title} ({time.time() - start:.0f} s so far)', flush=True)
        step()
    done.write_text(json.dumps({'fingerprint': fingerprint}))
    print(f'environment ready in {time.time() - start:.0f} s: {VENV}', flush=True)


def check_machine() -> None:
    """Stop with one line if the Python version or the disk space does not suffice."""
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            f'error: the locked versions are for Python 3.11, this is {sys.version.split()[0]}: '
            'run `make env PYTHON=python3.11`'
        )
    free = shutil.disk_usage(REPO).free / 1e9
    if not PYTHON.path.is_file() and free < DISK_GB:
        sys.exit(f'error: {free:.1f} GB free in {REPO}, set-up needs {DISK_GB} GB: free some and run it again')


def locked_versions() -> dict[str, str]:
    """Lines of the locked versions by the package's name."""
    return {line.partition('==')[0]: line for line in read_names(LOCKED)}


def create_venv() -> None:
    """Make the virtual environment, again if an interrupted run left one without pip."""
    if not (PYTHON.path.is_file() and PYTHON.succeeds('-m', 'pip', '--version')):
        venv.create(VENV, with_pip=True, clear=True)


if __name__ == '__main__':
    # refuses arguments, and --help installs nothing
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\ninterrupted; the same command continues where it stopped')

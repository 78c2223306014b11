#!/usr/bin/env python3
"""Create `.venv` with the locked versions and mmcv's operators (standard library only; run by `make env`).

mmcv 2.1.0 is the newest release mmdet3d accepts and has no wheel on the package index, so its operators are
compiled once (2 minutes on 2 cores); the wheel is kept in the user's cache folder, keyed by python, torch and
mmcv version. Every step can be interrupted and run again.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
VENV = REPO / '.venv'
PYTHON = VENV / 'bin' / 'python'
LOCKED = REPO / 'requirements' / 'locked.txt'
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'peridot'
TORCH = 'torch==2.13.0'
MMCV = 'mmcv==2.1.0'
# mmcv's sdist needs pkg_resources, which setuptools 81 removed, and torch's build helpers
BUILD_TOOLS = ['setuptools==80.10.2', 'wheel', 'ninja==1.13.2', 'psutil==7.2.2', 'packaging', 'numpy==1.26.4']
DISK_GB = 8
# sources below csrc/pytorch/cpu whose names clash with those of others, and the number of joined files of each folder
ALONE = ('psamask', 'roi_align', 'roi_align_rotated', 'rotated_feature_align')
JOINED = {'.': 2, 'cpu': 1}


def main() -> None:
    """Run the steps unless this environment is complete."""
    check_machine()
    fingerprint = hashlib.sha256(
        '\n'.join([LOCKED.read_text(), TORCH, MMCV, *BUILD_TOOLS, sys.version, str(REPO)]).encode()
    ).hexdigest()
    done = VENV / 'peridot-env.json'
    if done.is_file() and json.loads(done.read_text()).get('fingerprint') == fingerprint:
        return
    start = time.time()
    steps = [
        ('create .venv', create_venv),
        ('install build tools', lambda: pip('install', *BUILD_TOOLS)),
        (f'install {TORCH}', lambda: pip('install', TORCH)),
        ('install locked packages', lambda: pip('install', '--no-deps', '-r', str(LOCKED))),
        (f'install {MMCV} with compiled operators', install_mmcv),
        ('install peridot', lambda: pip('install', '--no-deps', '--no-build-isolation', '-e', str(REPO))),
        ('check imports', lambda: python('-c', 'import peridot, mmcv.ops, mmdet3d, timm, spconv.pytorch')),
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
    if not PYTHON.is_file() and free < DISK_GB:
        sys.exit(f'error: {free:.1f} GB free in {REPO}, set-up needs {DISK_GB} GB: free some and run it again')


def create_venv() -> None:
    """Make the virtual environment, again if an interrupted run left one without pip."""
    works = PYTHON.is_file() and quiet([PYTHON, '-m', 'pip', '--version']) == 0
    if not works:
        venv.create(VENV, with_pip=True, clear=True)


def install_mmcv() -> None:
    """Install mmcv from the cached wheel, compiling it first if there is none for this python and torch."""
    torch_version, cuda = python_output(
        'import torch; print(torch.__version__, "cuda" if torch.cuda.is_available() else "cpu")'
    ).split()
    key = f'{sysconfig.get_python_version()}-torch{torch_version}-{cuda}-{MMCV.replace("==", "")}'
    wheels = CACHE / 'wheels' / f'py{key}'
    wheels.mkdir(parents=True, exist_ok=True)
    with (wheels / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two clones set up at once compile once
        if not list(wheels.glob('*.whl')):
            compile_mmcv(wheels)
    pip('install', '--no-deps', '--force-reinstall', str(next(wheels.glob('*.whl'))))


def compile_mmcv(wheels: Path) -> None:
    """Build the wheel in a folder that stays, so that an interrupted compilation continues where it stopped."""
    compiler = os.environ.get('CXX', 'c++')
    if shutil.which(compiler.split()[0]) is None:
        sys.exit(
            f'error: no C++ compiler ({compiler}) found, mmcv needs one: '
            'install g++ or clang++ (or set CXX) and run it again'
        )
    source, download, built = (wheels / name for name in ('source', 'download', 'built'))
    if not (source / 'setup.py').is_file():
        unpack_mmcv(download, source, joined=True)
    print('      compiling once for this machine, about 2 minutes on 2 cores', flush=True)
    log = wheels / 'build.log'
    done = build_wheel(source, built, log)
    if not done and list(source.rglob('joined_*.cpp')):
        print(f'      joined sources do not compile here ({log}): compiling them one by one', flush=True)
        unpack_mmcv(download, source, joined=False)
        done = build_wheel(source, built, log)
    if not done:
        sys.exit(f'error: compiling mmcv failed, its output is in {log}')
    next(built.glob('*.whl')).rename(wheels / next(built.glob('*.whl')).name)
    shutil.rmtree(source, ignore_errors=True)


def build_wheel(source: Path, built: Path, log: Path) -> bool:
    """Compile without debug information, which takes 40 % of the time; returns whether it worked."""
    flags = {name: f'-g0 {os.environ.get(name, "")}'.strip() for name in ('CFLAGS', 'CXXFLAGS')}
    jobs = os.environ.get('MAX_JOBS', str(os.cpu_count()))
    environment = {**os.environ, **flags, 'MMCV_WITH_OPS': '1', 'MAX_JOBS': jobs}
    command = [PYTHON, '-m', 'pip', 'wheel', '-v', '--no-deps', '--no-build-isolation', '-w', built, source]
    return run_with_progress(command, environment, log) == 0


def unpack_mmcv(download: Path, source: Path, joined: bool) -> None:
    """Download mmcv's sources and unpack them; `joined` for a compilation in a third of the time."""
    shutil.rmtree(download, ignore_errors=True)
    shutil.rmtree(source, ignore_errors=True)
    pip('download', '--no-deps', '--no-build-isolation', '--no-binary', ':all:', MMCV, '-d', str(download))
    with tarfile.open(next(download.glob('*.tar.gz'))) as archive:
        archive.extractall(download, filter='data')
    unpacked = next(path for path in download.iterdir() if path.is_dir())
    if joined:
        join_sources(unpacked / 'mmcv' / 'ops' / 'csrc' / 'pytorch')
    unpacked.rename(source)


def join_sources(folder: Path) -> None:
    """Make a few files that include the operators' sources: the compiler reads torch's headers once for each file.

    Args:
        folder: `csrc/pytorch` of mmcv's sources.
    """
    for part, number in JOINED.items():
        sources = sorted(path for path in (folder / part).glob('*.cpp') if path.stem not in ALONE)
        for index in range(number):
            # mmcv compiles all files of this suffix
            included = [path.rename(path.with_suffix('.inc')) for path in sources[index::number]]
            lines = ['#include <torch/extension.h>', *(f'#include "{path.name}"' for path in included)]
            (folder / part / f'joined_{index}.cpp').write_text('\n'.join(lines) + '\n')


def run_with_progress(command: list, environment: dict, log: Path) -> int:
    """Run `command`, write its output to `log` and show ninja's `[done/total]` lines from time to time."""
    shown, start = 0.0, time.time()
    with (
        log.open('w') as file,
        subprocess.Popen(
            [str(c) for c in command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        for line in process.stdout:
            file.write(line)
            progress = re.match(r'\s*\[(\d+)/(\d+)\]', line)
            if progress and time.time() - shown > 15:
                shown = time.time()
                print(f'      {progress[1]} of {progress[2]} files, {shown - start:.0f} s', flush=True)
    return process.returncode


def quiet(command: list) -> int:
    """Exit status of a command, its output hidden."""
    return subprocess.call([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def pip(*arguments: str) -> None:
    """Run pip of the environment."""
    python('-m', 'pip', *arguments, '--quiet', '--disable-pip-version-check')


def python(*arguments: str) -> None:
    """Run python of the environment; its failure ends the set-up."""
    if subprocess.call([str(PYTHON), *arguments]) != 0:
        sys.exit(f'error: `{PYTHON} {" ".join(arguments)}` failed (its output is above); run the command again')


def python_output(code: str) -> str:
    """Output of a line of Python in the environment."""
    return subprocess.check_output([str(PYTHON), '-c', code], text=True)


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\ninterrupted; the same command continues where it stopped')

"""A folder with everything that the check of a GPU needs beside torch, for a machine without package index.

peridot/        configs, tools and sources
wheels/         `requirements/carried.txt` and what compiles mmcv, for one version of Python
sources/        mmcv, which is compiled on the machine
manifest.json   what it was made for, and the hash of every file
"""

import configparser
import hashlib
import json
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from bootstrap.interpreter import Interpreter
from bootstrap.mmcv_operators import BUILD_TOOLS, download_mmcv

REPO = Path(__file__).resolve().parents[2]
CARRIED = REPO / 'requirements' / 'carried.txt'
LOCKED = REPO / 'requirements' / 'locked.txt'
PARTS = ('configs', 'projects', 'requirements', 'tools', 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE')
PIP = 'pip==25.3'
LIMIT_MB = 60
# pip takes exactly the tags that it is told; the newest is that of torch's own wheels
GLIBC_MINORS = range(28, 4, -1)


def read_names(file: Path) -> list[str]:
    """Lines of a requirements file without its comments."""
    return [line.strip() for line in file.read_text().splitlines() if line.strip() and not line.startswith('#')]


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_bundle(folder: Path, python: str) -> None:
    """Make the bundle; the folder is there when it is complete.

    Args:
        folder: It must not exist yet.
        python: Version of the machine's Python, such as '3.12'.
    """
    if folder.exists():
        sys.exit(f'error: {folder} exists: remove it, or give the name of a new folder')
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}.', suffix='.part') as temporary:
        part = Path(temporary, 'bundle')
        copy_repository(part / 'peridot')
        download_wheels(part / 'wheels', python)
        download_sources(part / 'sources', part / 'wheels')
        write_manifest(part, python)
        megabytes = check_size(part)
        part.rename(folder)
    print(f'{folder}: {megabytes:.1f} MB for Python {python} on {platform.machine()}; on the machine run')
    print(f'    python {folder}/peridot/tools/check_gpu.py --from {folder}')


def copy_repository(target: Path) -> None:
    """Copy what the check needs of the repository."""
    target.mkdir(parents=True)
    for part in PARTS:
        if (REPO / part).is_dir():
            shutil.copytree(REPO / part, target / part, ignore=shutil.ignore_patterns('__pycache__', '*.egg-info'))
        else:
            shutil.copy2(REPO / part, target / part)


def download_wheels(folder: Path, python: str) -> None:
    """Download the wheel of every requirement in its locked version, or the newest that this Python has."""
    here = Interpreter(Path(sys.executable))
    machine = platform.machine()
    tags = [*(f'manylinux_2_{minor}_{machine}' for minor in GLIBC_MINORS), f'manylinux2014_{machine}']
    target = [f'--python-version={python}', '--implementation=cp', *(f'--platform={tag}' for tag in tags)]
    options = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', *target, '-d', str(folder)]
    versions = {line.partition('==')[0].lower(): line for line in read_names(LOCKED)}
    for name in [PIP, *BUILD_TOOLS, *read_names(CARRIED)]:
        locked = versions.get(name.lower(), name)
        print(f'  {locked}', flush=True)
        if not any(here.succeeds(*options, wanted) for wanted in (locked, name)):
            sys.exit(f'error: no wheel of {name} for Python {python} on {machine}: check the network and --python')


def download_sources(folder: Path, wheels: Path) -> None:
    """Download mmcv's sources with the setuptools that its setup.py needs, whichever is installed here."""
    with tempfile.TemporaryDirectory() as setuptools:
        shutil.unpack_archive(next(wheels.glob('setuptools-*.whl')), setuptools, 'zip')
        download_mmcv(Interpreter(Path(sys.executable), packages=Path(setuptools)), folder)


def write_manifest(folder: Path, python: str) -> None:
    """Write what the bundle was made for, and the hash of every file."""
    settings = configparser.ConfigParser()
    settings.read(REPO / 'setup.cfg')
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    manifest = dict(
        peridot=settings['metadata']['version'],
        python=python,
        machine=platform.machine(),
        files={path.relative_to(folder).as_posix(): hash_of(path) for path in files},
    )
    (folder / 'manifest.json').write_text(json.dumps(manifest, indent=1))


def check_size(folder: Path) -> float:
    """Size in MB; stops with one line if it is over `LIMIT_MB`."""
    sizes = {path: path.stat().st_size / 1e6 for path in folder.rglob('*') if path.is_file()}
    total = sum(sizes.values())
    if total > LIMIT_MB:
        largest = ', '.join(f'{path.name} {sizes[path]:.1f}' for path in sorted(sizes, key=sizes.get)[:-4:-1])
        sys.exit(
            f'error: the bundle has {total:.1f} MB, more than {LIMIT_MB} ({largest}): take packages that every machine '
            f'with a GPU has out of requirements/{CARRIED.name}'
        )
    return total

"""An environment from a bundle, on a machine that has torch and no package index."""

import hashlib
import json
import platform
import site
import sys
import sysconfig
import venv
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from bootstrap.bundle import CARRIED, hash_of, read_names
from bootstrap.interpreter import Interpreter
from bootstrap.mmcv_operators import BUILD_TOOLS, QUESTION, install_mmcv

# modules that are large and that machines with torch have; they fit their numpy
EXPECTED = (
    'torch',
    'torchvision',
    'numpy',
    'cv2',
    'matplotlib',
    'numba',
    'pandas',
    'PIL',
    'scipy',
    'skimage',
    'sklearn',
)


def environment_from(folder: Path) -> Interpreter:
    """Python of the bundle's environment, which is made the first time.

    What the machine has stays in use; what it lacks is installed from the bundle into `folder/venv`.

    Args:
        folder: The bundle.
    """
    folder = folder.resolve()  # commands run in other folders, too
    manifest = read_manifest(folder)
    check_machine(manifest, folder)
    interpreter = Interpreter(folder / 'venv' / 'bin' / 'python')
    # places are written into it, and mmcv is compiled for this torch and GPU
    machine = Interpreter(Path(sys.executable)).output(QUESTION)
    fingerprint = hashlib.sha256(f'{manifest} {folder} {sys.version} {sys.prefix} {machine}'.encode()).hexdigest()
    done = folder / 'venv' / 'fingerprint'
    if done.is_file() and done.read_text() == fingerprint:
        return interpreter
    check_files(manifest, folder)
    create_venv(folder)
    install_wheels(interpreter, folder / 'wheels')
    print('compile mmcv', flush=True)
    install_mmcv(interpreter, folder / 'compiled', folder / 'sources')
    interpreter.python('-c', 'import peridot, mmcv.ops, mmdet3d, timm')
    done.write_text(fingerprint)
    return interpreter


def read_manifest(folder: Path) -> dict:
    """Manifest of a bundle."""
    try:
        return json.loads((folder / 'manifest.json').read_text())
    except (OSError, ValueError):
        sys.exit(f'error: {folder} is no bundle: make one with tools/check_gpu.py --bundle DIR and copy all of it')


def check_machine(manifest: dict, folder: Path) -> None:
    """Stop with one line if the bundle was made for another machine, or if this one lacks what it does not carry."""
    python, machine = sysconfig.get_python_version(), platform.machine()
    if (python, machine) != (manifest['python'], manifest['machine']):
        sys.exit(
            f'error: {folder} is for Python {manifest["python"]} on {manifest["machine"]}, this is Python {python} on '
            f'{machine}: make another with tools/check_gpu.py --bundle DIR --python {python}, on such a processor'
        )
    lacking = [name for name in EXPECTED if find_spec(name) is None]
    if lacking:
        sys.exit(
            f'error: {sys.executable} has no {", ".join(lacking)}, which a bundle does not carry: '
            'start this with the Python that has torch, or install them'
        )


def check_files(manifest: dict, folder: Path) -> None:
    """Stop with one line if a file is missing or differs."""
    for name, expected in manifest['files'].items():
        path = folder / name
        if not path.is_file() or hash_of(path) != expected:
            sys.exit(f'error: {path} is {"damaged" if path.is_file() else "missing"}: copy the bundle again')


def create_venv(folder: Path) -> None:
    """Make an environment that sees the packages of this Python, also if that is one of an environment, and peridot."""
    # a copy of the interpreter may miss its libraries
    venv.create(folder / 'venv', clear=True, symlinks=True)
    parents = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    # a line that begins with `import` is run; addsitedir reads the .pth files there, too
    lines = [f'import site; site.addsitedir({path!r})' for path in parents if Path(path).is_dir()]
    (packages,) = (folder / 'venv').glob('lib/python*/site-packages')
    projects = folder.resolve() / 'peridot' / 'projects'
    (packages / 'machine.pth').write_text('\n'.join([str(projects), *lines]) + '\n')


def install_wheels(interpreter: Interpreter, wheels: Path) -> None:
    """Install pip, what compiles mmcv, and what this machine lacks."""
    lacking = [name.partition('==')[0] for name in read_names(CARRIED) if not installed(name.partition('==')[0])]
    print(f'install {" ".join(lacking)}', flush=True)
    options = ['install', '--no-index', '--no-deps', '--find-links', str(wheels)]
    # pip runs from its wheel: venv's own is missing from some Pythons
    (pip,) = wheels.glob('pip-*.whl')
    interpreter.python(str(pip / 'pip'), *options, '--quiet', 'pip')
    interpreter.pip(*options, *BUILD_TOOLS, *lacking)


def installed(name: str) -> bool:
    """Whether this Python has a package."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True

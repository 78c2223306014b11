"""Requirements of packages that the environment does without, in wheels that say so by their version.

mmdet3d 1.4.0 without open3d is mmdet3d 1.4.0+without.open3d: `pip check` then finds what is truly missing.
"""

import re
import tempfile
from pathlib import Path

from bootstrap.interpreter import Interpreter

# open3d, 400 MB, opens windows; black, flake8 and plotly serve those who develop the devkit; opencv-python has the
# module of opencv-python-headless and needs libraries of a desktop
LEFT_OUT = {
    'lyft-dataset-sdk': ('black', 'flake8', 'opencv-python', 'plotly'),
    'mmdet3d': ('open3d',),
    'mmengine': ('opencv-python',),
}


def install_without(interpreter: Interpreter, requirements: dict[str, str]) -> None:
    """Install the packages of `LEFT_OUT` without the requirements that it names.

    Args:
        interpreter: With pip and wheel.
        requirements: Argument of `pip install` for each of these packages.
    """
    for name, left_out in LEFT_OUT.items():
        with tempfile.TemporaryDirectory() as folder:
            interpreter.pip('download', '--no-deps', '--only-binary=:all:', requirements[name], '-d', folder)
            wheel = without(interpreter, next(Path(folder).glob('*.whl')), left_out)
            interpreter.pip('install', '--no-deps', '--no-index', '--force-reinstall', str(wheel))


def without(interpreter: Interpreter, wheel: Path, left_out: tuple[str, ...]) -> Path:
    """Wheel of the same files whose metadata lack requirements; its version names them.

    Args:
        interpreter: With wheel.
        wheel: A wheel.
        left_out: Names of required packages.
    """
    folder = wheel.parent / 'unpacked'
    interpreter.python('-m', 'wheel', 'unpack', '--dest', str(folder), str(wheel))
    (content,) = folder.iterdir()
    (information,) = content.glob('*.dist-info')
    suffix = '+without.' + '.'.join(left_out).replace('-', '.')
    lines = (information / 'METADATA').read_text().split('\n')
    kept = [line for line in lines if required(line) not in left_out]
    version = next(line for line in kept if line.startswith('Version: '))
    kept[kept.index(version)] = version + suffix
    (information / 'METADATA').write_text('\n'.join(kept))
    information.rename(information.with_name(f'{information.stem}{suffix}.dist-info'))
    interpreter.python('-m', 'wheel', 'pack', '--dest-dir', str(wheel.parent), str(content))
    return next(wheel.parent.glob(f'*{suffix}-*.whl'))


def required(line: str) -> str | None:
    """Name of the package that a line of metadata requires."""
    match = re.match(r'Requires-Dist: ([\w.-]+)', line)
    return match[1].lower() if match else None

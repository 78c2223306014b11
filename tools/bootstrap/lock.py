"""Write requirements/locked.txt from the packages of this environment (`make lock`)."""

import re
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

LOCKED = Path(__file__).resolve().parents[2] / 'requirements' / 'locked.txt'
# installed before the locked packages, by tools/setup_env.py
APART = ('mmcv', 'numpy', 'packaging', 'peridot-mmdet3d', 'pip', 'psutil', 'torch', 'wheel')


def canonical(name: str) -> str:
    """Name of a package as pip compares it."""
    return re.sub(r'[-_.]+', '-', name).lower()


def needs_of(name: str) -> set[str]:
    """A package with all that it needs, as far as it is installed."""
    found, asked = set(), [name]
    while asked:
        name = canonical(asked.pop())
        try:
            requirements = [Requirement(text) for text in distribution(name).requires or []]
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            asked += [r.name for r in requirements if r.marker is None or r.marker.evaluate({'extra': ''})]
    return found


def locked_lines() -> list[str]:
    """`NAME==VERSION` of every package but those that come before: torch brings what it needs."""
    # torch needs any setuptools, mmengine one with pkg_resources
    apart = needs_of('torch') - {'setuptools'} | {canonical(name) for name in APART}
    found = {d.metadata['Name']: d.version for d in distributions()}
    # 1.4.0+without.open3d is the 1.4.0 of the index, see left_out.py
    versions = {name: version.partition('+')[0] for name, version in found.items() if canonical(name) not in apart}
    return [f'{name}=={versions[name]}' for name in sorted(versions, key=str.lower)]


def main() -> None:
    """Keep the comments of the file, replace its versions."""
    comments = [line for line in LOCKED.read_text().splitlines() if line.startswith('#')]
    LOCKED.write_text('\n'.join([*comments, *locked_lines()]) + '\n')


if __name__ == '__main__':
    main()

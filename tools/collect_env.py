#!/usr/bin/env python3
"""Print what a report of a problem needs: machine, versions of packages, and repairs of upstream defects that act."""

import argparse
from importlib import import_module
from importlib.metadata import distributions

PACKAGES = ('mmcv', 'mmdet', 'mmdet3d', 'mmsegmentation', 'numpy', 'peridot-mmdet3d', 'setuptools', 'timm')
# what a training run imports: each repair waits for the module that it repairs
MODULES = ('peridot.datasets', 'peridot.evaluation', 'peridot.hooks', 'peridot.models')


def versions() -> dict[str, str]:
    """Versions of OpenMMLab's packages and of every kind of spconv, by name."""
    found = {item.metadata['Name'].lower(): item.version for item in distributions()}
    kinds = sorted(name for name in found if name.startswith('spconv')) or ['spconv']
    return {name: found.get(name, 'not installed') for name in (*PACKAGES, *kinds)}


def repairs() -> list[str]:
    """A line for each repair that acts, or one that says why the package cannot be imported."""
    try:
        for name in MODULES:
            import_module(name)
        from peridot.compat import report
    except Exception as error:  # the reason of the report, perhaps
        return [f'peridot cannot be imported: {type(error).__name__}: {error}']
    return report()


def main() -> None:
    """Print it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    # imports torch, which takes seconds
    from mmengine.utils.dl_utils import collect_env

    for name, value in {**collect_env(), **versions()}.items():
        print(f'{name}: {value}')
    print(*repairs(), sep='\n')


if __name__ == '__main__':
    main()

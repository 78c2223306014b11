#!/usr/bin/env python3
"""Prove that everything works and agrees on this machine's GPU, and measure it (docs/performance.md).

Nothing but Python is needed for `--bundle` and `--from`: whatever else is imported is imported for the check.
"""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from bootstrap.bundle import CARRIED, make_bundle
from bootstrap.unbundle import environment_from


def add_carrying_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is done without packages."""
    group = parser.add_argument_group('machines without package index')
    group.add_argument('--bundle', type=Path, metavar='DIR', help='collect in DIR what such a machine needs, and end')
    group.add_argument(
        '--python',
        default=sysconfig.get_python_version(),
        metavar='X.Y',
        help="with --bundle: version of that machine's Python (default: %(default)s, as here)",
    )
    group.add_argument(
        '--from', type=Path, dest='bundled', metavar='DIR', help='install from DIR, then check as the other options say'
    )


def parse_args() -> argparse.Namespace:
    """Parse parts, device and budget."""
    from peridot.gpu_check import PARTS

    parser = argparse.ArgumentParser(
        description='Compare sparse convolutions, objectives, students and teachers on the GPU with the CPU, make '
        'training steps of all configs in all precisions, and measure time, memory and throughput. Nothing is '
        'downloaded; data and weights are made up. Exit status 1 if a check failed.'
    )
    parser.add_argument('--parts', nargs='+', choices=list(PARTS), default=list(PARTS), help='default: all')
    parser.add_argument('--out', type=Path, default=Path('gpu.json'), help='report (default: gpu.json)')
    parser.add_argument('--device', default='cuda', help="default: cuda; 'cpu' for a dry run, with --small")
    parser.add_argument('--small', action='store_true', help='tiny networks and samples')
    budgets = ', '.join(f'{name} {seconds}' for name, (_, seconds) in PARTS.items())
    parser.add_argument('--seconds', type=float, help=f'budget of each part (default: {budgets})')
    add_carrying_arguments(parser)
    return parser.parse_args()


def carry() -> None:
    """Make a bundle, or go on in the environment of one, if the command line says so; both end the program."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_carrying_arguments(parser)
    args, others = parser.parse_known_args()
    if (args.bundle or args.bundled) and not CARRIED.is_file():
        sys.exit(
            'error: a bundle is made and used with the tools/check_gpu.py of a clone of the repository: start that'
        )
    try:
        if args.bundle:
            sys.exit(make_bundle(args.bundle, args.python))
        if args.bundled:
            interpreter = environment_from(args.bundled)
            tool = args.bundled / 'peridot' / 'tools' / 'check_gpu.py'
            sys.exit(subprocess.call([str(interpreter.path), str(tool), *others], env=interpreter.variables))
    except KeyboardInterrupt:
        sys.exit('\ninterrupted; the same command continues where it stopped')
    except OSError as error:
        sys.exit(f'error: {error}: put the bundle where you may write and the disk has space')


def main() -> None:
    """Run the parts; a failed check ends as exit status 1."""
    args = parse_args()
    # imports torch, which takes seconds
    from peridot.gpu_check.checks import Setup
    from peridot.gpu_check.run import check_gpu

    configs = Path(__file__).resolve().parents[1] / 'configs'
    with tempfile.TemporaryDirectory(prefix='peridot_') as folder:
        setup = Setup(args.device, args.small, configs, Path(folder))
        failed = check_gpu(args.parts, setup, args.seconds, args.out)
    if failed:
        raise SystemExit(1)


if __name__ == '__main__':
    carry()
    import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
    from peridot.cli import run

    run(main)

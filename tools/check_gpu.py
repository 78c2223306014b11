#!/usr/bin/env python3
"""Prove that everything works and agrees on this machine's GPU, and measure it (docs/performance.md)."""

import argparse
import tempfile
from pathlib import Path

import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
from peridot.cli import run
from peridot.gpu_check.checks import Setup
from peridot.gpu_check.run import PARTS, check_gpu


def parse_args() -> argparse.Namespace:
    """Parse parts, device and budget."""
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
    return parser.parse_args()


def main() -> None:
    """Run the parts; a failed check ends as exit status 1."""
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix='peridot_') as folder:
        setup = Setup(args.device, args.small, Path('configs').resolve(), Path(folder))
        failed = check_gpu(args.parts, setup, args.seconds, args.out)
    if failed:
        raise SystemExit(1)


if __name__ == '__main__':
    run(main)

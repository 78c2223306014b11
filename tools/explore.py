#!/usr/bin/env python3
"""Write an interactive page about the features of a network, which opens in any browser, see docs/visualize.md."""

import argparse
from pathlib import Path

from peridot.cli import add_config_arguments, check_checkpoint, load_config, run
from peridot.errors import ConfigError
from peridot.preflight.inputs import check_figure_paths


def parse_args() -> argparse.Namespace:
    """Parse what should be shown."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of this config')
    parser.add_argument('--out', type=Path, default=Path('explore.html'), help='the page (default: explore.html)')
    parser.add_argument(
        '--indices',
        type=int,
        nargs='+',
        default=[0],
        metavar='I',
        help='samples to choose from (default: 0)',
    )
    parser.add_argument('--head', help='head that compares points with pixels (default: the first one)')
    parser.add_argument('--points', type=int, default=40000, help='most points of a sample (default: 40000)')
    return parser.parse_args()


def main() -> None:
    """Write the page of the parsed arguments, and say how large and how exact it is."""
    args = parse_args()
    if args.points < 1:
        raise ConfigError(f'--points {args.points}: give at least 1')
    check_checkpoint(args.checkpoint)
    config = load_config(args, check_figure_paths)
    # imports that take seconds wait until folders and files are found
    from peridot.visualization.explorer import write_page

    error = write_page(args.out, config, args.checkpoint, args.indices, args.head, args.points)
    size = args.out.stat().st_size / 1e6
    print(f'{args.out}: {size:.1f} MB, samples: {len(args.indices)}, cosines off by at most {error:.3f}')


if __name__ == '__main__':
    run(main)

#!/usr/bin/env python3
"""Write an interactive page about the features of a network, which opens in any browser, see docs/visualize.md."""

import argparse
from pathlib import Path

import torch
from mmengine.config import Config
from peridot.cli import add_config_arguments, load_config, run
from peridot.files import write_bytes
from peridot.visualization.explorer import explore, explorer_page
from peridot.visualization.scenes import Scenes, load_network


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


def write_page(config: Config, args: argparse.Namespace) -> None:
    """Write the page and say how large and how exact it is."""
    scenes = Scenes(config, rows=args.indices)
    model = load_network(config, args.checkpoint, 'cuda' if torch.cuda.is_available() else 'cpu')
    samples = list(explore(model, scenes, args.head, args.points))
    meta = scenes.dataset.metainfo
    title, subtitle = Path(args.config).stem, f'{meta.get("dataset", "")} · {Path(args.checkpoint).name}'
    page, error = explorer_page(title, subtitle, samples, meta.get('classes', ()), meta.get('palette', ()))
    write_bytes(args.out, page.encode())
    size = args.out.stat().st_size / 1e6
    print(f'{args.out}: {size:.1f} MB, samples: {len(samples)}, cosines off by at most {error:.3f}')


def main() -> None:
    """Write the page of the parsed arguments."""
    args = parse_args()
    write_page(load_config(args), args)


if __name__ == '__main__':
    run(main)

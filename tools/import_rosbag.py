"""Write a ROS 1 or ROS 2 bag as a recording, which `tools/create_data.py folder` reads (docs/own_recording.md)."""

import argparse
from pathlib import Path

from peridot.cli import run
from peridot.errors import DataError


def camera(text: str) -> tuple[str, str]:
    """Parse 'NAME=TOPIC'."""
    name, _, topic = text.partition('=')
    if not name or not topic:
        raise argparse.ArgumentTypeError(f'{text!r}: write NAME=TOPIC, with a topic that --list names')
    return name, topic


def main() -> None:
    """List the topics, or write the recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'bag', type=Path, nargs='+', help='.bag files that continue each other, a ROS 2 folder, or a .db3 or .mcap file'
    )
    parser.add_argument('--list', action='store_true', help='list the topics, write nothing')
    parser.add_argument('--out', type=Path, help='folder of the recording')
    parser.add_argument('--lidar', metavar='TOPIC', help='points (default: the only topic of PointCloud2)')
    parser.add_argument(
        '--cameras', type=camera, nargs='+', metavar='NAME=TOPIC', help='images (default: all with a camera_info)'
    )
    parser.add_argument('--poses', metavar='TOPIC', help='odometry, poses or tf of the vehicle (default: none)')
    parser.add_argument('--ego-frame', default='base_link', help='frame of the vehicle in tf and poses (base_link)')
    parser.add_argument('--tolerance', type=float, default=0.05, metavar='S', help='between scan and image (0.05 s)')
    args = parser.parse_args()
    for path in args.bag:
        if not path.exists():
            raise DataError(f'the bag {path} does not exist: correct the path')
    if not args.list and not args.out:
        parser.error('--out is needed: a folder for the recording')
    # imports that take seconds wait until folders and files are found
    from peridot.datasets.rosbag.bag import Bag
    from peridot.datasets.rosbag.import_rosbag import import_rosbag

    if args.list:
        with Bag(args.bag) as bag:
            for topic in bag.topics.values():
                print(f'{topic.count:8d}  {topic.kind:40s}  {topic.name}')
        return
    cameras = dict(args.cameras) if args.cameras else None
    out = import_rosbag(
        args.bag, args.out, args.lidar, cameras, args.poses, args.ego_frame, args.tolerance, verbose=True
    )
    print(f'{out}: next, python tools/create_data.py folder --root {out}')


if __name__ == '__main__':
    run(main)

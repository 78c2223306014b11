#!/usr/bin/env python3
"""Convert weights of other programs for mmdet3d's configs (`load_from` or `init_cfg`), or ours for them."""

import argparse

from peridot.cli import check_checkpoint, run
from peridot.errors import ConfigError

WRITERS = dict(waffleiron='write_released', openpcdet='write_openpcdet', minkowski='write_minkowski')


def main() -> None:
    """Convert and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of the other program; with --to, one of ours')
    parser.add_argument('--out', required=True, help='file to write')
    parser.add_argument(
        '--kind',
        default='auto',
        help="also-second: SECOND's trunk of OpenPCDet (ALSO, BEVContrast; also for PV-RCNN); drive-and-segment: its "
        "Segmenter; mmdet3d-torchsparse: mmdet3d's MinkUNet; res16unet: network of SLidR, PPKT, OLIVINE and their "
        'relatives on MinkowskiEngine; scalr: network of ScaLR or ScaLR+ with its distillation head; slidr-voxelnet: '
        "sparse encoder of SLidR and OLIVINE for detectors; spvnas: MinkUNet with SPVNAS' names (ALSO, BEVContrast); "
        'superflow: MinkUNet of SuperFlow and LiMoE; '
        'waffleiron: one that segments; auto recognizes them, other values refuse everything else',
    )
    parser.add_argument(
        '--to',
        default='mmdet3d',
        choices=['mmdet3d', *WRITERS],
        help='waffleiron: write one of our WaffleIrons for the released code of ScaLR and WaffleIron; openpcdet: '
        "write a trunk of SECOND for OpenPCDet's detectors; minkowski: write one of our Res16UNets for SLidR's code",
    )
    args = parser.parse_args()
    if args.to in WRITERS and args.kind != 'auto':
        raise ConfigError(f'--kind {args.kind} is for files of other programs, --to {args.to} for ours: drop one')
    check_checkpoint(args.checkpoint)
    # imports that take seconds wait until folders and files are found
    from peridot import weights

    if args.to in WRITERS:
        getattr(weights, WRITERS[args.to])(args.checkpoint, args.out)
        print(f'written: {args.out}')
        return
    kind, notes = weights.convert_checkpoint(args.checkpoint, args.out, args.kind)
    print('\n'.join([f'written: {args.out} ({kind})', *notes]))


if __name__ == '__main__':
    run(main)

"""Own recordings as their converter stores them; cameras and classes are those of the folder."""

from peridot.catalog.entry import CatalogEntry, Converter

# of a recording
_PARTS = ('points', 'images', 'labels', 'calibration.json', 'classes.json', 'poses.csv', 'timestamps.csv')

FOLDER = CatalogEntry(
    name='folder',
    columns=('x', 'y', 'z', 'intensity'),
    intensity_range=(0, 1),
    converter=Converter(
        'folder',
        'points/, images/ and calibration.json, or several such folders (docs/own_recording.md)',
        'peridot.datasets.create_infos_folder:create_folder_infos',
        tuple(place + part for place in ('', '*/') for part in _PARTS),
        {
            '--val': dict(
                nargs='+',
                default=(),
                metavar='NAME',
                help='recordings for validation (the last tenth of each recording)',
            ),
            '--tolerance': dict(
                type=float, default=0.05, metavar='S', help='longest time between a scan and its images (0.05 s)'
            ),
            '--drop-invalid': dict(action='store_true', help='drop points that are not finite instead of stopping'),
        },
        overlays=True,
        then='Look at {root}/overlays: points must lie on the things that they belong to. Then pre-train, e.g.\n'
        '  python tools/make_superpixels.py configs/pretrain/slidr_folder.py --data-root {root}\n'
        '  python tools/train.py configs/pretrain/slidr_folder.py --data-root {root}',
    ),
)

"""Superpixels and weak semantic labels, made offline and read as PNG maps."""

from peridot.labels.generator import ImageSource, LabelGenerator
from peridot.labels.maps import Manifest, MapFolder, content_hash, read_manifest, write_manifest, write_map
from peridot.labels.runner import MapJob, images_of, make_maps
from peridot.labels.superpixels import SlicGenerator
from peridot.labels.weak_labels import KMeansGenerator

__all__ = [
    'ImageSource',
    'KMeansGenerator',
    'LabelGenerator',
    'Manifest',
    'MapFolder',
    'MapJob',
    'SlicGenerator',
    'content_hash',
    'images_of',
    'make_maps',
    'read_manifest',
    'write_manifest',
    'write_map',
]

"""Superpixels and weak semantic labels, made offline and read as PNG maps."""

from peridot.labels.generator import ImageSource, LabelGenerator
from peridot.labels.grounded_sam import GroundedSamGenerator
from peridot.labels.map_files import LabelFilesGenerator, SuperpixelFilesGenerator
from peridot.labels.maps import Manifest, MapFolder, content_hash, read_manifest, write_manifest, write_map
from peridot.labels.mmseg_labels import MMSegGenerator
from peridot.labels.oracle import OracleGenerator
from peridot.labels.runner import MapJob, images_of, make_maps
from peridot.labels.sam import SamGenerator
from peridot.labels.superpixels import FelzenszwalbGenerator, SlicGenerator
from peridot.labels.weak_labels import KMeansGenerator, SamKMeansGenerator

__all__ = [
    'FelzenszwalbGenerator',
    'GroundedSamGenerator',
    'ImageSource',
    'KMeansGenerator',
    'LabelFilesGenerator',
    'LabelGenerator',
    'MMSegGenerator',
    'Manifest',
    'MapFolder',
    'MapJob',
    'OracleGenerator',
    'SamGenerator',
    'SamKMeansGenerator',
    'SlicGenerator',
    'SuperpixelFilesGenerator',
    'content_hash',
    'images_of',
    'make_maps',
    'read_manifest',
    'write_manifest',
    'write_map',
]

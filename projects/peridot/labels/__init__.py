"""Generators of superpixels and weak labels, which are made offline and read as PNG maps."""

from peridot.labels.generator import LabelGenerator
from peridot.labels.grounded_sam import GroundedSamGenerator
from peridot.labels.job import MapJob
from peridot.labels.map_files import LabelFilesGenerator, SuperpixelFilesGenerator
from peridot.labels.mmseg_labels import MMSegGenerator
from peridot.labels.oracle import OracleGenerator
from peridot.labels.runner import make_maps
from peridot.labels.sam import SamGenerator
from peridot.labels.superpixels import FelzenszwalbGenerator, SlicGenerator
from peridot.labels.weak_labels import KMeansGenerator, SamKMeansGenerator

__all__ = [
    'FelzenszwalbGenerator',
    'GroundedSamGenerator',
    'KMeansGenerator',
    'LabelFilesGenerator',
    'LabelGenerator',
    'MMSegGenerator',
    'MapJob',
    'OracleGenerator',
    'SamGenerator',
    'SamKMeansGenerator',
    'SlicGenerator',
    'SuperpixelFilesGenerator',
    'make_maps',
]

"""Files beside a dataset: its images, and the folders of maps and teacher features that belong to them."""

from peridot.maps.folder import MapFolder, content_hash, write_map
from peridot.maps.images import ImageSource, images_of
from peridot.maps.lidar_segments import SegmentFolder
from peridot.maps.manifest import Manifest, read_manifest, write_manifest
from peridot.maps.teacher_features import FeatureFolder

__all__ = [
    'FeatureFolder',
    'ImageSource',
    'Manifest',
    'MapFolder',
    'SegmentFolder',
    'content_hash',
    'images_of',
    'read_manifest',
    'write_manifest',
    'write_map',
]

"""What lies on disk beside a dataset: its images, and folders of maps and of teacher features that belong to them."""

from peridot.maps.folder import Manifest, MapFolder, content_hash, read_manifest, write_manifest, write_map
from peridot.maps.images import ImageSource, images_of
from peridot.maps.teacher_features import FeatureFolder

__all__ = [
    'FeatureFolder',
    'ImageSource',
    'Manifest',
    'MapFolder',
    'content_hash',
    'images_of',
    'read_manifest',
    'write_manifest',
    'write_map',
]

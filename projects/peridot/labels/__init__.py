"""Superpixels and weak semantic labels, made offline and read as PNG maps."""

from peridot.labels.maps import Manifest, MapFolder, content_hash, read_manifest, write_manifest, write_map

__all__ = ['Manifest', 'MapFolder', 'content_hash', 'read_manifest', 'write_manifest', 'write_map']

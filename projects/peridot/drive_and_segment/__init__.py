"""Drive&Segment: semantic segmentation of images without labels, from cameras and lidar."""

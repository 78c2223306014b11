"""Drive&Segment: semantic segmentation of images without labels, from cameras and lidar."""

# folder of the proposals below the data root, unless another is given
PROPOSALS = 'drive_and_segment/proposals'
# suffixes of videos that a network can segment
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')

"""ROS 1 and ROS 2 bags as recordings, see docs/own_recording.md."""

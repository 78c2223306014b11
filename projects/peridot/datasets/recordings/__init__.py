"""Recordings of one's own vehicle: folders of points and images with a calibration, see docs/own_recording.md."""

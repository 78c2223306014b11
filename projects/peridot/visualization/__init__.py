"""Figures of point clouds, images, maps and results."""

"""Pseudo-labels: classes of segments and pixels by k-means."""

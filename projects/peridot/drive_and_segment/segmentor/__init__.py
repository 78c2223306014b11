"""The image network that learns from pseudo-labels, and its predictions."""

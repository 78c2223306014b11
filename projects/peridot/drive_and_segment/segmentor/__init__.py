"""The image network that learns from pseudo-labels, and what it predicts."""

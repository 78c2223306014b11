"""Image sets with true classes, and the report of scores."""

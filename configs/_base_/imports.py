"""Registers the package's datasets, models, metrics and hooks."""

custom_imports = dict(
    imports=['peridot.datasets', 'peridot.evaluation', 'peridot.hooks', 'peridot.models'], allow_failed_imports=False
)

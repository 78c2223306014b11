"""Check of everything that a run reads, before networks are built."""

from peridot.preflight.run import preflight

__all__ = ['preflight']

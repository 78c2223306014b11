"""Check of everything that a run reads, before networks are built."""

from peridot.preflight.run import preflight, report_warnings

__all__ = ['preflight', 'report_warnings']

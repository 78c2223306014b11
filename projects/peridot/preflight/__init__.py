"""Check of everything that a run reads, before networks are built."""

from peridot.preflight.precision import precision_warnings
from peridot.preflight.run import preflight, report_warnings

__all__ = ['precision_warnings', 'preflight', 'report_warnings']

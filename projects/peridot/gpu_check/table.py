"""What a run of the checks prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from peridot.gpu_check.checks import Row


def print_row(row: Row) -> None:
    """Print one line: status, part, check, seconds, error and numbers."""
    print(text_of(row), flush=True)


def text_of(row: Row) -> str:
    """The line of a row."""
    numbers = ', '.join(f'{name} {_short(value)}' for name, value in row.values.items() if _is_short(value))
    parts = [f'{row.status:8s} {row.part:12s} {row.check:48s} {row.seconds:6.1f} s', row.error or '', numbers]
    return '  '.join(part for part in parts if part)


def print_summary(rows: Iterable[Row], seconds: Mapping[str, float], out: Path) -> None:
    """Print the number of checks of each status, the time of each part and what failed.

    Args:
        rows: Of all parts.
        seconds: Wall time of each part.
        out: File of the report.
    """
    rows = list(rows)
    counts = Counter(row.status for row in rows)
    times = ', '.join(f'{part} {value:.0f} s' for part, value in seconds.items())
    print(f'\n{sum(seconds.values()):.0f} s: {times}')
    print(f'{counts["ok"]} checks ok, {counts["failed"]} failed, {counts["left out"]} left out; all numbers in {out}')
    for row in rows:
        if row.status == 'failed':
            print(f'failed: {row.part}: {row.check}: {row.error}')


def _is_short(value: object) -> bool:
    return isinstance(value, (bool, int, float, str)) and len(str(value)) < 60


def _short(value: object) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)

"""Results of a comparison in one file that is kept with the code, and the documents that quote it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from peridot.errors import PeridotError
from peridot.files import atomic_path

# <!--TABLE/ROW-->0.123 ± 0.004<!--/--> in a document
QUOTE = re.compile(r'<!--(\w+)/([\w+.]+)-->[^<]*<!--/-->')


class Results:
    """Values of rows for every seed, with the commit and the settings that they were measured with.

    The file holds `seeds`; for every table its rows, each a list with a value for every seed, null where there is none
    yet; and `runs`, for every row the hash of its `settings` and the `commits` of the seeds. A row has the values of
    one hash only: the first value with another one removes the others.

    Args:
        path: The file, JSON; it may be absent.
        seeds: The seeds.

    Raises:
        PeridotError: The file is damaged or of other seeds.
    """

    def __init__(self, path: Path, seeds: list[int]) -> None:
        self.path = path
        try:
            self.content = json.loads(path.read_text()) if path.is_file() else dict(seeds=seeds, runs={})
        except json.JSONDecodeError as error:
            raise PeridotError(f'{path} is damaged ({error}): restore it with git, or remove it') from None
        if self.content['seeds'] != seeds:
            raise PeridotError(f'{path} is of seeds {self.content["seeds"]}: give these, or remove the file')
        self.seeds = seeds

    @property
    def tables(self) -> dict[str, dict[str, list]]:
        """Values by table and row."""
        return {name: rows for name, rows in self.content.items() if name not in ('seeds', 'runs')}

    def has(self, row: str, seed: int, settings: str) -> bool:
        """Whether the row was measured with this seed and these settings."""
        run = self.content['runs'].get(row, {})
        return run.get('settings') == settings and run['commits'][self.seeds.index(seed)] is not None

    def put(self, row: str, seed: int, values: dict[str, float], settings: str, commit: str) -> None:
        """Keep the values of a row by table, and write the file.

        Args:
            row: Name of the row.
            seed: One of the seeds.
            values: Value by name of the table.
            settings: Hash of the settings.
            commit: Version of the code.
        """
        empty = [None] * len(self.seeds)
        run = self.content['runs'].setdefault(row, dict(settings=settings, commits=empty.copy()))
        if run['settings'] != settings:
            run.update(settings=settings, commits=empty.copy())
            for rows in self.tables.values():
                rows.pop(row, None)
        run['commits'][self.seeds.index(seed)] = commit
        for name, value in values.items():
            self.content.setdefault(name, {}).setdefault(row, empty.copy())[self.seeds.index(seed)] = round(value, 4)
        with atomic_path(self.path) as temporary:
            temporary.write_text(pretty(self.content))

    def quote(self, table: str, row: str) -> str:
        """Mean and sample standard deviation over the seeds, or a dash without values."""
        values = [value for value in self.tables.get(table, {}).get(row, []) if value is not None]
        if not values:
            return '-'
        spread = f' ± {np.std(values, ddof=1):.3f}' if len(values) > 1 else ''
        return f'{np.mean(values):.3f}{spread}'

    def fill(self, text: str) -> str:
        """A document with all its quotes `<!--TABLE/ROW-->...<!--/-->` as the results are now."""
        return QUOTE.sub(lambda m: f'<!--{m[1]}/{m[2]}-->{self.quote(m[1], m[2])}<!--/-->', text)


def pretty(content: dict) -> str:
    """JSON with a line for each list."""
    text = json.dumps(content, indent=1)
    return re.sub(r'\[\s+([^][{}]*?)\s+\]', lambda m: '[' + re.sub(r'\s+', ' ', m[1]) + ']', text) + '\n'

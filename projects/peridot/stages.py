"""Programs of many stages: each is done once, its results are kept, and a program run again continues."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from peridot.errors import PeridotError
from peridot.files import atomic_path

REPO = Path(__file__).resolve().parents[2]


class Stages:
    """Stages that keep what they found in `results.json`.

    Args:
        work_dir: Folder for `results.json`.
        settings: What the results depend on, as JSON values; results of others are refused.

    Attributes:
        results: Content of the file: `settings`, `seconds` of every finished stage, and what stages put there.

    Raises:
        PeridotError: The folder holds results of other settings.
    """

    def __init__(self, work_dir: Path, settings: dict) -> None:
        self.work_dir, self.file = work_dir, work_dir / 'results.json'
        self.results = json.loads(self.file.read_text()) if self.file.is_file() else {}
        if self.results.setdefault('settings', settings) != settings:
            raise PeridotError(f'{self.file} is of a run with other settings: remove {work_dir} or use another')
        self.results.setdefault('seconds', {})

    def stage(self, name: str, action: Callable, *arguments) -> None:
        """Run `action(*arguments)` unless it finished before; remember that it did, and its seconds."""
        if name in self.results['seconds']:
            print(f'=== {name}: done before')
            return
        print(f'=== {name}', flush=True)
        start = time.time()
        action(*arguments)
        self.results['seconds'][name] = round(time.time() - start, 1)
        self.save()

    def save(self) -> None:
        """Write `results.json`."""
        with atomic_path(self.file) as temporary:
            temporary.write_text(json.dumps(self.results, indent=2) + '\n')

    def tool(self, name: str, *arguments: str) -> None:
        """Run a program of tools/, showing the command as a user would type it.

        Raises:
            PeridotError: It failed.
        """
        command = ['python', f'tools/{name}.py', *arguments]
        print('$ ' + ' '.join(command), flush=True)
        if subprocess.call([sys.executable, *command[1:]], cwd=REPO) != 0:
            raise PeridotError(f'`{" ".join(command)}` failed; once mended, the same command continues from here')

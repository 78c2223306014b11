"""Work directories: results of runs, and programs of several stages that continue where they stopped."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from peridot.errors import PeridotError
from peridot.files import atomic_path
from peridot.shipped import tool_file, with_paths


class Stages:
    """Stages that keep their results in `results.json`.

    Args:
        work_dir: Folder for `results.json`.
        settings: Settings that the results depend on, as JSON values; results of other settings are refused.
        may_differ: Names of settings that may be others than those of the results.

    Attributes:
        results: Content of the file: `settings`, `seconds` of every finished stage, and what the stages add.
        lock: To be held while `results` is changed by stages that run side by side.

    Raises:
        PeridotError: The folder holds results of other settings.
    """

    def __init__(self, work_dir: Path, settings: dict, may_differ: Collection[str] = ()) -> None:
        self.work_dir = work_dir
        self.file = work_dir / 'results.json'
        self.results = json.loads(self.file.read_text()) if self.file.is_file() else {}
        found = self.results.get('settings', settings)
        if {**found, **{name: settings[name] for name in may_differ}} != settings:
            raise PeridotError(f'{self.file} is of a run with other settings: remove {work_dir} or use another')
        self.results['settings'] = settings
        self.results.setdefault('seconds', {})
        self.lock = threading.RLock()

    def stage(self, name: str, action: Callable, *arguments) -> None:
        """Run `action(*arguments)` unless it finished before, and record its seconds."""
        if name in self.results['seconds']:
            print(f'=== {name}: done before')
            return
        print(f'=== {name}', flush=True)
        start = time.time()
        action(*arguments)
        with self.lock:
            self.results['seconds'][name] = round(time.time() - start, 1)
            self.save()

    def save(self) -> None:
        """Write `results.json`."""
        with atomic_path(self.file) as temporary:
            temporary.write_text(json.dumps(self.results, indent=2) + '\n')

    def tool(self, name: str, *arguments: str, prefix: str = '') -> None:
        """Run a program of tools/ in the current folder, showing the command as a user would type it.

        Args:
            name: Name of the program.
            arguments: Its arguments.
            prefix: What its lines begin with, where several programs write at once.

        Raises:
            PeridotError: It failed.
        """
        command = with_paths(shlex.join(['python', f'tools/{name}.py', *arguments]))
        print(f'{prefix}$ {command}', flush=True)
        if self.call(name, arguments, prefix) != 0:
            raise PeridotError(f'`{command}` failed; fix the cause and run the same command to continue')

    def call(self, name: str, arguments: tuple[str, ...], prefix: str) -> int:
        """Run a program of tools/ with arguments; returns its exit status. See `tool`."""
        return call([sys.executable, str(tool_file(name)), *arguments], prefix)


def call(command: list[str], prefix: str = '') -> int:
    """Run a command; returns its exit status.

    Args:
        command: Program and arguments.
        prefix: What its lines begin with; such programs run on one thread each.
    """
    if not prefix:
        return subprocess.call(command)
    one_thread = {'OMP_NUM_THREADS': '1', **os.environ}
    settings = dict(env=one_thread, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with subprocess.Popen(command, **settings) as process:
        for line in process.stdout:
            print(f'{prefix}{line}', end='', flush=True)
    return process.returncode


def last_metrics(work_dir: Path) -> dict[str, float]:
    """Metrics of the last evaluation in `work_dir`, without absent classes (NaN).

    Raises:
        PeridotError: The last log entry there is not an evaluation.
    """
    if not ends_with_evaluation(work_dir):
        raise PeridotError(f'{work_dir} holds no evaluation: its last run did not end with one')
    metrics = _last_log_entry(work_dir)
    return {name: v for name, v in metrics.items() if isinstance(v, (int, float)) and not math.isnan(v)}


def ends_with_evaluation(work_dir: Path) -> bool:
    """Whether the last thing that the runs in `work_dir` logged is an evaluation."""
    entry = _last_log_entry(work_dir)
    return bool(entry) and 'loss' not in entry


def _last_log_entry(work_dir: Path) -> dict:
    logs = sorted(work_dir.glob('*/vis_data/[0-9]*.json'))
    lines = logs[-1].read_text().strip().splitlines() if logs else []
    return json.loads(lines[-1]) if lines else {}


def peak_gpu_memory(work_dir: Path) -> int:
    """Largest GPU memory in MB that the training run in `work_dir` logged, 0 without a GPU."""
    logs = work_dir.glob('*/vis_data/[0-9]*.json')
    rows = (json.loads(line) for log in logs for line in log.read_text().splitlines())
    return max((int(row.get('memory', 0)) for row in rows), default=0)


def last_checkpoint(work_dir: Path) -> str:
    """Path of the last checkpoint of the training run in `work_dir`, which may have been moved or copied since.

    Raises:
        PeridotError: There is none.
    """
    note = work_dir / 'last_checkpoint'
    if not note.is_file():
        raise PeridotError(f'{work_dir} holds no checkpoint: training stopped before the first one')
    # mmengine notes an absolute path; of a copy's two checkpoints, the one in the copy counts
    named = Path(note.read_text().strip())
    found = next((path for path in (work_dir / named.name, named) if path.is_file()), None)
    if found is None:
        raise PeridotError(
            f'{note} names {named}, which exists neither there nor in {work_dir}: put it there, or give another one '
            'with tools/train.py --resume FILE'
        )
    return str(found)

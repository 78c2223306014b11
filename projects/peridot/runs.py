"""What finished trainings and evaluations left in their work directories."""

import json
import math
from pathlib import Path

from peridot.errors import PeridotError


def last_metrics(work_dir: Path) -> dict[str, float]:
    """Metrics of the last evaluation in `work_dir`, without absent classes (NaN).

    Raises:
        PeridotError: The last thing logged there is no evaluation.
    """
    logs = sorted(work_dir.glob('*/vis_data/[0-9]*.json'))
    lines = logs[-1].read_text().strip().splitlines() if logs else []
    metrics = json.loads(lines[-1]) if lines else {}
    if not metrics or 'loss' in metrics:
        raise PeridotError(f'{work_dir} holds no evaluation: its last run did not end with one')
    return {name: v for name, v in metrics.items() if isinstance(v, (int, float)) and not math.isnan(v)}


def peak_gpu_memory(work_dir: Path) -> int:
    """Largest GPU memory in MB that the training in `work_dir` logged, 0 without a GPU."""
    logs = work_dir.glob('*/vis_data/[0-9]*.json')
    rows = (json.loads(line) for log in logs for line in log.read_text().splitlines())
    return max((int(row.get('memory', 0)) for row in rows), default=0)


def last_checkpoint(work_dir: Path) -> str:
    """Path of the last checkpoint that the training in `work_dir` finished.

    Raises:
        PeridotError: There is none.
    """
    note = work_dir / 'last_checkpoint'
    if not note.is_file():
        raise PeridotError(f'{work_dir} holds no checkpoint: its training did not come to the first one')
    return note.read_text().strip()

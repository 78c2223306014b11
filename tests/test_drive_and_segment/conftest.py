import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from peridot.drive_and_segment.proposals import Sensor

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def sensor() -> Sensor:
    return Sensor(columns=540, ring_column=4)


@pytest.fixture
def run_tool(monkeypatch) -> Callable:
    """`run_tool('make_proposals', CONFIG, ...)`: a program of tools/ in this process; an error is a SystemExit."""

    def run(name: str, *arguments) -> None:
        monkeypatch.chdir(REPO)
        monkeypatch.setattr(sys, 'argv', [f'tools/{name}.py', *map(str, arguments)])
        runpy.run_path(f'tools/{name}.py', run_name='__main__')

    return run

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def demo_root(tmp_path_factory) -> Path:
    """A small synthetic street dataset in nuScenes format with mmdet3d's info files.

    `PERIDOT_TEST_DATA` names a folder that keeps it between runs.
    """
    from peridot.synthetic import make_dataset

    kept = os.environ.get('PERIDOT_TEST_DATA')
    root = Path(kept) if kept else tmp_path_factory.mktemp('demo')
    make_dataset(root, keyframes=2, sweeps=1, image_size=(198, 352), seed=0, workers=2)
    return root


@pytest.fixture
def golden():
    """Arrays of a released function's inputs and outputs, by name; skips when the folder is absent."""
    folder = Path(os.environ.get('PERIDOT_GOLDEN', REPO.parent / 'shared' / 'golden'))

    def load(name: str) -> dict[str, np.ndarray]:
        path = folder / f'{name}.npz'
        if not path.is_file():
            pytest.skip(f'{path} is absent: set PERIDOT_GOLDEN to the folder with the golden vectors')
        with np.load(path) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def free_port() -> int:
    """A port on this machine that nothing listens on."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


@pytest.fixture(scope='session')
def labeled_root(demo_root) -> Path:
    """`demo_root` with the weak labels and superpixels that the demo's configs read."""
    for tool, config in (('make_weak_labels', 'olivine_demo'), ('make_superpixels', 'slidr_demo')):
        subprocess.run(
            [sys.executable, f'tools/{tool}.py', f'configs/demo/{config}.py', '--data-root', str(demo_root)],
            cwd=REPO,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return demo_root

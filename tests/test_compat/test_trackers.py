"""Backends of Weights & Biases and MLflow, with stand-ins for both packages."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import VISUALIZERS
from mmengine.visualization import MLflowVisBackend, WandbVisBackend
from peridot.options import override

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def package(monkeypatch):
    """`package('wandb')`: a stand-in that notes calls as (name, arguments, settings)."""

    def make(name: str) -> list:
        calls, module = [], ModuleType(name)

        def note(function):
            return lambda *args, **kwargs: calls.append((function, args, kwargs))

        module.__getattr__ = note
        module.config = SimpleNamespace(update=note('config'))
        module.Image = lambda image: image.shape
        monkeypatch.setitem(sys.modules, name, module)
        return calls

    return make


def test_wandb_draws_over_iterations_and_collects_no_code(package, tmp_path):
    calls = package('wandb')
    backend = WandbVisBackend(save_dir=str(tmp_path), init_kwargs=dict(project='peridot'))
    backend.add_config(Config(dict(model=dict(type='Net'))))
    backend.add_image('features', np.zeros((4, 6, 3), np.uint8), step=7)
    assert [name for name, *_ in calls] == ['init', 'define_metric', 'config', 'log']
    assert calls[1] == ('define_metric', ('*',), dict(step_metric='iter'))
    assert calls[2][1] == (dict(model=dict(type='Net')),)
    assert calls[3] == ('log', ({'features': (4, 6, 3)},), dict(commit=True))


def test_own_metrics_of_wandb_stay(package, tmp_path):
    calls = package('wandb')
    backend = WandbVisBackend(save_dir=str(tmp_path), define_metric_cfg={'probe/miou': 'max'})
    backend.add_scalars(dict(loss=1.0))
    assert [call[1:] for call in calls if call[0] == 'define_metric'] == [(('probe/miou',), dict(summary='max'))]


def test_images_of_mlflow_are_files_with_a_number(package, tmp_path):
    MMLogger.get_instance('trackers')
    calls = package('mlflow')
    backend = MLflowVisBackend(save_dir=str(tmp_path), tracking_uri='sqlite:///x.db')
    for step in (7, 8):
        backend.add_image('features', np.zeros((4, 6, 3), np.uint8), step=step)
    assert [args[1] for name, args, _ in calls if name == 'log_image'] == ['features/7.png', 'features/8.png']


@pytest.mark.parametrize('name', ['WandbVisBackend', 'MLflowVisBackend', 'ClearMLVisBackend'])
def test_one_setting_replaces_tensorboard(name, tmp_path):
    config = Config.fromfile(REPO / 'configs/_base_/default_runtime.py', import_custom_modules=False)
    # as --cfg-options does
    override(config, {'visualizer.vis_backends.1.type': name})
    backends = VISUALIZERS.build({**config.visualizer, 'save_dir': str(tmp_path), 'name': name})._vis_backends
    assert {type(backend).__name__ for backend in backends.values()} == {'LocalVisBackend', name}

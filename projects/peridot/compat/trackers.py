"""mmengine's backends for Weights & Biases and MLflow.

Broken: with the config, W&B's backend collects every .py file below the current folder, those of an environment in it
and its packages included; its curves are drawn over the number of log calls, in which images and evaluations count,
too. MLflow's backend saves an image under its bare name, which ends the run with "unknown file extension", and each
image would replace the last one.
Versions: mmengine up to 0.10.7 (with wandb 0.31, mlflow 3.17).
Detected: always.
Repair: no code is collected; curves are drawn over `iter` unless `define_metric_cfg` says something else; images are
called `NAME/STEP.png`.
Delete when: mmengine does all of that.
"""

import functools
from types import ModuleType

import numpy as np
from mmengine.config import Config


def repair(module: ModuleType) -> None:
    """Repair the backends of mmengine.visualization.vis_backend."""
    wandb, mlflow = module.WandbVisBackend, module.MLflowVisBackend
    init_env, add_image = wandb._init_env, mlflow.add_image
    if getattr(init_env, '__wrapped__', None):
        return

    @functools.wraps(init_env)
    def _init_env(self) -> None:
        init_env(self)
        if self._define_metric_cfg is None:
            self._wandb.define_metric('*', step_metric='iter')

    def add_config(self, config: Config, **kwargs) -> None:
        """Record the config."""
        experiment = self.experiment
        changes = self._init_kwargs.get('allow_val_change', False)
        experiment.config.update(config.to_dict(), allow_val_change=changes)

    @functools.wraps(add_image)
    def add_numbered_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        add_image(self, f'{name}/{step}.png', image, step, **kwargs)

    wandb._init_env, wandb.add_config, mlflow.add_image = _init_env, add_config, add_numbered_image

"""Pre-trained weights for mmdet3d's own configs."""

from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from torch import nn

from peridot.checkpoints import read_checkpoint, state_of
from peridot.errors import CheckpointError, ConfigError
from peridot.files import atomic_path
from peridot.registry import HOOKS, MODELS, registered_types
from peridot.walk import dicts_of
from peridot.weights import (
    LAYOUT,
    averaged_weights,
    exported_state,
    input_features,
    literal_config,
    sparse_kernels,
    unwrap,
)


def export_backbone(student: nn.Module, path: str | Path, source: str, features: dict | None = None) -> None:
    """Write a student's weights for `load_from` or `init_cfg` of an mmdet3d config.

    Beside the weights (`state_dict`) the file has `meta`: `input_settings` (voxel size, coordinates or range,
    columns), `input_features`, `source_config` and the `layout`, see `exported_state`.

    Args:
        student: E.g. `peridot.SparseUNetStudent`; its children carry mmdet3d's names.
        path: File to write (atomically).
        source: Text of the pre-training config, kept in the file.
        features: What the student reads from each point, see `input_features`.
    """
    meta = dict(
        layout=LAYOUT,
        input_settings=student.input_settings(),
        input_features=features,
        source_config=source,
    )
    state = exported_state(student.state_dict(), sparse_kernels(student))
    with atomic_path(path) as temporary:
        torch.save(dict(meta=meta, state_dict=state), temporary)


def export_checkpoint(checkpoint: str | Path, path: str | Path) -> None:
    """Export the student of a checkpoint of `tools/train.py`, which holds its config.

    Raises:
        CheckpointError: The file is absent, truncated or not a checkpoint of a pre-training run.
        ConfigError: No imported module registers its student, or a part of it.
    """
    content = read_checkpoint(checkpoint)
    try:
        text = content['meta']['cfg']
        config = literal_config(text)
        built = config.model.student
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f'{checkpoint} is not a checkpoint of a pre-training run of tools/train.py: {error}'
        ) from None
    scope = config.get('default_scope', 'mmdet3d')
    _check_types(dict(_scope_=scope, student=built), checkpoint)
    init_default_scope(scope)
    student = MODELS.build(built)
    wanted = student.state_dict()
    state = state_of(content, [f'student.{name}' for name in wanted])
    state = {k.removeprefix('student.'): v for k, v in state.items() if k.startswith('student.')}
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in wanted.items()}:
        raise CheckpointError(f'{checkpoint}: its weights do not fit the student of its own config')
    for name, value in wanted.items():
        value.copy_(state[name])
    export_backbone(student, path, text, input_features(config, student))


def _check_types(settings: dict, checkpoint: str | Path) -> None:
    """Refuse types and scopes that are not registered: mmengine imports and calls whatever a stranger's file names.

    Raises:
        ConfigError: There is one.
    """
    types = registered_types()
    known = {'type': types, '_scope_': {name.partition('.')[0] for name in types if '.' in name}}
    for part in dicts_of(settings):
        for key, names in known.items():
            name = part.get(key)
            if isinstance(name, str) and name not in names:
                raise ConfigError(
                    f'{checkpoint}: its student needs {name}, which no imported module registers: if you trust the '
                    'file, name the module with --import MODULE, and put the folder that holds it into PYTHONPATH'
                )


@HOOKS.register_module()
class ExportBackboneHook(Hook):
    """Writes `backbone.pth` for mmdet3d into the work directory when training ends."""

    def after_train(self, runner) -> None:
        """Export from the first process."""
        if runner.rank != 0:
            return
        model = unwrap(runner.model)
        path = Path(runner.work_dir) / 'backbone.pth'
        features = input_features(runner.cfg, model.student)
        with averaged_weights(runner):
            export_backbone(model.student, path, runner.cfg.pretty_text, features)
        print_log(f'backbone for mmdet3d (load_from or init_cfg) written to {path}', 'current')

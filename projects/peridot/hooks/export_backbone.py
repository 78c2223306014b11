"""Pre-trained weights for mmdet3d's own configs."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from peridot.errors import CheckpointError
from peridot.files import atomic_path
from peridot.registry import HOOKS, MODELS


def mmdet3d_state(student: nn.Module) -> dict[str, Tensor]:
    """Weights of a student under mmdet3d's names, in the layout every loading path of mmdet3d understands.

    mmdet3d takes sparse kernels without version metadata for the layout (D, H, W, in, out) of mmcv's spconv
    and permutes them; mmengine drops that metadata when it loads by prefix (`init_cfg`). So the kernels are
    written in that layout, without metadata: right for `load_from` and for `init_cfg`, wrong for a program
    that gives them to spconv itself.
    """
    from spconv.pytorch.conv import SparseConvolution

    state = {name: value.detach().cpu() for name, value in student.state_dict().items()}
    for name, module in student.named_modules():
        if isinstance(module, SparseConvolution):
            kernel = state[f'{name}.weight']
            state[f'{name}.weight'] = kernel.permute(*range(1, kernel.ndim), 0).contiguous()
    return state


def export_backbone(student: nn.Module, path: str | Path, source: str) -> None:
    """Write a student's weights for `load_from` or `init_cfg` of an mmdet3d config.

    Args:
        student: E.g. `peridot.SparseUNetStudent`; its children carry mmdet3d's names.
        path: File to write (atomically).
        source: Text of the pre-training config, kept in the file.
    """
    meta = dict(
        layout='sparse kernels as (D, H, W, in, out), read by mmdet3d through load_from and init_cfg',
        input_settings=student.input_settings(),
        source_config=source,
    )
    with atomic_path(path) as temporary:
        torch.save(dict(meta=meta, state_dict=mmdet3d_state(student)), temporary)


def export_checkpoint(checkpoint: str | Path, path: str | Path) -> None:
    """Export the student of a checkpoint that `tools/train.py` wrote; its config is inside the checkpoint.

    Raises:
        CheckpointError: The file is absent, truncated or not a checkpoint of a pre-training.
    """
    try:
        content = torch.load(checkpoint, map_location='cpu', weights_only=True)
        text = content['meta']['cfg']
        weights = content['state_dict']
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f'{checkpoint} is not a checkpoint of tools/train.py: {reason}') from error
    config = Config.fromstring(text, '.py')
    student = MODELS.build(config.model.student)
    own = {k.removeprefix('student.'): v for k, v in weights.items() if k.startswith('student.')}
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in student.state_dict().items()}:
        raise CheckpointError(f'{checkpoint}: its weights do not fit the student of its own config')
    for name, value in student.state_dict().items():
        value.copy_(own[name])
    export_backbone(student, path, text)


@HOOKS.register_module()
class ExportBackboneHook(Hook):
    """Writes `backbone.pth` for mmdet3d into the work directory when training ends."""

    def after_train(self, runner) -> None:
        """Export from the first process."""
        if runner.rank != 0:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        path = Path(runner.work_dir) / 'backbone.pth'
        export_backbone(model.student, path, runner.cfg.pretty_text)
        print_log(f'backbone for mmdet3d (load_from or init_cfg) written to {path}', 'current')

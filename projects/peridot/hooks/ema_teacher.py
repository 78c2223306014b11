"""The moving average of `DistillSegmentor`."""

from mmengine.hooks import Hook

from peridot.registry import HOOKS
from peridot.weights import unwrap


@HOOKS.register_module()
class EMATeacherHook(Hook):
    """Calls the model's `update_teacher()` after each optimizer step, not after iterations that only add gradients."""

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Update the teacher."""
        if runner.optim_wrapper.should_update():
            unwrap(runner.model).update_teacher()

"""The moving average of `DistillSegmentor`."""

from mmengine.hooks import Hook

from peridot.registry import HOOKS
from peridot.weights import unwrap


@HOOKS.register_module()
class EMATeacherHook(Hook):
    """Calls the model's `update_teacher()` after each step of the optimizer, not where gradients only add up."""

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Update the teacher."""
        if runner.optim_wrapper.should_update():
            unwrap(runner.model).update_teacher()

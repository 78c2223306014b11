"""Check of a pre-training run's checkpoint before it is loaded."""

from mmengine.hooks import Hook

from peridot.registry import HOOKS
from peridot.weights import check_same_network


@HOOKS.register_module()
class CheckCheckpointHook(Hook):
    """Stops a run when its checkpoint belongs to another network, see `check_same_network`.

    For weights of only a part of the model, as in fine-tuning, there is `VerifyLoadingHook`.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare names and shapes before mmengine copies the values."""
        check_same_network(runner.model, checkpoint)

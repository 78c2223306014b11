"""Checkpoints of a pre-training, checked before they are loaded."""

from mmengine.hooks import Hook

from peridot.errors import CheckpointError
from peridot.registry import HOOKS
from peridot.weights import misfits, state_of, unwrap


@HOOKS.register_module()
class CheckCheckpointHook(Hook):
    """Stops when a checkpoint belongs to another network.

    mmengine loads with `strict=False`, where weights of another network are a line in the log and the run
    goes on with random ones. Here every tensor of the model must be in the file with its shape. Weights that are
    only a part of the model, as in fine-tuning, are the task of `VerifyLoadingHook`.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare names and shapes before mmengine copies the values."""
        wanted, found = unwrap(runner.model).state_dict(), state_of(checkpoint)
        missing = [name for name in wanted if name not in found]
        clashes = misfits(wanted, found)
        if missing or clashes:
            if missing:
                first = f'first missing: {missing[0]}'
            else:
                name, (ours, theirs) = next(iter(clashes.items()))
                first = f'{name} is {ours} in the file and {theirs} in the model'
            raise CheckpointError(
                f'checkpoint of another network: {len(wanted) - len(missing) - len(clashes)} of {len(wanted)} '
                f'tensors fit ({first}); load_from/--resume must name a checkpoint of this config'
            )

"""Loading of weights, checked."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from peridot.errors import CheckpointError
from peridot.registry import HOOKS


@HOOKS.register_module()
class CheckCheckpointHook(Hook):
    """Stops when a checkpoint belongs to another network.

    mmengine loads with `strict=False`, where weights of another network are a line in the log and the run
    goes on with random ones. Here every tensor of the model must be in the file with its shape.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare names and shapes before mmengine copies the values."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        found = checkpoint.get('state_dict', checkpoint)
        found = {name: tuple(value.shape) for name, value in found.items() if hasattr(value, 'shape')}
        missing = [name for name in wanted if name not in found]
        clashes = [name for name in wanted if name in found and found[name] != wanted[name]]
        if missing or clashes:
            first = (
                f'first missing: {missing[0]}'
                if missing
                else f'{clashes[0]} is {found[clashes[0]]} in the file and {wanted[clashes[0]]} in the model'
            )
            raise CheckpointError(
                f'checkpoint of another network: {len(wanted) - len(missing) - len(clashes)} of {len(wanted)} '
                f'tensors fit ({first}); load_from/--resume must name a checkpoint of this config'
            )

"""Parts of networks that `torch.compile` runs."""

import logging
from collections.abc import Callable, Iterable

from mmengine.logging import print_log
from torch import Tensor, fx, nn

from peridot.errors import ConfigError

INDUCTOR = 'inductor'


def compile_calls(modules: Iterable[nn.Module], setting: bool | str, key: str) -> None:
    """Let `torch.compile` run the calls of modules, which alike modules share.

    Names in the state dict stay, and copies and pickles of the modules are plain. Where a graph of the forward pass
    cannot be compiled, a warning says so and the modules run as they are.

    Args:
        modules: Changed in place.
        setting: Whether to compile, with torch's inductor; or the name of another backend.
        key: Place of the setting in the config, for messages.

    Raises:
        ConfigError: There is no such backend.
    """
    if not setting:
        return
    backend = PlainOnFailure(INDUCTOR if setting is True else setting, key)
    for module in modules:
        module.compile(backend=backend)


class PlainOnFailure:
    """A backend of `torch.compile` that gives up at its first failure: graphs then run operation by operation.

    Args:
        name: Backend of torch that it uses.
        key: Place of the setting in the config, for messages.

    Raises:
        ConfigError: There is no such backend.
    """

    def __init__(self, name: str, key: str) -> None:
        # takes seconds to import
        from torch._dynamo import lookup_backend
        from torch._dynamo.exc import InvalidBackend

        try:
            self._compile = lookup_backend(name)
        except InvalidBackend:
            raise ConfigError(f'{key}={name!r} is no backend of torch.compile: set it to True') from None
        self._key = key
        self._failed = False

    def __call__(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Callable:
        """The compiled graph, or what runs it as it is."""
        if not self._failed:
            try:
                return self._compile(graph, inputs)
            except Exception as error:  # compilers for all devices have their own
                self._failed = True
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                print_log(
                    f'{self._key}: torch.compile failed, the network runs without it ({reason})',
                    'current',
                    logging.WARNING,
                )
        return graph.forward

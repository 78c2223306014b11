"""Learning rates that fall from the head to the embedding."""

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from peridot.errors import ConfigError
from peridot.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecay(DefaultOptimWrapperConstructor):
    """Optimizer of a segmentor on `peridot.WaffleIron`: lr * decay_rate^(L + 1 - group).

    The embedding is group 0, layer d (both mixes) group d + 1, everything else (the head) group L + 1 (ScaLR).

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: `decay_rate` of the learning rate from layer to layer.
    """

    def _validate_cfg(self) -> None:
        rate = self.paramwise_cfg.get('decay_rate')
        if set(self.paramwise_cfg) != {'decay_rate'} or not 0 < rate <= 1:
            raise ConfigError(
                f'optim_wrapper.paramwise_cfg={dict(self.paramwise_cfg)}: peridot.LayerDecay takes '
                'dict(decay_rate=RATE) with a rate above 0, at most 1'
            )

    def add_params(self, params: list[dict], module: nn.Module) -> None:
        """Append one group of parameters for each parameter that is trained."""
        blocks = getattr(getattr(module, 'backbone', None), 'spatial_mix', None)
        if blocks is None:
            raise ConfigError(
                'optim_wrapper.constructor=peridot.LayerDecay needs a model with a WaffleIron as model.backbone: '
                'leave the constructor out for other networks'
            )
        head = len(blocks) + 1
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                scale = self.paramwise_cfg['decay_rate'] ** (head - layer_group(name, head))
                params.append(dict(params=[parameter], lr=self.base_lr * scale))


def layer_group(name: str, head: int) -> int:
    """Group of a parameter, from its name: 0 for the embedding, d + 1 for layer d, `head` for all else."""
    part, kind, number, *_ = [*name.split('.'), '', '']
    if part != 'backbone':
        return head
    return 0 if kind == 'embed' else int(number) + 1

"""What mixed precision means for the networks of a run."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

# packages of sparse convolutions that compute in float16 under any autocast: spconv 2.3.8, spconv-triton 1.0
FLOAT16_ONLY = ('spconv', 'spconv_triton')


def precision_warnings(config: Mapping[str, Any], model: nn.Module) -> list[str]:
    """A warning if sparse convolutions compute in float16 although a run asks for bfloat16.

    Args:
        config: Config of the run.
        model: Its model.
    """
    wrapper = config.get('optim_wrapper') or {}
    asked = wrapper.get('type') == 'AmpOptimWrapper' and str(wrapper.get('dtype')).endswith('bfloat16')
    packages = {type(module).__module__.partition('.')[0] for module in model.modules()}
    found = packages.intersection(FLOAT16_ONLY)
    if not asked or not found or not torch.cuda.is_available():
        return []
    return [
        f'optim_wrapper.dtype=bfloat16, but {found.pop()} computes sparse convolutions in float16 under any autocast, '
        'which overflows beyond 65504: set optim_wrapper.dtype=float16 for the whole network, or train in full '
        'precision with optim_wrapper.type=OptimWrapper'
    ]

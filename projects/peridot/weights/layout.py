"""The two layouts of sparse kernels."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

# description of the layout in exported files
LAYOUT = 'sparse kernels as (D, H, W, in, out), read by mmdet3d through load_from and init_cfg'


def sparse_kernels(network: nn.Module) -> set[str]:
    """Names of the weights of spconv's convolutions in a network's state dict."""
    from spconv.pytorch.conv import SparseConvolution

    return {f'{name}.weight' for name, module in network.named_modules() if isinstance(module, SparseConvolution)}


def to_mmcv(kernel: Tensor) -> Tensor:
    """Permute a kernel from (out, D, H, W, in), spconv 2's layout, to (D, H, W, in, out), that of mmcv's spconv."""
    return kernel.permute(*range(1, kernel.ndim), 0)


def to_spconv(kernel: Tensor) -> Tensor:
    """Permute a kernel from (D, H, W, in, out) to (out, D, H, W, in)."""
    return kernel.permute(kernel.ndim - 1, *range(kernel.ndim - 1))


def exported_state(state: Mapping[str, Tensor], kernels: Iterable[str]) -> dict[str, Tensor]:
    """A state dict in the layout that every loading path of mmdet3d understands.

    mmdet3d takes sparse kernels without version metadata for mmcv's layout and permutes them; mmengine drops that
    metadata when it loads by prefix (`init_cfg`). So the kernels are written in mmcv's layout, without metadata:
    correct for `load_from` and `init_cfg`, wrong for a program that passes them to spconv itself.

    Args:
        state: Tensors under mmdet3d's names, sparse kernels as spconv 2 has them.
        kernels: Names of the sparse kernels.
    """
    kernels = set(kernels)
    return {
        name: (to_mmcv(value) if name in kernels else value).detach().cpu().contiguous()
        for name, value in state.items()
    }

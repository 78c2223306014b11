"""Exchange between processes, with gradients where a loss needs them; without effect in a single process."""

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from torch import Tensor


def reduce_sum(tensor: Tensor) -> Tensor:
    """Sum of a tensor of one shape over all processes, without gradient."""
    total = tensor.detach().clone()
    if get_world_size() > 1:
        dist.all_reduce(total)
    return total


def mean_over_processes(count: Tensor) -> Tensor:
    """Average counts, or sums of weights, over the processes; each at least 1 in all.

    If each process divides a sum by it, and the processes average their losses and gradients, the result is the mean
    over the joint batch. A collective operation: processes with nothing to count take part.

    Args:
        count: Of any shape, the same in all processes.

    Returns:
        Float32 of this shape, without gradient.
    """
    return reduce_sum(count).clamp(min=1).float() / get_world_size()


def sizes_of_processes(size: int, device: torch.device) -> list[int]:
    """Number of rows that each process holds, in rank order."""
    if get_world_size() == 1:
        return [size]
    sizes = torch.zeros(get_world_size(), dtype=torch.int64, device=device)
    sizes[get_rank()] = size
    dist.all_reduce(sizes)
    return sizes.tolist()


def gather_across_processes(tensor: Tensor, sizes: list[int]) -> Tensor:
    """Rows of all processes in rank order, in every process.

    Differentiable: the gradient of a row is the sum of what all processes send back to it, so the loss of the
    joint batch has its exact gradient. Every process has to take part in the backward pass, too, even one
    without rows.

    Args:
        tensor: (sizes[rank], ...), the local rows.
        sizes: Rows of each process, see `sizes_of_processes`.

    Returns:
        (sum(sizes), ...); the tensor itself in a single process.
    """
    if get_world_size() == 1:
        return tensor
    return _GatherRows.apply(tensor, sizes)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        # collectives need equal shapes: pad to the longest
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.split(ctx.sizes)[get_rank()], None

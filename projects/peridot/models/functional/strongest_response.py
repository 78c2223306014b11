"""The strongest response to the neighbors of a token, in memory that does not grow with their number."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# tokens whose responses are held at once; on a CPU they fit into its cache
CHUNK = 1024


def strongest_response(features: Tensor, neighbors: Tensor, weight: Tensor, bias: Tensor, last: Tensor) -> Tensor:
    """max_k last ReLU(weight (x_k - x) + bias) over the neighbors x_k of every token x.

    Only the index of the strongest neighbor is kept for the backward pass, one byte per number of the result; the
    hidden layer is recomputed. Under autocast the products are in its precision, and gradients are added in float32.

    Args:
        features: Float32 (M, D), without gradient.
        neighbors: Int64 (M, K), rows of `features`, 0 < K <= 256.
        weight: Float32 (C, D).
        bias: Float32 (C,).
        last: Float32 (E, C).

    Returns:
        Float32 (M, E).
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    return _StrongestResponse.apply(features, neighbors, weight, bias, last, dtype)


class _StrongestResponse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, neighbors, weight, bias, last, dtype) -> Tensor:
        """See `strongest_response`; keeps the index of the strongest neighbor, uint8 (M, E)."""
        strongest = features.new_empty(len(features), len(last))
        winner = torch.zeros(strongest.shape, dtype=torch.uint8, device=features.device)
        for tokens in _chunks(features):
            best, which = strongest[tokens].fill_(-torch.inf), winner[tokens]
            for k, column in enumerate(neighbors[tokens].T):
                hidden = _hidden(features[column] - features[tokens], weight, bias, dtype)
                response = F.linear(hidden, last.to(dtype)).float()
                which.masked_fill_(response > best, k)
                torch.maximum(best, response, out=best)
        ctx.save_for_backward(features, neighbors, weight, bias, last, winner)
        ctx.dtype = dtype
        return strongest

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        """Gradients of `weight`, `bias` and `last`, from that of the result (M, E)."""
        features, neighbors, weight, bias, last, winner = ctx.saved_tensors
        of_weight, of_bias, of_last = (torch.zeros_like(value) for value in (weight, bias, last))
        for tokens in _chunks(features):
            for k, column in enumerate(neighbors[tokens].T):
                difference = features[column] - features[tokens]
                hidden = _hidden(difference, weight, bias, ctx.dtype)
                of_response = (grad[tokens] * (winner[tokens] == k)).to(ctx.dtype)
                of_hidden = (of_response @ last.to(ctx.dtype)) * (hidden > 0)
                of_last += of_response.T @ hidden
                of_weight += of_hidden.T @ difference.to(ctx.dtype)
                of_bias += of_hidden.sum(0, dtype=torch.float32)
        return None, None, of_weight, of_bias, of_last, None


def _chunks(features: Tensor) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, len(features), CHUNK)]


def _hidden(difference: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    return F.relu(F.linear(difference.to(dtype), weight.to(dtype), bias.to(dtype)))

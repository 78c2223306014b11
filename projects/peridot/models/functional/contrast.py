"""Contrastive losses of student embeddings k and teacher embeddings q: float32, log-sum-exp form."""

from typing import NamedTuple

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from peridot.models.functional.distributed import gather_across_processes, sizes_of_processes


class Similarity(NamedTuple):
    """Scaled similarities of the local anchors with all candidates.

    Attributes:
        logits: Float32 (M, N), k_i . q_j / temperature; N = M, or the rows of all processes when gathered.
        target: Int64 (M,), the candidate that belongs to each anchor.
        scale: Weight of an anchor's loss. 1 / M; when gathered, world size / rows of all processes, so that
            the mean over processes (what DDP takes) is the mean over the joint batch even if processes hold
            different numbers of pairs.
        sizes: Rows of each process.
    """

    logits: Tensor
    target: Tensor
    scale: float
    sizes: list[int]


def similarity(k: Tensor, q: Tensor, temperature: float, gather_negatives: bool = False) -> Similarity:
    """Similarities k_i . q_j / temperature, see `Similarity`.

    Args:
        k: (M, D) anchors, M may be 0.
        q: (M, D) candidates; row i belongs to anchor i.
        temperature: Divisor of the similarities.
        gather_negatives: Candidates of all processes instead of the local ones. A collective operation.
    """
    # half precision would lose the small differences between similar candidates
    with torch.autocast(k.device.type, enabled=False):
        k, q = k.float(), q.float()
        sizes, offset = [len(k)], 0
        if gather_negatives:
            sizes = sizes_of_processes(len(k), k.device)
            q = gather_across_processes(q, sizes)
            offset = sum(sizes[: get_rank()])
        world_size = get_world_size() if gather_negatives else 1
        target = torch.arange(offset, offset + len(k), device=k.device)
        return Similarity(k @ q.T / temperature, target, world_size / max(sum(sizes), 1), sizes)


def info_nce_of(similar: Similarity) -> Tensor:
    """InfoNCE of similarities; 0 without anchors."""
    logits, target, scale, _ = similar
    own = logits.gather(1, target[:, None])[:, 0]
    return scale * (_logsumexp(logits) - own).sum()


def info_nce(k: Tensor, q: Tensor, temperature: float, gather_negatives: bool = False) -> Tensor:
    """Point-to-pixel InfoNCE (PPKT; OLIVINE's L_PPNCE), anchors k:

        L = -1/M sum_i log( exp(k_i.q_i / t) / sum_j exp(k_i.q_j / t) )

    Args:
        k: (M, D) unit student embeddings.
        q: (M, D) unit teacher embeddings of the same pairs.
        temperature: t.
        gather_negatives: Take the q of all processes as candidates; the mean of the value and of the
            gradients over processes is then that of the joint batch.

    Returns:
        Float32 scalar; 0 without pairs.
    """
    return info_nce_of(similarity(k, q, temperature, gather_negatives))


def retrieval_accuracy(similar: Similarity) -> Tensor:
    """Share of local anchors whose most similar candidate is their own; 0 without anchors."""
    if not len(similar.target):
        return similar.logits.new_zeros(())
    return (similar.logits.detach().argmax(1) == similar.target).float().mean()


def weakly_supervised_contrastive(
    k: Tensor,
    q: Tensor,
    labels: Tensor,
    temperature: float,
    reduction: str = 'sup_in',
    gather_negatives: bool = False,
) -> Tensor:
    """OLIVINE's L_sup: candidates of the anchor's weak label are positives. With P(i) = {j: y_j = y_i},

        sup_in   L = -1/M sum_i log( sum_{j in P(i)} exp(k_i.q_j / t) / sum_j exp(k_i.q_j / t) )
        sup_out  L = -1/M sum_i 1/|P(i)| sum_{a in P(i)} log( exp(k_i.q_a / t) / sum_j exp(k_i.q_j / t) )

    `sup_in` is what OLIVINE's published results come from. Its gradient weights positives by their softmax
    share, so wrong weak labels count little. `sup_out` is larger by at least mean log |P(i)|.

    Args:
        k: (M, D) unit student embeddings.
        q: (M, D) unit teacher embeddings of the same pairs.
        labels: Int64 (M,) weak labels.
        temperature: t.
        reduction: 'sup_in' or 'sup_out'.
        gather_negatives: Take q and labels of all processes, see `info_nce`.

    Returns:
        Float32 scalar; 0 without pairs.
    """
    if reduction not in ('sup_in', 'sup_out'):
        raise ValueError(f"reduction is 'sup_in' or 'sup_out', not {reduction!r}")
    similar = similarity(k, q, temperature, gather_negatives)
    logits = similar.logits
    candidates = gather_across_processes(labels, similar.sizes) if gather_negatives else labels
    positive = labels[:, None] == candidates[None, :]
    if reduction == 'sup_in':
        attraction = _logsumexp(logits.masked_fill(~positive, float('-inf')))
    else:
        attraction = (logits * positive).sum(1) / positive.sum(1)
    return similar.scale * (_logsumexp(logits) - attraction).sum()


def _logsumexp(logits: Tensor) -> Tensor:
    """Row-wise; keeps the graph of a matrix without rows or columns."""
    return logits.logsumexp(1) if logits.numel() else logits.sum(1)

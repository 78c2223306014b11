"""Contrastive losses of student embeddings k and teacher embeddings q: float32, log-sum-exp form."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from peridot.models.functional.distributed import gather_across_processes, sizes_of_processes

# devices on which the log-sum-exp over positives is taken class by class: the blocks of the classes have far fewer
# entries than the full matrix with a mask, but each would make a GPU wait
BY_CLASS = {'cpu'}


class Similarity(NamedTuple):
    """Scaled similarities of the local anchors with all candidates.

    Attributes:
        logits: Float32 (M, N), k_i . q_j / temperature; N = M, or the rows of all processes when gathered.
        anchors: Float32 (M, D), k / temperature.
        candidates: Float32 (N, D), q.
        target: Int64 (M,), the candidate that belongs to each anchor.
        scale: Weight of an anchor's loss. 1 / M; when gathered, world size / rows of all processes, so that
            the mean over processes (what DDP takes) is the mean over the joint batch even if processes hold
            different numbers of pairs. Float32 (M,) after `within_groups`.
        sizes: Rows of each process.
    """

    logits: Tensor
    anchors: Tensor
    candidates: Tensor
    target: Tensor
    scale: float | Tensor
    sizes: list[int]


def similarity(k: Tensor, q: Tensor, temperature: float, gather_negatives: bool = False) -> Similarity:
    """Similarities k_i . q_j / temperature, see `Similarity`.

    Args:
        k: Float (M, D), anchors; M may be 0.
        q: Float (M, D), candidates; row i belongs to anchor i.
        temperature: Divisor of the similarities.
        gather_negatives: Take candidates of all processes instead of the local ones: a collective operation.
    """
    # half precision would lose the small differences between similar candidates
    with torch.autocast(k.device.type, enabled=False):
        anchors, q = k.float() / temperature, q.float()
        sizes, offset = [len(k)], 0
        if gather_negatives:
            sizes = sizes_of_processes(len(k), k.device)
            q = gather_across_processes(q, sizes)
            offset = sum(sizes[: get_rank()])
        world_size = get_world_size() if gather_negatives else 1
        target = torch.arange(offset, offset + len(k), device=k.device)
        return Similarity(anchors @ q.T, anchors, q, target, world_size / max(sum(sizes), 1), sizes)


def info_nce(similar: Similarity) -> Tensor:
    """Point-to-pixel InfoNCE (PPKT; OLIVINE's L_PPNCE) of anchors k and candidates q:

        L = -1/M sum_i log( exp(k_i.q_i / t) / sum_j exp(k_i.q_j / t) )

    With candidates of all processes, the mean over processes of the value and of the gradients is that of the joint
    batch.

    Returns:
        Float32 (); 0 without pairs.
    """
    if isinstance(similar.scale, Tensor):
        return (similar.scale * F.cross_entropy(similar.logits, similar.target, reduction='none')).sum()
    return similar.scale * F.cross_entropy(similar.logits, similar.target, reduction='sum')


def within_groups(similar: Similarity, group: Tensor) -> Similarity:
    """The same similarities without candidates of other groups, every group with anchors of the same weight.

    `info_nce` of the result is the mean over the groups of the InfoNCE of each; with candidates of all processes, over
    the groups of the joint batch.

    Args:
        similar: Similarities (M, N).
        group: Int64 (M,), group of each anchor and of the candidate that belongs to it.
    """
    groups = gather_across_processes(group, similar.sizes) if len(similar.sizes) > 1 else group
    same = group[:, None] == groups
    # every row counts one over the rows of its group
    number = (groups[:, None] == groups).sum(1).float().reciprocal().sum().round()
    scale = similar.scale * len(groups) / (number * same.sum(1))
    return similar._replace(logits=similar.logits.masked_fill(~same, float('-inf')), scale=scale)


def retrieval_accuracy(similar: Similarity) -> Tensor:
    """Fraction of local anchors with no candidate more similar than their own; 0 without anchors."""
    if not len(similar.target):
        return similar.logits.new_zeros(())
    logits = similar.logits.detach()
    own = logits.gather(1, similar.target[:, None])[:, 0]
    return (own >= logits.amax(1)).float().mean()


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
    probability, so wrong weak labels count little. `sup_out` is larger by at least `mean log |P(i)|`.

    Args:
        k: Float (M, D), unit student embeddings.
        q: Float (M, D), unit teacher embeddings of the same pairs.
        labels: Int64 (M,), weak labels.
        temperature: t.
        reduction: 'sup_in' or 'sup_out'.
        gather_negatives: Take q and labels of all processes, see `similarity`.

    Returns:
        Float32 (); 0 without pairs.
    """
    if reduction not in ('sup_in', 'sup_out'):
        raise ValueError(f"reduction is 'sup_in' or 'sup_out', not {reduction!r}")
    similar = similarity(k, q, temperature, gather_negatives)
    candidate_labels = gather_across_processes(labels, similar.sizes) if gather_negatives else labels
    with torch.autocast(k.device.type, enabled=False):
        own = (similar.anchors * similar.candidates[similar.target]).sum()
        # cross entropy is log-sum-exp over all candidates minus the own similarity
        repulsion = F.cross_entropy(similar.logits, similar.target, reduction='sum') + own
        return similar.scale * (repulsion - _attraction(similar, labels, candidate_labels, reduction))


def _attraction(similar: Similarity, labels: Tensor, candidate_labels: Tensor, reduction: str) -> Tensor:
    """Sum over anchors of the log-sum-exp over their positives ('sup_in'), or of the mean over them ('sup_out')."""
    positive = labels[:, None] == candidate_labels
    if reduction == 'sup_out':
        return (similar.logits.masked_fill(~positive, 0).sum(1) / positive.sum(1)).sum()
    if labels.device.type in BY_CLASS:
        return log_sum_by_class(similar.anchors, similar.candidates, labels, candidate_labels)
    return similar.logits.masked_fill(~positive, float('-inf')).logsumexp(1).sum()


def log_sum_by_class(anchors: Tensor, candidates: Tensor, labels: Tensor, candidate_labels: Tensor) -> Tensor:
    """Sum over anchors of the log-sum-exp over their positives, class by class."""
    total = anchors.new_zeros(())
    for label in labels.unique():
        block = anchors[labels == label] @ candidates[candidate_labels == label].T
        total = total + block.logsumexp(1).sum()
    return total

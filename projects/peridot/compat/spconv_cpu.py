"""spconv on CPU: wrong results with several threads, and no backward pass without CUDA.

Broken: (1) spconv's CPU scatter-add is parallel without protection, so several OpenMP threads lose
updates: 1 to 2 % of the rows of a submanifold convolution are silently wrong and differ from run to run.
(2) The backward pass asks for a CUDA stream unconditionally and raises where torch has no CUDA. (3) Layers of
the CUDA wheels choose the implicit-GEMM algorithm, which refuses CPU tensors.
Versions: spconv 2.1 to 2.3.8 (the last release).
Detected: `spconv.pytorch.ops` is the original one over the compiled `SpconvOps`, not a stand-in's.
Repair: `spconv.pytorch.ops.indice_conv` and `indice_conv_backward`, which all of spconv's native convolutions
go through, are answered in torch for CPU tensors: gather, GEMM and one sum per row, over spconv's own index
pairs, which are right. `get_indice_pairs` lists the output voxels of strided convolutions in the order of their
coordinates: spconv has them as it finds them, and with neighbors far apart in memory a batch of scans takes longer
than its scans one by one. CUDA tensors take spconv's way untouched.
Not changed: convolutions of kernel size 1 are a plain matrix product in spconv, which reads their weight
(out, 1, 1, 1, in) as `weight.view(in, out)`, a reinterpretation and not a transposition. It is the same on
CPU and GPU and harmless for weights that were trained so; foreign weights of such layers must be converted.
In eval mode the bias gets no gradient, as on GPU.
Delete when: spconv's CPU code computes right gradients with more than one thread.
"""

import functools
from collections.abc import Callable
from itertools import accumulate, pairwise
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from .records import note

# pairs of a matrix product: their rows stay in the cache of a core
BLOCK = 2048


class PairTable:
    """spconv's index pairs, regrouped so that every sum over pairs has one writer per row.

    A pair (offset k, row a, row b): row a of one side meets row b of the other through kernel offset k. Pairs lie
    in blocks of one offset.

    Args:
        indice_pairs: Int32 (2, K, M); side, kernel offset, pair. Side 0 is the input of a convolution.
        indice_pair_num: Int32 (K,), number of valid pairs of each offset. For submanifold convolutions spconv
            fills the first half only, because offset K-1-k has as many pairs as offset k.
        subm: Submanifold convolution. Its central offset is the identity and is left out of the table.
    """

    def __init__(self, indice_pairs: Tensor, indice_pair_num: Tensor, subm: bool) -> None:
        counts = indice_pair_num.tolist()
        self.center = len(counts) // 2 if subm else None
        if subm:
            half = counts[: self.center]
            counts = [*half, 0, *half[::-1]]
        blocks = [(k, start) for k, count in enumerate(counts) for start in range(0, count, BLOCK)]
        # blocks of all offsets about the same voxels follow each other, as long as these are in a cache
        blocks.sort(key=lambda block: block[1] / counts[block[0]])
        self.offsets = [k for k, _ in blocks]
        # the table hangs on `indice_pairs` (see `pair_table`): views of that very tensor would keep both alive for good
        storage = indice_pairs.data
        self.rows = [[side[k, start : min(start + BLOCK, counts[k])] for k, start in blocks] for side in storage]
        ends = list(accumulate(map(len, self.rows[0]), initial=0))
        self.slices = [slice(*bounds) for bounds in pairwise(ends)]
        self.num_pairs = ends[-1]
        self._bags: list[tuple[Tensor, Tensor] | None] = [None, None]

    def _bag(self, side: int, num_rows: int) -> tuple[Tensor, Tensor]:
        """Pairs sorted by their row on `side` (P,), and where each row's pairs begin (num_rows + 1,)."""
        if self._bags[side] is None:
            rows = torch.cat(self.rows[side])
            begin = rows.new_zeros(num_rows + 1)
            torch.cumsum(torch.bincount(rows, minlength=num_rows), 0, out=begin[1:])
            self._bags[side] = (torch.argsort(rows, stable=True).to(rows.dtype), begin)
        return self._bags[side]

    def sum_rows(self, values: Tensor, side: int, num_rows: int) -> Tensor:
        """Sum the pairs' values (P, C), ordered by offset, over each row of `side`: (num_rows, C).

        `embedding_bag` walks over rows, so that no two threads write to the same one; the order of the sum is fixed.
        """
        if not self.num_pairs:
            return values.new_zeros(num_rows, values.shape[1])
        order, begin = self._bag(side, num_rows)
        return F.embedding_bag(order, values, begin, mode='sum', include_last_offset=True)


def pair_table(indice_pairs: Tensor, indice_pair_num: Tensor, subm: bool) -> PairTable:
    """The table of these pairs; made once for all layers with one indice_key and their backward passes."""
    table = getattr(indice_pairs, '_peridot_pairs', None)
    if table is None:
        table = indice_pairs._peridot_pairs = PairTable(indice_pairs, indice_pair_num, subm)
    return table


def _working_dtype(*tensors: Tensor) -> torch.dtype:
    """Common dtype to compute in: at least float32, as sums over pairs must not round in half precision."""
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return torch.promote_types(dtype, torch.float32)


@torch.no_grad()
def convolve(features: Tensor, filters: Tensor, table: PairTable, num_rows: int, inverse: bool = False) -> Tensor:
    """Sparse convolution: output row b = sum over pairs (k, a, b) of filters[:, k] @ features[a].

    Args:
        features: Float (N, C_in).
        filters: Float (C_out, *kernel, C_in), spconv's layout.
        table: Index pairs.
        num_rows: Number of output rows.
        inverse: Read the pairs from side 1 to side 0.

    Returns:
        (num_rows, C_out), in the common dtype of features and filters. Half precision is summed in float32;
        CPU autocast does not reach into it.
    """
    source, target = int(inverse), int(not inverse)
    result_dtype = torch.promote_types(features.dtype, filters.dtype)
    dtype = _working_dtype(features, filters)
    with torch.autocast('cpu', enabled=False):
        features = features.to(dtype)
        weight = filters.to(dtype).reshape(len(filters), -1, filters.shape[-1])
        values = features.new_empty(table.num_pairs, len(filters))
        for k, rows, part in zip(table.offsets, table.rows[source], table.slices):
            torch.mm(features.index_select(0, rows), weight[:, k].t(), out=values[part])
        out = table.sum_rows(values, target, num_rows)
        if table.center is not None:
            out.addmm_(features, weight[:, table.center].t())
    return out.to(result_dtype)


@torch.no_grad()
def convolve_backward(
    features: Tensor, filters: Tensor, grad: Tensor, table: PairTable, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Gradients of `convolve` with respect to features and filters, in their shapes and dtypes.

    Args:
        features: Float (N, C_in).
        filters: Float (C_out, *kernel, C_in).
        grad: Float (num_rows, C_out), gradient of the output.
        table: Index pairs.
        inverse: As in the forward pass.
    """
    source, target = int(inverse), int(not inverse)
    dtype = _working_dtype(features, filters, grad)
    with torch.autocast('cpu', enabled=False):
        inputs, grad = features.to(dtype), grad.to(dtype)
        weight = filters.to(dtype).reshape(len(filters), -1, filters.shape[-1])
        grad_weight = torch.zeros_like(weight)
        values = inputs.new_empty(table.num_pairs, inputs.shape[1])
        pairs = zip(table.offsets, table.rows[source], table.rows[target], table.slices)
        for k, source_rows, target_rows, part in pairs:
            grad_rows = grad.index_select(0, target_rows)
            torch.mm(grad_rows, weight[:, k], out=values[part])
            grad_weight[:, k].addmm_(grad_rows.t(), inputs.index_select(0, source_rows))
        grad_inputs = table.sum_rows(values, source, len(inputs))
        if table.center is not None:
            grad_inputs.addmm_(grad, weight[:, table.center])
            torch.mm(grad.t(), inputs, out=grad_weight[:, table.center])
    return grad_inputs.to(features.dtype), grad_weight.reshape(filters.shape).to(filters.dtype)


def _answer_cpu_forward(ops: ModuleType) -> Callable:
    """spconv's `indice_conv` that answers CPU tensors itself (a fused activation stays refused by spconv)."""
    original = ops.indice_conv
    no_activation = ops.tv.gemm.Activation.None_

    @functools.wraps(original)
    def indice_conv(
        features,
        filters,
        indice_pairs,
        indice_pair_num,
        num_activate_out,
        inverse=False,
        subm=False,
        **kwargs,
    ):
        """See `spconv.pytorch.ops.indice_conv`."""
        if features.device.type != 'cpu' or kwargs.get('act_type', no_activation) != no_activation:
            pairs = (indice_pairs, indice_pair_num)
            return original(features, filters, *pairs, num_activate_out, inverse, subm, **kwargs)
        table = pair_table(indice_pairs, indice_pair_num, subm)
        out = convolve(features, filters, table, num_activate_out, inverse)
        bias = kwargs.get('bias')
        return out if bias is None else out.add_(bias.detach())

    return indice_conv


def _answer_cpu_backward(ops: ModuleType) -> Callable:
    """spconv's `indice_conv_backward` that answers CPU tensors itself."""
    original = ops.indice_conv_backward

    @functools.wraps(original)
    def indice_conv_backward(
        features, filters, out_bp, indice_pairs, indice_pair_num, inverse=False, subm=False, **kwargs
    ):
        if features.device.type != 'cpu':
            pairs = (indice_pairs, indice_pair_num)
            return original(features, filters, out_bp, *pairs, inverse, subm, **kwargs)
        return convolve_backward(features, filters, out_bp, pair_table(indice_pairs, indice_pair_num, subm), inverse)

    return indice_conv_backward


def _in_order(original: Callable) -> Callable:
    """spconv's `get_indice_pairs` whose output voxels on the CPU are sorted by scan and coordinates."""

    @functools.wraps(original)
    def get_indice_pairs(indices, *args, **kwargs):
        """See `spconv.pytorch.ops.get_indice_pairs`.

        Args:
            indices: Int32 (N, 1 + D), voxels of the input.

        Returns:
            Int32 (M, 1 + D) voxels of the output, int32 (2, K, N) pairs and int32 (K,) their numbers, as `PairTable`
            takes them.
        """
        voxels, pairs, pair_num = original(indices, *args, **kwargs)
        # those of a submanifold convolution are its input's
        if voxels.device.type != 'cpu' or not len(voxels) or voxels.data_ptr() == indices.data_ptr():
            return voxels, pairs, pair_num
        key = voxels[:, 0].long()
        for column, extent in zip(voxels.T[1:], (voxels.amax(0) + 1).tolist()[1:]):
            key = key * extent + column
        order = key.argsort()
        place = torch.empty_like(order, dtype=pairs.dtype)
        place[order] = torch.arange(len(order), dtype=pairs.dtype)
        for rows, count in zip(pairs[1], pair_num.tolist()):
            rows[:count] = place[rows[:count]]
        return voxels[order], pairs, pair_num

    return get_indice_pairs


def _native_on_cpu(original: Callable, native: object) -> Callable:
    """A layer's forward that uses spconv's native algorithm, the only one for the CPU, on CPU tensors."""

    @functools.wraps(original)
    def _conv_forward(self, training, input, *args, **kwargs):
        chosen = self.algo
        if input.features.device.type == 'cpu':
            self.algo = native
        try:
            return original(self, training, input, *args, **kwargs)
        finally:
            self.algo = chosen

    return _conv_forward


def repair_operators(ops: ModuleType) -> None:
    """Repair the functions of spconv.pytorch.ops."""
    if hasattr(ops, 'SpconvOps') and not hasattr(ops.indice_conv, '__wrapped__'):
        ops.indice_conv = _answer_cpu_forward(ops)
        ops.indice_conv_backward = _answer_cpu_backward(ops)
        ops.get_indice_pairs = _in_order(ops.get_indice_pairs)
        note('spconv_cpu', 'sparse convolution by spconv; of CPU tensors by torch, exact on many threads')


def repair_layers(conv: ModuleType) -> None:
    """Repair the layers of spconv.pytorch.conv."""
    layer = conv.SparseConvolutionBase
    if hasattr(conv.ops, 'SpconvOps') and not hasattr(layer._conv_forward, '__wrapped__'):
        layer._conv_forward = _native_on_cpu(layer._conv_forward, conv.ConvAlgo.Native)

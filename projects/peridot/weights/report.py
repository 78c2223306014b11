"""Comparison of a network with the weights of a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from peridot.weights.layout import as_spconv, sparse_kernels, to_spconv


@dataclass(frozen=True)
class LoadReport:
    """Names of tensors, sorted by what happened to them.

    Attributes:
        source: Where the weights came from.
        arrived: The network has the file's values.
        permuted: Sparse kernels with other values: in the file they have spconv's own layout, which mmdet3d permutes.
        changed: Names and shapes fit, values differ.
        conflicts: Shape in the file and shape in the network.
        unexpected: The network has no such tensor.
        missing: The file has no such tensor.
        elements: Numbers in the tensors of the file.
        elements_arrived: Numbers in those that arrived.
    """

    source: str
    arrived: list[str] = field(default_factory=list)
    permuted: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    conflicts: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    elements: int = 0
    elements_arrived: int = 0

    @property
    def lost(self) -> list[str]:
        """Tensors of the file that are not in the network."""
        return [*self.permuted, *self.changed, *self.conflicts, *self.unexpected]

    @property
    def absent(self) -> list[str]:
        """Tensors that the file lacks of the modules it has; they would stay random."""
        modules = {_group(name) for name in (*self.arrived, *self.lost)}
        counters = 'num_batches_tracked'  # missing in files of old programs, and never read
        return [name for name in self.missing if _group(name) in modules and not name.endswith(counters)]

    @property
    def total(self) -> int:
        """Number of tensors of the student, those in the file and those that it lacks."""
        return len(self.arrived) + len(self.lost) + len(self.absent)

    @property
    def fraction(self) -> float:
        """Fraction of the student's tensors that arrived."""
        return len(self.arrived) / self.total if self.total else 0.0

    def table(self) -> str:
        """Counts by top-level module of the network."""
        kinds = {
            'arrived': self.arrived,
            'permuted': self.permuted,
            'changed': self.changed,
            'other shape': list(self.conflicts),
            'unexpected': self.unexpected,
            'missing': self.missing,
        }
        groups = sorted({_group(name) for names in kinds.values() for name in names})
        width = max(map(len, (*groups, 'module')))
        lines = [
            f'{self.source}: {len(self.arrived)} of {self.total} tensors ({100 * self.fraction:.4g} %) and '
            f'{self.elements_arrived} of {self.elements} numbers are in the network, compared by value',
            f'{"module":{width}}' + ''.join(f'{kind:>13}' for kind in kinds),
        ]
        for group in groups:
            counts = [sum(_group(name) == group for name in names) for names in kinds.values()]
            lines.append(f'{group:{width}}' + ''.join(f'{count:13}' for count in counts))
        return '\n'.join(lines)

    def problem(self) -> str:
        """One line that says what did not arrive, why, and what to do."""
        if not self.total:
            return f'{self.source} holds no weights'
        lost = [*self.lost, *self.absent]
        groups = [_group(name) for name in lost]
        counts = []
        for group in dict.fromkeys(groups):
            total = groups.count(group) + sum(_group(name) == group for name in self.arrived)
            counts.append(f'{groups.count(group)} of {total} tensors of {group}.*')
        return f'{self.source}: {", ".join(counts)} did not arrive: {self._reason()}'

    def _reason(self) -> str:
        if not self.lost:
            return f'the file has no {self.absent[0]}; load weights of the full network'
        if self.permuted and not (self.changed or self.conflicts or self.unexpected):
            return (
                'sparse kernels were permuted (layout trap); export the file again with tools/export_backbone.py '
                'or convert it with tools/convert_checkpoint.py'
            )
        if any(name.startswith('student.') for name in self.unexpected):
            return 'it is a checkpoint of a pre-training run; load what tools/export_backbone.py makes of it'
        if self.conflicts:
            name, (ours, theirs) = next(iter(self.conflicts.items()))
            return (
                f'{name} is {ours} in the file and {theirs} in the network, which is another one or has other '
                f'input features; load weights of the same network'
            )
        if self.unexpected:
            modules = ', '.join(dict.fromkeys(map(_group, (*self.missing, *self.arrived))))
            return f'the network has no {self.unexpected[0]} (it has {modules}); load weights of the same network'
        return 'names and shapes fit but the values differ; load the file with load_from (init_cfg fills one module)'


def _group(name: str) -> str:
    return name.split('.', 1)[0]


def conflicts(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], kernels: Iterable[str] = ()
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Tensors of both that differ in shape: shape found and shape wanted.

    Args:
        wanted: State dict of a network.
        found: Tensors of a file.
        kernels: Names of sparse kernels, which fit in either layout.
    """
    result = {}
    for name in wanted.keys() & found.keys():
        value, shape = found[name], wanted[name].shape
        if (as_spconv(value, shape) if name in kernels else value).shape != shape:
            result[name] = (tuple(value.shape), tuple(shape))
    return {name: result[name] for name in wanted if name in result}


def misfits(network: nn.Module, found: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that only a network or only a file has, or whose shapes differ, sorted.

    Args:
        network: The network.
        found: Tensors of the file by name.
    """
    wanted = network.state_dict()
    return sorted(conflicts(wanted, found).keys() | (wanted.keys() ^ found.keys()))


def compare(network: nn.Module, found: Mapping[str, Tensor], source: str) -> LoadReport:
    """Compare a network with the tensors of a file, value by value, on the CPU.

    A sparse kernel has arrived when it equals the file's as it is, or permuted from mmcv's layout.

    Args:
        network: Network after loading.
        found: Tensors of the file by name.
        source: Name of the file, for the report.
    """
    wanted, kernels = network.state_dict(), sparse_kernels(network)
    report = LoadReport(
        source,
        conflicts=conflicts(wanted, found, kernels),
        unexpected=[name for name in found if name not in wanted],
        missing=[name for name in wanted if name not in found],
        elements=sum(value.numel() for value in found.values()),
    )
    for name, value in found.items():
        if name not in wanted or name in report.conflicts:
            continue
        loaded, value = wanted[name].detach().cpu(), value.cpu()
        layouts = [value, to_spconv(value)] if name in kernels else [value]
        if any(v.shape == loaded.shape and torch.equal(loaded, v.to(loaded.dtype)) for v in layouts):
            report.arrived.append(name)
        elif name in kernels and value.shape == loaded.shape:
            report.permuted.append(name)
        else:
            report.changed.append(name)
    arrived = sum(found[name].numel() for name in report.arrived)
    return LoadReport(**{**vars(report), 'elements_arrived': arrived})

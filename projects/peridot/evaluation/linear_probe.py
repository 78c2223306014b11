"""Linear probe: a linear classifier on frozen point features, and others beside it."""

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import torch
import torch.nn.functional as F
from mmdet3d.structures import PointData
from mmengine.dist import (
    broadcast_object_list,
    collect_results,
    get_rank,
    get_world_size,
    is_distributed,
    is_main_process,
)
from mmengine.logging import print_log
from mmengine.runner import Runner, ValLoop
from torch import Tensor, nn
from torch.distributed import new_group
from torch.utils.data import DataLoader

from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS, LOOPS
from peridot.weights import averaged_weights, unwrap

# name of the student's own features among those of layers
FEATURES = 'features'
# number of labeled points drawn from a scan
POINTS_PER_SCAN = 8192
# longest time that processes wait for the one that fits the probes
FIT_WAIT = timedelta(days=1)
# memory on the device for features that a probe is fitted on
CHUNK_BYTES = 1 << 30
# what an evaluation can report beside the linear probe, by name: arguments of `fit_linear_probe`
BESIDE = {'balanced': dict(balanced=True), 'mlp': dict(hidden=128)}


class LinearProbe(nn.Module):
    """Standardization with fixed statistics, then one linear layer.

    Args:
        mean: Mean (C,) of the features.
        std: Their standard deviation (C,).
        num_classes: Number of classes K.
        hidden: Units of a hidden layer; 0 = no such layer.
    """

    def __init__(self, mean: Tensor, std: Tensor, num_classes: int, hidden: int = 0) -> None:
        super().__init__()
        self.register_buffer('mean', mean)
        self.register_buffer('std', std)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first = [nn.Linear(len(mean), hidden), nn.ReLU()] if hidden else []
            last = nn.Linear(hidden or len(mean), num_classes)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*first, last).to(mean.device)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, K) of features (N, C)."""
        return self.layers((features - self.mean) / self.std)


def fit_linear_probe(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    epochs: int = 36,
    batch_size: int = 4096,
    lr: float = 2e-2,
    balanced: bool = False,
    hidden: int = 0,
    device: torch.device | str | None = None,
) -> LinearProbe:
    """Fit a linear classifier by cross-entropy (Adam, cosine learning rate, fixed shuffling).

    Features that need more than `CHUNK_BYTES` are shuffled within chunks of this size, which lie on the device in turn.

    Args:
        features: Float (N, C), frozen, of any precision; in random order if they are of several chunks.
        labels: Int64 (N,), in [0, num_classes).
        num_classes: Number of classes K.
        epochs: Passes over the features.
        batch_size: Rows per step.
        lr: Initial learning rate, for standardized features.
        balanced: Draw every class that occurs equally often, instead of every row once an epoch.
        hidden: Units of a hidden layer; 0 = a linear classifier.
        device: Where to compute; by default where the features are.
    """
    device = device or features.device
    std, mean = std_mean(features, device)
    # a constant channel (a dead unit) would otherwise divide by zero
    probe = LinearProbe(mean, std.clamp(min=1e-6), num_classes, hidden)
    chunks = chunk_bounds(features)
    steps = epochs * sum(-(-(stop - start) // batch_size) for start, stop in chunks)
    optimizer = torch.optim.Adam(probe.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    shuffle = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        for _ in range(epochs):
            for start, stop in chunks:
                own, truth = features[start:stop].to(device), labels[start:stop]
                order = balanced_rows(truth, shuffle) if balanced else torch.randperm(len(own), generator=shuffle)
                truth = truth.to(device)
                for rows in order.to(device).split(batch_size):
                    loss = F.cross_entropy(probe(own[rows].float()), truth[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
    return probe.requires_grad_(False)


def chunk_bounds(features: Tensor) -> list[tuple[int, int]]:
    """First row and end of every chunk of at most `CHUNK_BYTES` of features (N, C)."""
    size = max(1, CHUNK_BYTES // (features.element_size() * features.shape[1]))
    return [(start, min(start + size, len(features))) for start in range(0, len(features), size)]


def std_mean(features: Tensor, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean (C,) of features (N, C), in float32 on a device."""
    parts = features.split(1 << 12)
    mean = sum(part.to(device).double().sum(0) for part in parts) / len(features)
    squares = sum((part.to(device).double() - mean).square().sum(0) for part in parts)
    return (squares / max(1, len(features) - 1)).sqrt().float(), mean.float()


def balanced_rows(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw N rows with replacement, each class that occurs in `labels` (N,) equally often on average; int64 (N,)."""
    order, counts = labels.cpu().argsort(stable=True), labels.cpu().bincount()
    present = counts.nonzero()[:, 0]
    chosen = present[torch.randint(len(present), (len(labels),), generator=generator)]
    place = torch.rand(len(labels), dtype=torch.float64, generator=generator) * counts[chosen]
    return order[(counts.cumsum(0) - counts)[chosen] + place.long()]


def build_fit_dataloader(settings: dict, count: int) -> DataLoader:
    """Build a loader of at most `count` evenly spaced samples of a dataset, from its config."""
    dataset = DATASETS.build(settings['dataset'])
    # before the loader is built, whose sampler would otherwise keep the size of the full dataset
    if len(dataset) > count:
        dataset.get_subset_([i * len(dataset) // count for i in range(count)])
    return Runner.build_dataloader({**settings, 'dataset': dataset}, seed=0)


def stacked(scans: list[tuple[dict[str, Tensor], Tensor]], name: str, place: Tensor) -> Tensor:
    """Features of all scans as one tensor (N, C), row i at `place[i]`.

    They are taken out of the scans, so that they are in memory once.

    Args:
        scans: Features (N_s, C) by name and labels of every scan.
        name: Which of the features.
        place: Int64 (N,).
    """
    first = scans[0][0][name]
    rows = first.new_empty(len(place), first.shape[1])
    for (features, _), own in zip(scans, place.split([len(labels) for _, labels in scans])):
        rows[own] = features.pop(name)
    return rows


@LOOPS.register_module()
class LinearProbeLoop(ValLoop):
    """Validation loop of pre-training: fits a linear probe on frozen features, then evaluates it.

    With `val_cfg=dict(type='peridot.LinearProbeLoop', ...)` and `train_cfg.val_interval=N` mmengine runs it
    every N epochs; `tools/test.py` runs it on a checkpoint. The evaluator (`peridot.PointSegMetric`) sees a
    prediction for every original point, and those of the probes beside the linear one under their names.

    Args:
        fit_dataloader: Config of the loader of labeled scans the probe is fitted on.
        fit_scans: Number of these scans that are used, evenly spaced; the features are kept in memory.
        beside: Probes that are fitted on the same features, too: names of `BESIDE`. 'balanced' draws all classes
            equally often, 'mlp' has a hidden layer.
        layers: Fit a linear probe on every stage of the student, too, and one on all of them together
            (`all_layers`); for students with a method `layers`.

    Raises:
        ConfigError: `beside` names an unknown probe, or the student has no `layers`.
        DataError: No point of the fitted scans has a label.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        fit_dataloader: dict,
        fit_scans: int = 500,
        beside: Sequence[str] = tuple(BESIDE),
        layers: bool = False,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if unknown := set(beside) - set(BESIDE):
            raise ConfigError(f'val_cfg.beside={sorted(unknown)}: choose from {", ".join(BESIDE)}')
        if layers and not hasattr(unwrap(runner.model).student, 'layers'):
            raise ConfigError(
                f'val_cfg.layers: {type(unwrap(runner.model).student).__name__} has none: set it to False'
            )
        # a fit may take longer than processes wait for each other's gradients
        self._patient = new_group(timeout=FIT_WAIT, backend='gloo') if is_distributed() else None
        self.beside = beside
        self.layers = layers
        self.fit_dataloader = build_fit_dataloader(fit_dataloader, fit_scans)
        meta = self.dataloader.dataset.metainfo
        self.num_classes, self.ignore_index = len(meta['classes']), meta['ignore_index']

    @torch.no_grad()
    def run(self) -> dict:
        """Fit in the first process, predict, evaluate; returns the metrics."""
        start = time.time()
        self.runner.model.eval()
        # the hooks of a validation that would do this are called after the fit
        with averaged_weights(self.runner):
            scans = collect_results(self._collect(), len(self.fit_dataloader.dataset))
        fitted = [self._fit(scans) if is_main_process() else None]
        broadcast_object_list(fitted, group=self._patient)
        (probes,) = fitted
        if not probes:
            raise DataError('the linear probe found no labeled point: check val_cfg.fit_dataloader')
        self.probes = {name: (layer, probe.to(self._device())) for name, (layer, probe) in probes.items()}
        print_log(f'linear probe fitted in {time.time() - start:.0f} s', 'current')
        return super().run()

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Predict one batch with the probes."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        scans, samples = self._features(data_batch)
        for sample, features in zip(samples, scans):
            predicted = {name: probe(features[layer]).argmax(1) for name, (layer, probe) in self.probes.items()}
            sample.pred_pts_seg = PointData(pts_semantic_mask=predicted.pop(FEATURES), **predicted)
            sample.eval_ann_info = dict(pts_semantic_mask=sample.gt_pts_seg.pts_semantic_mask.cpu().numpy())
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook('after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=samples)

    def _features(self, data_batch: dict) -> tuple[list[dict[str, Tensor]], list]:
        """Features (N_i, C) of every scan by the name of their layer, `FEATURES` those of the student."""
        model = unwrap(self.runner.model)
        data = model.data_preprocessor(data_batch, False)
        if not self.layers:
            return [{FEATURES: f.float()} for f in model(**data, mode='tensor')], data['data_samples']
        layers = model.embed_layers(data['inputs']['points'])
        layers[FEATURES] = list(layers.values())[-1]
        scans = [dict(zip(layers, map(Tensor.float, values))) for values in zip(*layers.values())]
        for scan in scans:
            scan['all_layers'] = torch.cat([values for name, values in scan.items() if name != FEATURES], dim=1)
        return scans, data['data_samples']

    def _collect(self) -> list[tuple[dict[str, Tensor], Tensor]]:
        """Features and labels of a fixed random choice of labeled points of every scan of this process, on the host.

        The choice does not depend on the number of processes. Features are in half precision: with 8192 points, 500
        scans and 768 channels they take 6.3 GB.
        """
        own = []
        for batch in self.fit_dataloader:
            for features, sample in zip(*self._features(batch)):
                labels = sample.gt_pts_seg.pts_semantic_mask.long()
                place = get_rank() + len(own) * get_world_size()
                rows = self._draw(labels, torch.Generator().manual_seed(place))
                own.append(({name: _half(values[rows]).cpu() for name, values in features.items()}, labels[rows].cpu()))
        return own

    def _fit(self, scans: list[tuple[dict[str, Tensor], Tensor]]) -> dict[str, tuple[str, LinearProbe]]:
        """Layer and probe, on the host, of every probe by its name; none without labeled points."""
        labels = torch.cat([labels for _, labels in scans])
        place = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        labels = torch.empty_like(labels).index_copy_(0, place, labels)
        probes = {}
        for name in list(scans[0][0]) if len(labels) else ():
            fit = partial(
                fit_linear_probe, stacked(scans, name, place), labels, self.num_classes, device=self._device()
            )
            kinds = {name: {}, **({kind: BESIDE[kind] for kind in self.beside} if name == FEATURES else {})}
            probes |= {kind: (name, fit(**settings).cpu()) for kind, settings in kinds.items()}
        print_log(f'linear probe: {len(labels)} labeled points', 'current')
        return probes

    def _device(self) -> torch.device:
        return next(unwrap(self.runner.model).parameters()).device

    def _draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of at most `POINTS_PER_SCAN` labeled points."""
        valid = (labels != self.ignore_index).nonzero()[:, 0]
        return valid[torch.randperm(len(valid), generator=generator)[:POINTS_PER_SCAN].to(valid)]


def _half(values: Tensor) -> Tensor:
    """Numbers in half precision; those beyond its range become the largest."""
    largest = torch.finfo(torch.float16).max
    return values.clamp(-largest, largest).half()

"""Linear probe: a linear classifier on frozen point features, and others beside it."""

import time
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

import torch
import torch.nn.functional as F
from mmdet3d.structures import PointData
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import Runner, ValLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader

from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS, LOOPS
from peridot.weights import averaged_weights, unwrap

# name of the student's own features among those of layers
FEATURES = 'features'
# number of labeled points drawn from a scan
POINTS_PER_SCAN = 8192
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
) -> LinearProbe:
    """Fit a linear classifier by cross-entropy (Adam, cosine learning rate, fixed shuffling).

    Args:
        features: Float (N, C), frozen.
        labels: Int64 (N,), in [0, num_classes).
        num_classes: Number of classes K.
        epochs: Passes over the features.
        batch_size: Rows per step.
        lr: Initial learning rate, for standardized features.
        balanced: Draw every class that occurs equally often, instead of every row once an epoch.
        hidden: Units of a hidden layer; 0 = a linear classifier.
    """
    std, mean = torch.std_mean(features, dim=0)
    # a constant channel (a dead unit) would otherwise divide by zero
    probe = LinearProbe(mean, std.clamp(min=1e-6), num_classes, hidden)
    steps = epochs * -(-len(features) // batch_size)
    optimizer = torch.optim.Adam(probe.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    shuffle = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        for _ in range(epochs):
            order = balanced_rows(labels, shuffle) if balanced else torch.randperm(len(features), generator=shuffle)
            for rows in order.to(features.device).split(batch_size):
                loss = F.cross_entropy(probe(features[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return probe.requires_grad_(False)


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


def gather_samples(own: list, count: int) -> list:
    """Results of all samples of a loader, in the order of its sampler, from those of every process.

    mmengine's samplers deal the samples out in turn, and give some a second time so that all processes get as many.

    Args:
        own: Results of this process, one for each sample, in the order of its loader.
        count: Number of samples.
    """
    turns = zip_longest(*all_gather_object(own))
    return [result for turn in turns for result in turn if result is not None][:count]


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
        self.beside = beside
        self.layers = layers
        self.fit_dataloader = build_fit_dataloader(fit_dataloader, fit_scans)
        meta = self.dataloader.dataset.metainfo
        self.num_classes, self.ignore_index = len(meta['classes']), meta['ignore_index']

    @torch.no_grad()
    def run(self) -> dict:
        """Fit, predict, evaluate; returns the metrics."""
        start = time.time()
        self.runner.model.eval()
        # the hooks of a validation that would do this are called after the fit
        with averaged_weights(self.runner):
            features, labels = self._collect()
        fit = partial(fit_linear_probe, labels=labels, num_classes=self.num_classes)
        self.probes = {name: (name, fit(values)) for name, values in features.items()}
        self.probes |= {name: (FEATURES, fit(features[FEATURES], **BESIDE[name])) for name in self.beside}
        print_log(f'linear probe fitted on {len(labels)} points in {time.time() - start:.0f} s', 'current')
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

    def _collect(self) -> tuple[dict[str, Tensor], Tensor]:
        """Features and labels of a fixed random choice of labeled points of every scan, of all processes.

        Neither the choice nor its order depends on the number of processes.
        """
        own = []
        for batch in self.fit_dataloader:
            for features, sample in zip(*self._features(batch)):
                labels = sample.gt_pts_seg.pts_semantic_mask.long()
                place = get_rank() + len(own) * get_world_size()
                rows = self._draw(labels, torch.Generator().manual_seed(place))
                own.append(({name: values[rows].cpu() for name, values in features.items()}, labels[rows].cpu()))
        scans = gather_samples(own, len(self.fit_dataloader.dataset))
        device = next(unwrap(self.runner.model).parameters()).device
        features = {name: torch.cat([f[name] for f, _ in scans]).to(device) for name in scans[0][0]}
        labels = torch.cat([y for _, y in scans]).to(device)
        if not len(labels):
            raise DataError('the linear probe found no labeled point: check val_cfg.fit_dataloader')
        return features, labels

    def _draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of at most `POINTS_PER_SCAN` labeled points."""
        valid = (labels != self.ignore_index).nonzero()[:, 0]
        return valid[torch.randperm(len(valid), generator=generator)[:POINTS_PER_SCAN].to(valid)]

"""Linear probe: a linear classifier on frozen point features."""

import time

import torch
import torch.nn.functional as F
from mmdet3d.structures import PointData
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.runner import Runner, ValLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader

from peridot.errors import DataError
from peridot.registry import DATASETS, LOOPS
from peridot.weights import unwrap

# number of labeled points drawn from a scan
POINTS_PER_SCAN = 8192


class LinearProbe(nn.Module):
    """Standardization with fixed statistics, then one linear layer."""

    def __init__(self, mean: Tensor, std: Tensor, num_classes: int) -> None:
        super().__init__()
        self.register_buffer('mean', mean)
        self.register_buffer('std', std)
        self.linear = nn.Linear(len(mean), num_classes, device=mean.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, K) of features (N, C)."""
        return self.linear((features - self.mean) / self.std)


def fit_linear_probe(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    epochs: int = 12,
    batch_size: int = 4096,
    lr: float = 5e-3,
) -> LinearProbe:
    """Fit a linear classifier by cross-entropy (Adam, cosine learning rate, fixed shuffling).

    Args:
        features: Float (N, C), frozen.
        labels: Int64 (N,), in [0, num_classes).
        num_classes: Number of classes K.
        epochs: Passes over the features.
        batch_size: Rows per step.
        lr: Initial learning rate, for standardized features.
    """
    std, mean = torch.std_mean(features, dim=0)
    # a constant channel (a dead unit) would otherwise divide by zero
    probe = LinearProbe(mean, std.clamp(min=1e-6), num_classes)
    steps = epochs * -(-len(features) // batch_size)
    optimizer = torch.optim.Adam(probe.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    shuffle = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        for _ in range(epochs):
            for rows in torch.randperm(len(features), generator=shuffle).to(features.device).split(batch_size):
                loss = F.cross_entropy(probe(features[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return probe.requires_grad_(False)


def build_fit_dataloader(settings: dict, count: int) -> DataLoader:
    """Build a loader of at most `count` evenly spaced samples of a dataset, from its config."""
    dataset = DATASETS.build(settings['dataset'])
    # before the loader is built, whose sampler would otherwise keep the size of the full dataset
    if len(dataset) > count:
        dataset.get_subset_([i * len(dataset) // count for i in range(count)])
    return Runner.build_dataloader({**settings, 'dataset': dataset}, seed=0)


@LOOPS.register_module()
class LinearProbeLoop(ValLoop):
    """Validation loop of pre-training: fits a linear probe on frozen features, then evaluates it.

    With `val_cfg=dict(type='peridot.LinearProbeLoop', ...)` and `train_cfg.val_interval=N` mmengine runs it
    every N epochs; `tools/test.py` runs it on a checkpoint. The evaluator (`peridot.PointSegMetric`) sees a
    prediction for every original point.

    Args:
        fit_dataloader: Config of the loader of labeled scans the probe is fitted on.
        fit_scans: Number of these scans that are used, evenly spaced; the features are kept in memory.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        fit_dataloader: dict,
        fit_scans: int = 500,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.fit_dataloader = build_fit_dataloader(fit_dataloader, fit_scans)
        meta = self.dataloader.dataset.metainfo
        self.num_classes, self.ignore_index = len(meta['classes']), meta['ignore_index']

    @torch.no_grad()
    def run(self) -> dict:
        """Fit, predict, evaluate; returns the metrics."""
        start = time.time()
        self.runner.model.eval()
        features, labels = self._collect()
        self.probe = fit_linear_probe(features, labels, self.num_classes)
        print_log(f'linear probe fitted on {len(labels)} points in {time.time() - start:.0f} s', 'current')
        return super().run()

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Predict one batch with the probe."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        features, samples = self._features(data_batch)
        for sample, values in zip(samples, features):
            sample.pred_pts_seg = PointData(pts_semantic_mask=self.probe(values).argmax(1))
            sample.eval_ann_info = dict(pts_semantic_mask=sample.gt_pts_seg.pts_semantic_mask.cpu().numpy())
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook('after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=samples)

    def _features(self, data_batch: dict) -> tuple[list[Tensor], list]:
        model = unwrap(self.runner.model)
        data = model.data_preprocessor(data_batch, False)
        return [f.float() for f in model(**data, mode='tensor')], data['data_samples']

    def _collect(self) -> tuple[Tensor, Tensor]:
        """Features and labels of a fixed random choice of labeled points of every scan, of all processes."""
        generator = torch.Generator().manual_seed(0)
        chosen_features, chosen_labels = [], []
        for batch in self.fit_dataloader:
            for values, sample in zip(*self._features(batch)):
                labels = sample.gt_pts_seg.pts_semantic_mask.long()
                valid = (labels != self.ignore_index).nonzero()[:, 0]
                rows = valid[torch.randperm(len(valid), generator=generator)[:POINTS_PER_SCAN].to(valid)]
                chosen_features.append(values[rows])
                chosen_labels.append(labels[rows])
        device = chosen_labels[0].device
        gathered = all_gather_object((torch.cat(chosen_features).cpu(), torch.cat(chosen_labels).cpu()))
        features = torch.cat([f for f, _ in gathered]).to(device)
        labels = torch.cat([y for _, y in gathered]).to(device)
        if not len(labels):
            raise DataError('the linear probe found no labeled point: check val_cfg.fit_dataloader')
        return features, labels

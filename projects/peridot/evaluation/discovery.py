"""Foreground and background of point clouds without labels: FOUND on the teacher's images, transferred to points.

The image part is that of `peridot.evaluation.found`, without FOUND's smoothing by a bilateral solver. The transfer to
points is our own.
"""

import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.runner import ValLoop
from torch import Tensor, nn

from peridot.errors import ConfigError, DataError
from peridot.evaluation.foreground_metric import ForegroundMetric, binary_truth
from peridot.evaluation.found import find_background, last_attention
from peridot.evaluation.linear_probe import build_fit_dataloader
from peridot.registry import LOOPS
from peridot.visualization.figures import save_figure
from peridot.visualization.foreground import foreground_figure
from peridot.weights import unwrap


def fit_foreground_head(
    features: Tensor, foreground: Tensor, steps: int = 500, batch_size: int = 25600, lr: float = 5e-2
) -> nn.Linear:
    """Fit a linear layer that recognizes foreground patches, by binary cross-entropy (AdamW, fixed shuffling).

    FOUND's steps and learning rates, with patches of about 50 images per step; its self-training on smoothed masks is
    left out.

    Args:
        features: Float (N, F), unit features of patches.
        foreground: Bool (N,).
        steps: Optimizer steps; the learning rate falls by 5 % every 50.
        batch_size: Patches per step.
        lr: Initial learning rate.
    """
    head = nn.Linear(features.shape[1], 1, device=features.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 50, 0.95)
    shuffle = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.randint(len(features), (min(batch_size, len(features)),), generator=shuffle)
            rows = rows.to(features.device)
            loss = F.binary_cross_entropy_with_logits(head(features[rows])[:, 0], foreground[rows].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.requires_grad_(False)


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
class DiscoveryLoop(ValLoop):
    """Validation loop of distillation: finds the foreground of point clouds in two ways, without labels.

    - `head`: a linear layer learns on images to recognize the foreground patches that FOUND's first stage finds; it is
      then applied to the points' embeddings. Foreground has a probability above 1/2.
    - `seed`: prototypes of the background are the features of the seed patches of the scan's images; without images,
      the mean seed of the images for fitting. Foreground points have a cosine similarity to the nearest of at most
      `threshold`; `seed@T` is the same for other thresholds.

    Both work because the distilled points' embeddings lie in the space of the teacher's features. The evaluator
    (`peridot.ForegroundMetric`) sees a prediction for every original point. A figure of the first scan is
    written to `pictures/` in the work directory.

    Args:
        fit_dataloader: Config of the loader of samples with images, whose labels are not used.
        head: The distillation head.
        fit_samples: Number of these samples that are used, evenly spaced; the patches are kept in memory.
        threshold: Cosine similarity above which a patch or point is background.
        sweep: Other thresholds to report.

    Raises:
        ConfigError: The teacher has no attention, or the head does not map into its space.
        DataError: The samples for fitting have no images.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        fit_dataloader: dict,
        head: str = 'distill',
        fit_samples: int = 50,
        threshold: float = 0.3,
        sweep: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        model = unwrap(runner.model)
        last_attention(model.teacher)
        _check_head(model, head)
        self.fit_dataloader = build_fit_dataloader(fit_dataloader, fit_samples)
        self.head = head
        self.threshold = threshold
        self.thresholds = {'seed': threshold, **{f'seed@{value:g}': value for value in sweep}}

    @torch.no_grad()
    def run(self) -> dict:
        """Fit, predict, evaluate; returns the metrics."""
        start = time.time()
        self.runner.model.eval()
        features, foreground, seeds = self._collect()
        self.classifier = fit_foreground_head(features, foreground)
        self.mean_seed = F.normalize(seeds.mean(0, keepdim=True), dim=1)
        percent = 100 * foreground.float().mean()
        print_log(
            f'discovery: {len(foreground)} patches, {percent:.1f} % of them foreground, in {time.time() - start:.0f} s',
            'current',
        )
        return super().run()

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Predict the foreground of one batch."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        model = unwrap(self.runner.model)
        data = model.data_preprocessor(data_batch, False)
        # students may interpolate between embeddings
        embeddings = [F.normalize(e.float(), dim=1) for e in model.embed_points(data['inputs']['points'], self.head)]
        prototypes = self._prototypes(model, data['inputs'], data_batch)
        for sample, values, seeds in zip(data['data_samples'], embeddings, prototypes):
            sample.pred_foreground = self.predict(values, seeds)
            sample.eval_ann_info = dict(pts_semantic_mask=sample.gt_pts_seg.pts_semantic_mask.cpu().numpy())
        if idx == 0:
            self._draw(data['inputs']['points'][0], data['data_samples'][0])
        self.evaluator.process(data_samples=data['data_samples'], data_batch=data_batch)
        self.runner.call_hook('after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=data['data_samples'])

    def predict(self, embeddings: Tensor, prototypes: Tensor) -> dict[str, Tensor]:
        """Predict the foreground of points in both ways and for all thresholds.

        Args:
            embeddings: Float (N, F), unit embeddings of points.
            prototypes: Float (K, F), unit features of background.

        Returns:
            Bool (N,) each, by name.
        """
        nearest = (embeddings @ prototypes.T).max(1).values
        by_seed = {name: nearest <= threshold for name, threshold in self.thresholds.items()}
        return {'head': self.classifier(embeddings)[:, 0] > 0, **by_seed}

    def _prototypes(self, model, inputs: dict, data_batch: dict) -> list[Tensor]:
        """Background features (K, F) of every scan."""
        if 'images' not in inputs:
            return [self.mean_seed] * len(inputs['points'])
        _, _, seeds = find_background(model.teacher, inputs['images'], self.threshold)
        return list(seeds.split([len(images) for images in data_batch['inputs']['images']]))

    def _collect(self) -> tuple[Tensor, Tensor, Tensor]:
        """Patches (N, F), whether each is foreground (N,), and seeds (M, F), of the images of all processes."""
        model = unwrap(self.runner.model)
        own = []
        for batch in self.fit_dataloader:
            inputs = model.data_preprocessor(batch, False)['inputs']
            if 'images' not in inputs:
                raise DataError('val_cfg.fit_dataloader gives no images: load and resize them in its pipeline')
            features, background, seeds = find_background(model.teacher, inputs['images'], self.threshold)
            counts = [len(images) for images in batch['inputs']['images']]
            # copies, because views would be sent with the whole batch
            parts = (values.cpu().split(counts) for values in (features, ~background, seeds))
            own += zip(*([part.clone() for part in values] for values in parts))
        device = next(model.parameters()).device
        samples = gather_samples(own, len(self.fit_dataloader.dataset))
        features, foreground, seeds = (torch.cat(values).to(device) for values in zip(*samples))
        return features.flatten(0, 1), foreground.flatten(), seeds

    def _draw(self, points: Tensor, sample) -> None:
        if self.runner.rank != 0:
            return
        metric = next((m for m in self.evaluator.metrics if isinstance(m, ForegroundMetric)), None)
        names = metric.foreground if metric else None
        truth = binary_truth(sample.eval_ann_info['pts_semantic_mask'], self.dataloader.dataset.metainfo, names)
        predicted = {name: sample.pred_foreground[name].cpu().numpy() for name in ('head', 'seed')}
        figure = foreground_figure(points[:, :3].cpu().numpy(), truth, predicted)
        save_figure(Path(self.runner.work_dir) / 'pictures' / f'discovery_epoch_{self.runner.epoch}.png', figure)
        self.runner.visualizer.add_image('discovery', figure, step=self.runner.iter)


def _check_head(model: nn.Module, head: str) -> None:
    """Refuse a head that does not map points into the space of the patches."""
    from peridot.models.heads import DistillationHead

    if not isinstance(dict(model.heads.items()).get(head), DistillationHead):
        raise ConfigError(
            f'discovery needs points in the space of the teacher, but model.heads has no {head!r} of type '
            'peridot.DistillationHead: name one with val_cfg.head'
        )

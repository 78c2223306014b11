"""Foreground and background of point clouds without any label: FOUND on the teacher's images, carried over to points.

The image part follows FOUND (Simeoni et al., "Unsupervised Object Localization: Observing the Background to Discover
Objects", CVPR 2023), without its smoothing by a bilateral solver. How it is carried over to points is our own.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.runner import ValLoop
from PIL import Image
from torch import Tensor, nn

from peridot.errors import ConfigError, DataError
from peridot.evaluation.foreground_metric import IGNORED, ForegroundMetric, binary_truth
from peridot.evaluation.linear_probe import build_fit_dataloader
from peridot.files import atomic_path
from peridot.registry import LOOPS
from peridot.visualization.pictures import UNLABELED, TopView, caption, class_colors, draw_from_above, legend
from peridot.weights.checkpoint import unwrap

# background, foreground
PALETTE = ((60, 110, 160), (255, 170, 40))
EPSILON = 1e-10


@dataclass(frozen=True)
class Attention:
    """What a transformer's last block says of M images of P patches, with H heads.

    Attributes:
        features: (M, P, F) unit features of the patches, the teacher's own.
        attention: (M, H, P) attention of the class token to the patches.
        keys: (M, H, P, d) keys of the patches.
    """

    features: Tensor
    attention: Tensor
    keys: Tensor


@torch.no_grad()
def attend(teacher: nn.Module, images: Tensor) -> Attention:
    """Run a transformer on images and look into its last block.

    Args:
        teacher: `peridot.TimmTeacher` with a vision transformer that has a class token.
        images: As the teacher takes them.

    Raises:
        ConfigError: The teacher is another network.
    """
    layer, network = _last_attention(teacher), teacher.network
    taken = {}
    hook = layer.register_forward_pre_hook(lambda _, args: taken.update(tokens=args[0]))
    try:
        features = teacher(images)
    finally:
        hook.remove()
    if not taken:
        raise _without_attention(network)
    qkv = layer.qkv(taken['tokens']).float().unflatten(2, (3, layer.num_heads, -1))
    query, key, _ = qkv.permute(2, 0, 3, 1, 4)
    query, key = layer.q_norm(query[:, :, :1]), layer.k_norm(key)
    attention = (query * layer.scale @ key.transpose(2, 3)).softmax(3)[:, :, 0]
    return Attention(
        features=F.normalize(features.float().flatten(2).transpose(1, 2), dim=2),
        attention=attention[:, :, network.num_prefix_tokens :],
        keys=key[:, :, network.num_prefix_tokens :],
    )


def found_background(attention: Tensor, keys: Tensor, threshold: float = 0.3) -> tuple[Tensor, Tensor]:
    """Background patches by FOUND's first stage.

    With a_h(p) the attention of head h to patch p and Q_h the share of patches that it attends to more than the
    image's mean, heads that attend to few patches count more:

        beta_h = log( sum_h' Q_h' / Q_h ),   seed = argmin_p sum_h beta_h a_h(p)

    Background is what resembles the seed: cos( D(p), D(seed) ) > threshold, D(p) = concat_h( beta_h k_h(p) ).

    Args:
        attention: (M, H, P) of the class token.
        keys: (M, H, P, d).
        threshold: Cosine similarity above which a patch is background.

    Returns:
        Int64 (M,) seeds and bool (M, P) background.
    """
    share = (attention > attention.mean((1, 2), keepdim=True)).float().mean(2) + EPSILON
    beta = (share.sum(1, keepdim=True) / share).log()[:, :, None]
    seed = (beta * attention).sum(1).argmin(1)
    descriptor = F.normalize((beta[..., None] * keys).transpose(1, 2).flatten(2), dim=2)
    own = descriptor[torch.arange(len(seed), device=seed.device), seed]
    return seed, torch.einsum('mpd,md->mp', descriptor, own) > threshold


def fit_foreground_head(
    features: Tensor, foreground: Tensor, steps: int = 500, batch_size: int = 25600, lr: float = 5e-2
) -> nn.Linear:
    """Fit a linear layer that tells foreground patches, by binary cross-entropy (AdamW, fixed shuffling).

    FOUND's steps and learning rates, and patches of some 50 images a step; its self-training on smoothed masks is
    left out.

    Args:
        features: (N, F) unit features of patches.
        foreground: Bool (N,).
        steps: Optimizer steps; the learning rate falls by 5 % every 50.
        batch_size: Patches a step.
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


@LOOPS.register_module()
class DiscoveryLoop(ValLoop):
    """Validation loop of a distillation: finds the foreground of point clouds in two ways, without labels.

    - `head`: a linear layer learns on images to tell the foreground patches that FOUND's first stage finds there; it
      is then applied to the points' embeddings. Foreground has a probability above 1/2.
    - `seed`: prototypes of the background are the features of the seed patches of the scan's images; without images,
      the mean seed of the images for fitting. Foreground points have a cosine similarity to the nearest of at most
      `threshold`; `seed@T` is the same for other thresholds.

    Both work because the distilled points' embeddings lie in the space of the teacher's features. The evaluator
    (`peridot.ForegroundMetric`) sees a prediction for every original point. A picture of the first scan goes to
    `pictures/` in the work directory.

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
        _last_attention(model.teacher)
        _check_head(model, head)
        self.fit_dataloader = build_fit_dataloader(fit_dataloader, fit_samples)
        self.head, self.threshold = head, threshold
        self.thresholds = {'seed': threshold, **{f'seed@{value:g}': value for value in sweep}}

    @torch.no_grad()
    def run(self) -> dict:
        """Fit, predict, evaluate; returns the metrics."""
        start = time.time()
        self.runner.model.eval()
        features, foreground, seeds = self._collect()
        self.classifier = fit_foreground_head(features, foreground)
        self.mean_seed = F.normalize(seeds.mean(0, keepdim=True), dim=1)
        share = 100 * foreground.float().mean()
        print_log(
            f'discovery: {len(foreground)} patches, {share:.1f} % of them foreground, in {time.time() - start:.0f} s',
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
        """Foreground of points by both ways and all thresholds.

        Args:
            embeddings: (N, F) unit embeddings of points.
            prototypes: (K, F) unit features of background.

        Returns:
            Bool (N,) by name.
        """
        nearest = (embeddings @ prototypes.T).max(1).values
        by_seed = {name: nearest <= threshold for name, threshold in self.thresholds.items()}
        return {'head': self.classifier(embeddings)[:, 0] > 0, **by_seed}

    def _prototypes(self, model, inputs: dict, data_batch: dict) -> list[Tensor]:
        """Background features (K, F) of every scan."""
        if 'images' not in inputs:
            return [self.mean_seed] * len(inputs['points'])
        _, _, seeds = observe(model.teacher, inputs['images'], self.threshold)
        return list(seeds.split([len(images) for images in data_batch['inputs']['images']]))

    def _collect(self) -> tuple[Tensor, Tensor, Tensor]:
        """Patches (N, F), whether they are foreground (N,) and seeds (M, F) of the images of all processes."""
        model = unwrap(self.runner.model)
        parts = []
        for batch in self.fit_dataloader:
            inputs = model.data_preprocessor(batch, False)['inputs']
            if 'images' not in inputs:
                raise DataError('val_cfg.fit_dataloader gives no images: load and resize them in its pipeline')
            features, background, seeds = observe(model.teacher, inputs['images'], self.threshold)
            parts.append((features.flatten(0, 1).cpu(), ~background.flatten().cpu(), seeds.cpu()))
        gathered = [part for process in all_gather_object(parts) for part in process]
        device = next(model.parameters()).device
        return tuple(torch.cat(values).to(device) for values in zip(*gathered))

    def _draw(self, points: Tensor, sample) -> None:
        if self.runner.rank != 0:
            return
        metric = next((m for m in self.evaluator.metrics if isinstance(m, ForegroundMetric)), None)
        names = metric.foreground if metric else None
        truth = binary_truth(sample.eval_ann_info['pts_semantic_mask'], self.dataloader.dataset.metainfo, names)
        predicted = {name: sample.pred_foreground[name].cpu().numpy() for name in ('head', 'seed')}
        picture = discovery_picture(points[:, :3].cpu().numpy(), truth, predicted)
        path = Path(self.runner.work_dir) / 'pictures' / f'discovery_epoch_{self.runner.epoch}.png'
        with atomic_path(path) as temporary:
            Image.fromarray(picture).save(temporary, format='PNG')
        self.runner.visualizer.add_image('discovery', picture, step=self.runner.iter)


def observe(teacher: nn.Module, images: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unit patch features (M, P, F), bool background (M, P) and the seeds' features (M, F) of M images."""
    seen = attend(teacher, images)
    seed, background = found_background(seen.attention, seen.keys, threshold)
    return seen.features, background, seen.features[torch.arange(len(seed), device=seed.device), seed]


def discovery_picture(
    xyz: np.ndarray, truth: np.ndarray, predicted: Mapping[str, np.ndarray], view: TopView | None = None
) -> np.ndarray:
    """Foreground from above: the truth and each prediction side by side.

    Args:
        xyz: (N, 3) in meters, lidar frame.
        truth: int (N,), see `binary_truth`.
        predicted: Bool (N,) by the name that is written above.
        view: Part that is shown, by default most of the cloud.

    Returns:
        uint8 (H, W, 3).
    """
    view = view or TopView.fit(xyz)
    shown = {'ground truth': truth, **{name: np.where(truth == IGNORED, IGNORED, p) for name, p in predicted.items()}}
    clouds = [
        caption(draw_from_above(xyz, class_colors(labels, PALETTE), view, np.where(labels == 1, 1, 0)), name)
        for name, labels in shown.items()
    ]
    row = np.hstack(clouds)
    names = legend(['background', 'foreground', 'no ground truth'], [*PALETTE, UNLABELED], row.shape[1])
    return np.vstack([row, names])


def _last_attention(teacher: nn.Module | None) -> nn.Module:
    """Attention layer of the block whose tokens are the teacher's features."""
    network = getattr(teacher, 'network', None)
    blocks = getattr(network, 'blocks', None)
    layer = getattr(blocks[-1], 'attn', None) if blocks is not None and len(blocks) else None
    has_class_token = getattr(network, 'cls_token', None) is not None
    if not has_class_token or not isinstance(getattr(layer, 'qkv', None), nn.Linear):
        raise _without_attention(network or teacher)
    return layer


def _without_attention(network: nn.Module | None) -> ConfigError:
    return ConfigError(
        f'discovery looks at the attention of a class token, which {type(network).__name__} does not have or use: set '
        'model.teacher to peridot.TimmTeacher with a vision transformer, e.g. vit_small_patch14_dinov2.lvd142m'
    )


def _check_head(model: nn.Module, head: str) -> None:
    """Points and patches must share a space."""
    from peridot.models.heads import DistillationHead

    if not isinstance(dict(model.heads.items()).get(head), DistillationHead):
        raise ConfigError(
            f'discovery needs points in the space of the teacher, but model.heads has no {head!r} of type '
            'peridot.DistillationHead: name one with val_cfg.head'
        )

"""The one pre-training model."""

import torch
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from torch import Tensor, nn

from peridot.errors import ConfigError, PeridotError
from peridot.models.step import StepContext
from peridot.registry import MODELS

IMAGE_FREE = torch.Size((0, 0))


@MODELS.register_module()
class Pretrainer(BaseModel):
    """A student gives every lidar point a feature; objectives say what that feature should know.

    Methods are lists of objectives: OLIVINE is point-pixel InfoNCE, weakly-supervised contrast and vMF
    consistency; PPKT is the first alone; SLidR is superpixel InfoNCE.

    Args:
        student: Config of the lidar network, e.g. `peridot.SparseUNetStudent`.
        objectives: Config of each objective by name; the name prefixes its logged losses.
        teacher: Config of the frozen image network, e.g. `peridot.TimmTeacher`.
        heads: Settings of each projection head by name, e.g. `dict(instance=dict(channels=64))`. Heads
            belong to the pre-trainer because objectives share them (OLIVINE's second and third do).
        data_preprocessor: Config of the batching, `peridot.PairedDataPreprocessor` by default.
    """

    def __init__(
        self,
        student: dict,
        objectives: dict[str, dict],
        teacher: dict | None = None,
        heads: dict[str, dict] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='peridot.PairedDataPreprocessor'), init_cfg)
        self.student = MODELS.build(student)
        self.teacher = MODELS.build(teacher) if teacher else None
        teacher_channels = self.teacher.out_channels if teacher else None
        self.heads = nn.ModuleDict()
        for name, settings in (heads or {}).items():
            head = dict(type='peridot.ProjectionHead', **settings)
            channels = dict(student_channels=self.student.out_channels, teacher_channels=teacher_channels)
            self.heads[name] = MODELS.build({**head, **channels})
        self.objectives = nn.ModuleDict({k: MODELS.build(v) for k, v in objectives.items()})
        for name, objective in self.objectives.items():
            head = getattr(objective, 'head', None)
            if head is not None and head not in self.heads:
                raise ConfigError(f'objective {name!r} wants head {head!r}: add it to model.heads')
        # counts training steps; with the run's seed it determines every random draw of a step
        self.register_buffer('step', torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: dict, data_samples: list | None = None, mode: str = 'tensor'):
        """Run the student on a batch.

        Args:
            inputs: `points`, and for camera objectives `images`, `pairs`, `maps`, as batched by
                `PairedDataPreprocessor`.
            data_samples: One `Det3DDataSample` per scan.
            mode: 'loss' gives the dict of losses and logged numbers, 'tensor' a list with the features
                (N_i, C) of every scan's points.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'tensor':
            return self.extract_features(inputs['points'])
        raise ConfigError(f'mode {mode!r}: the pre-trainer knows "loss" and "tensor"')

    def extract_features(self, points: list[Tensor]) -> list[Tensor]:
        """Student features (N_i, C) of every point of every scan (before any projection head)."""
        lengths = [len(p) for p in points]
        rows = torch.arange(sum(lengths), device=points[0].device)
        return list(self.student(points).at(rows).split(lengths))

    def loss(self, inputs: dict, data_samples: list) -> dict[str, Tensor]:
        """Losses and logged numbers of all objectives, named `<objective>/<name>`."""
        step = self._context(inputs, data_samples)
        results = {}
        for name, objective in self.objectives.items():
            for key, value in objective(step).items():
                results[f'{name}/{key}'] = value
        self._check_finite(results, data_samples)
        self.step += 1
        return results

    def _context(self, inputs: dict, data_samples: list) -> StepContext:
        points = inputs['points']
        images = inputs.get('images')
        student, pairs = self.student(points), inputs.get('pairs')
        if pairs is not None and student.inside is not None:
            pairs = pairs[student.inside[pairs.point]]
        generator = torch.Generator(points[0].device)
        generator.manual_seed(hash((torch.initial_seed(), int(self.step), get_rank())) & 0x7FFFFFFFFFFFFFFF)
        return StepContext(
            points=torch.cat(points),
            student=student,
            pairs=pairs,
            heads=self.heads,
            teacher_map=lambda: self.teacher(images),
            image_size=IMAGE_FREE if images is None else tuple(images.shape[-2:]),
            align_corners=getattr(self.teacher, 'align_corners', True),
            generator=generator,
            label_classes=data_samples[0].metainfo.get('label_classes') if data_samples else None,
            maps=inputs.get('maps'),
            map_ids=data_samples[0].metainfo.get('map_ids') if data_samples else None,
        )

    def _check_finite(self, results: dict[str, Tensor], data_samples: list) -> None:
        """Stop before the optimizer spoils the weights."""
        losses = {name: value for name, value in results.items() if 'loss' in name}
        if losses and not torch.stack([v.detach().float().mean() for v in losses.values()]).isfinite().all():
            bad = ', '.join(f'{k}={float(v):g}' for k, v in losses.items() if not torch.isfinite(v).all())
            tokens = ', '.join(str(s.metainfo.get('token')) for s in data_samples or [])
            raise PeridotError(
                f'{bad} at step {int(self.step)}, samples {tokens}: training stopped before the weights changed; '
                'lower optim_wrapper.optimizer.lr or look at these samples, then continue with --resume'
            )

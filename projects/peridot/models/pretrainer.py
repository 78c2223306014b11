"""The pre-training model of all methods."""

import math
from collections.abc import Callable

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModel
from torch import Tensor, nn

from peridot.errors import ConfigError, PeridotError
from peridot.models.batch import EncodedBatch
from peridot.models.counter import Counter
from peridot.models.functional import reduce_sum, scans_of, sizes_of_processes
from peridot.models.students.features import PointFeatures
from peridot.models.students.passes import in_passes
from peridot.registry import MODELS
from peridot.structures import Frames


@MODELS.register_module()
class Pretrainer(BaseModel):
    """A student gives every lidar point a feature; objectives say what that feature should know.

    Methods are lists of objectives: OLIVINE is point-pixel InfoNCE, weakly-supervised contrast and vMF
    consistency; PPKT is the first alone; SLidR is superpixel InfoNCE; ScaLR is feature distance.

    Args:
        student: Config of the lidar network, e.g. `peridot.SparseUNetStudent`.
        objectives: Config of each `Objective` by name; the name prefixes its logged losses.
        teacher: Config of the frozen image network, e.g. `peridot.TimmTeacher`.
        heads: Settings of each projection head by name, e.g. `dict(instance=dict(channels=64))`, of type
            `peridot.ProjectionHead` unless they name another. Heads belong to the pre-trainer because several
            objectives may use the same one (OLIVINE's second and third do). `student_layer='decoder2'` lets a head
            read a stage of a student that has a method `layers`; `teacher_layer=-2` one of the teacher's
            `out_indices`, `teacher_layer='class_token'` its class tokens (HilDA).
        data_preprocessor: Config of the batching, `peridot.PairedDataPreprocessor` by default.
        batch_statistics: 'joint', all scans of a batch go through the student together; or 'separate', those of each
            frame (`Frames.frame`) in a pass of their own, as SuperFlow was released: batch normalization then sees one
            kind of cloud at a time, and its running statistics move once in each pass.

    Raises:
        ConfigError: There is no objective, one names a head that is not in `heads`, or a head belongs to none or reads
            a layer that student or teacher do not give; or `batch_statistics` is another word, or 'separate' with heads
            that read layers of the student.
    """

    # set by SkipOverflowHook: whether a loss scaler skips steps without finite losses
    skips_overflow = False

    def __init__(
        self,
        student: dict,
        objectives: dict[str, dict],
        teacher: dict | None = None,
        heads: dict[str, dict] | None = None,
        data_preprocessor: dict | None = None,
        batch_statistics: str = 'joint',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='peridot.PairedDataPreprocessor'), init_cfg)
        if batch_statistics not in ('joint', 'separate'):
            raise ConfigError(f"model.batch_statistics={batch_statistics!r}: choose 'joint' or 'separate'")
        self.batch_statistics = batch_statistics
        if not objectives:
            raise ConfigError('model.objectives is empty: name at least one objective (configs/_base_/methods)')
        self.student = MODELS.build(student)
        self.teacher = MODELS.build(teacher) if teacher else None
        self.heads = nn.ModuleDict()
        for name, settings in (heads or {}).items():
            self.heads[name] = self._built_head(name, {'type': 'peridot.ProjectionHead', **settings})
        # stages of the student that heads read
        self._student_layers = sorted({head.student_layer for head in self.heads.values()} - {None})
        if self._student_layers and batch_statistics == 'separate':
            raise ConfigError(
                f"model.batch_statistics='separate' gives no layers, and heads read {', '.join(self._student_layers)}: "
                "set 'joint'"
            )
        self.objectives = nn.ModuleDict()
        for name, settings in objectives.items():
            self.objectives[name] = self._connected(name, MODELS.build(settings))
        unused = sorted(set(self.heads) - {objective.head for objective in self.objectives.values()})
        if unused:
            raise ConfigError(f'no objective uses the head {unused[0]!r}: take it out of model.heads')
        # counts training steps; with the run's seed it determines every random draw of a step
        self.iteration = Counter()
        # numbers of the last step by name, means over the processes, on the host
        self._logged: dict[str, float] = {}

    def forward(self, inputs: dict, data_samples: list | None = None, mode: str = 'tensor'):
        """Run the student on a batch.

        Args:
            inputs: `points`, `frames`, and for camera objectives `images` or `teacher_maps`, `pairs`, `maps`, as
                batched by `PairedDataPreprocessor`. With `teacher_maps` the teacher does not run.
            data_samples: One `Det3DDataSample` per sample.
            mode: 'loss' gives the dict of losses and logged numbers, 'tensor' a list with the features
                (N_i, C) of every scan's points.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'tensor':
            return self.embed_points(inputs['points'])
        raise ConfigError(f'mode {mode!r}: set "loss" or "tensor"')

    def embed_points(self, points: list[Tensor], head: str | None = None) -> list[Tensor]:
        """Features of every point of every scan.

        Args:
            points: Clouds (N_i, >=3).
            head: Name of the head that embeds them; None for the student's own features.

        Returns:
            For each scan (N_i, C), or (N_i, D) with a head.
        """
        if head is not None and head not in self.heads:
            raise ConfigError(f'the model has no head {head!r}: it has {", ".join(self.heads) or "none"}')
        if head is None:
            return _by_scan(self.student(points), points)
        features, layer = self._run_student(points), self.heads[head].student_layer
        return _by_scan(features.layers[layer] if layer else features, points, self.heads[head].embed_student)

    def embed_layers(self, points: list[Tensor]) -> dict[str, list[Tensor]]:
        """Features (N_i, C) of every point of every scan in all stages of a student that has a method `layers`."""
        return {name: _by_scan(features, points) for name, features in self.student.layers(points).items()}

    def loss(self, inputs: dict, data_samples: list) -> dict[str, Tensor]:
        """Losses and logged numbers of all objectives, named `<objective>/<name>`.

        Raises:
            PeridotError: A loss is not finite. With `skips_overflow`, the losses and gradients of all processes are NaN
                instead, so that a loss scaler skips the step, and the step leaves no trace in the buffers.
        """
        before = self._learned_buffers() if self.skips_overflow else {}
        batch = self.encode(inputs, data_samples)
        results = {}
        for name, objective in self.objectives.items():
            for key, value in objective(batch).items():
                results[f'{name}/{key}'] = value
        first = next(name for name in results if 'loss' in name)
        results[first] = results[first] + self._graph_zero(batch)
        own, self._logged = _on_host(results)
        if not self.skips_overflow:
            self._stop_at(_bad_losses(own), data_samples)
        elif _bad_losses(self._logged):
            results[first] = results[first] * torch.nan
            self._logged[first] = math.nan
            self._restore(before)
        results.update(_data_counts(data_samples))
        self.iteration.advance()
        return results

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
        """The sum of the losses, and all numbers for the log: those that `loss` has brought to the host as floats.

        They are means over the processes: mmengine would log those of the first, and wait for the device once for every
        number.
        """
        total, log = super().parse_losses(losses)
        known = dict(self._logged, loss=sum(value for name, value in self._logged.items() if 'loss' in name))
        return total, {name: known.get(name, value) for name, value in log.items()}

    def rescale_steps(self, ratio: float) -> None:
        """Continue in epochs of another length: multiply what counts steps by `ratio`."""
        self.iteration.set(round(int(self.iteration) * ratio))
        for objective in self.objectives.values():
            objective.rescale_steps(ratio)

    def encode(self, inputs: dict, data_samples: list | None) -> EncodedBatch:
        """One forward pass of the student over a batch, ready for objectives; the teacher runs once one asks for it."""
        points = inputs['points']
        student, pairs = self._features(points, inputs['frames']), inputs['pairs']
        if student.inside is not None:
            pairs = pairs[student.inside[pairs.point]]
        return EncodedBatch(
            points=torch.cat(points),
            scan=scans_of([len(cloud) for cloud in points], points[0].device),
            student=student,
            frames=inputs['frames'],
            pairs=pairs,
            heads=self.heads,
            generator=self._generator(points[0].device),
            make_teacher_map=lambda: self._teacher_map(inputs, data_samples),
            image_size=_image_size(inputs, data_samples),
            align_corners=getattr(self.teacher, 'align_corners', True),
            label_classes=_label_classes(data_samples),
            maps=inputs.get('maps', {}),
            map_ids=_map_ids(data_samples),
            queries=inputs.get('queries'),
            labels=_point_labels(data_samples, sum(map(len, points))),
            segments=inputs.get('segments'),
            num_segments=max((s.metainfo.get('num_segments', 0) for s in data_samples or []), default=0),
        )

    def _features(self, points: list[Tensor], frames: Frames) -> PointFeatures:
        """Features of all scans, in one pass or one for each frame.

        Raises:
            ConfigError: Processes that share batch statistics have different frames: they would wait for each other.
        """
        if self.batch_statistics == 'joint':
            return self._run_student(points)
        kinds = frames.frame.tolist()
        shared = any(isinstance(module, nn.SyncBatchNorm) for module in self.student.modules())
        if shared and len(set(sizes_of_processes(len(set(kinds)), points[0].device))) > 1:
            raise ConfigError(
                "model.batch_statistics='separate': a process lacks a frame that others have: set missing='repeat' in "
                'frames of the dataset, or sync_bn=None'
            )
        return in_passes(self.student, points, kinds)

    def _built_head(self, name: str, settings: dict) -> nn.Module:
        """The head, as wide as what it reads."""
        layers = {part: settings.pop(f'{part}_layer', None) for part in ('student', 'teacher')}
        channels = {
            f'{part}_channels': _channels(getattr(self, part), layer, f'model.heads.{name}.{part}_layer')
            for part, layer in layers.items()
        }
        head = MODELS.build({**settings, **channels})
        head.student_layer, head.teacher_layer = layers['student'], layers['teacher']
        return head

    def _run_student(self, points: list[Tensor]) -> PointFeatures:
        """The student's features, with the layers that heads read."""
        return self.student(points, self._student_layers) if self._student_layers else self.student(points)

    def _connected(self, name: str, objective: nn.Module) -> nn.Module:
        """The objective, connected to its head."""
        if objective.head not in self.heads:
            raise ConfigError(f'objective {name!r} needs head {objective.head!r}: add it to model.heads')
        if self.heads[objective.head].student_layer is not None and not objective.reads_layers:
            raise ConfigError(
                f"objective {name!r} reads the student's own features: take student_layer of "
                f'model.heads.{objective.head} out'
            )
        objective.connect(self.heads[objective.head].channels)
        return objective

    def _generator(self, device: torch.device) -> torch.Generator:
        """The source of a step's random draws: they depend on the run's seed, the iteration and the process."""
        seed = hash((torch.initial_seed(), int(self.iteration), get_rank())) & 0x7FFFFFFFFFFFFFFF
        return torch.Generator(device).manual_seed(seed)

    def _graph_zero(self, batch: EncodedBatch) -> Tensor:
        """Zero that depends on all trained parameters: DDP needs a gradient for each, even without pairs."""
        learning = [p for part in (self.heads, self.objectives) for p in part.parameters()]
        return 0.0 * (batch.student.at(batch.pairs.point[:0]).sum() + sum(p.sum() for p in learning))

    def _teacher_map(self, inputs: dict, data_samples: list) -> Tensor | dict[int | str | None, Tensor]:
        """Features (images, C, h, w) of the teacher, from the batch if it has them; of all layers if heads name any."""
        maps = inputs.get('teacher_maps')
        layers = any(head.teacher_layer is not None for head in self.heads.values())
        if maps is None:
            return self.teacher(inputs.get('images'), layers=True) if layers else self.teacher(inputs.get('images'))
        if layers:
            raise ConfigError(
                f'the teacher maps in {data_samples[0].metainfo["teacher_features"]["folder"]} are of one layer, but '
                'model.heads name others: take maps.teacher_features of the training set out, or teacher_layer'
            )
        if maps.shape[1] != self.teacher.out_channels:
            raise ConfigError(
                f'the teacher maps in {data_samples[0].metainfo["teacher_features"]["folder"]} have {maps.shape[1]} '
                f'channels, model.teacher has {self.teacher.out_channels}: make them for this config with '
                'tools/make_teacher_features.py'
            )
        return maps

    def _learned_buffers(self) -> dict[str, Tensor]:
        """Copies of batch statistics, class statistics and counters."""
        return {name: b.clone() for name, b in self.named_buffers() if not name.startswith('teacher.')}

    def _restore(self, values: dict[str, Tensor]) -> None:
        for name, buffer in self.named_buffers():
            if name in values:
                # `data`, because the backward pass would refuse statistics that were changed
                buffer.data.copy_(values[name])
        for module in self.modules():
            if isinstance(module, Counter):
                module.read()

    def _stop_at(self, bad: dict[str, float], data_samples: list) -> None:
        """Stop before the optimizer spoils the weights."""
        if bad:
            losses = ', '.join(f'{name}={value:g}' for name, value in bad.items())
            tokens = ', '.join(str(s.metainfo.get('token')) for s in data_samples or [])
            raise PeridotError(
                f'{losses} at step {int(self.iteration)}, samples {tokens}: training stopped before the weights '
                'changed; lower optim_wrapper.optimizer.lr or look at these samples, then continue with --resume'
            )


def _channels(network: nn.Module | None, layer: int | str | None, key: str) -> int | None:
    """Channels of the features of a network or of one of its layers; None without a network.

    Args:
        network: Student or teacher.
        layer: Name or number of the layer, None for the features themselves.
        key: Place of the layer in the config, for messages.
    """
    if layer is None:
        return network.out_channels if network else None
    known = getattr(network, 'layer_channels', {})
    if layer not in known:
        given = ', '.join(map(repr, known)) or 'no layers'
        raise ConfigError(
            f'{key}={layer!r}: {type(network).__name__ if network else "no network"} gives {given}: name one of those; '
            'peridot.TimmTeacher gives more by out_indices and class_token, stored features have neither, and of the '
            'students peridot.SparseUNetStudent alone has stages'
        )
    return known[layer]


def _on_host(results: dict[str, Tensor]) -> tuple[dict[str, float], dict[str, float]]:
    """Losses and logged numbers, those of this process and the means over all processes.

    In one transfer: the only time that a step waits for its results.
    """
    own = torch.stack([value.detach().float().mean() for value in results.values()])
    both = torch.stack([own, reduce_sum(own) / get_world_size()])
    own, mean = (dict(zip(results, values)) for values in both.tolist())
    return own, mean


def _bad_losses(numbers: dict[str, float]) -> dict[str, float]:
    """Losses that are not finite."""
    return {name: value for name, value in numbers.items() if 'loss' in name and not math.isfinite(value)}


def _by_scan(features: PointFeatures, points: list[Tensor], embed: Callable | None = None) -> list[Tensor]:
    """Features or embeddings of all points, one tensor for each scan."""
    lengths = [len(cloud) for cloud in points]
    return list(features.at(torch.arange(sum(lengths), device=points[0].device), embed).split(lengths))


def _image_size(inputs: dict, data_samples: list | None) -> tuple[int, int] | None:
    """(H, W) of the images that the pairs refer to."""
    if 'images' in inputs:
        return tuple(inputs['images'].shape[-2:])
    if 'teacher_maps' in inputs:
        return tuple(data_samples[0].metainfo['teacher_features']['image_size'])
    return None


def _point_labels(data_samples: list | None, num_points: int) -> Tensor | None:
    """Classes int64 (N,) of the concatenated clouds; None unless all samples have them."""
    if not data_samples or not all('gt_pts_seg' in sample for sample in data_samples):
        return None
    labels = torch.cat([sample.gt_pts_seg.pts_semantic_mask for sample in data_samples]).long()
    return labels if len(labels) == num_points else None


def _label_classes(data_samples: list | None) -> int | None:
    """Number of weak label classes, on which all samples with labels must agree."""
    found = {s.metainfo['label_classes'] for s in data_samples or [] if 'label_classes' in s.metainfo}
    if len(found) > 1:
        raise ConfigError(
            f'a batch has label maps of {" and of ".join(map(str, sorted(found)))} classes: give all datasets of the '
            'mix maps of the same classes (maps.labels)'
        )
    return found.pop() if found else None


def _map_ids(data_samples: list | None) -> dict[str, int]:
    """Number of ids of each map, the largest of all samples."""
    ids = {}
    for sample in data_samples or []:
        for name, count in sample.metainfo.get('map_ids', {}).items():
            ids[name] = max(count, ids.get(name, 0))
    return ids


def _data_counts(data_samples: list | None) -> dict[str, Tensor]:
    """What is counted of the batch, each if it is counted at all.

    `data/skipped`: how many samples the pipelines rejected before those of the batch; `data/dropped_points`: how many
    points were left out because they are not finite.
    """
    counts = {}
    for name in ('skipped', 'dropped_points'):
        found = [sample.metainfo[name] for sample in data_samples or [] if name in sample.metainfo]
        if found:
            counts[f'data/{name}'] = torch.tensor(float(sum(found)))
    return counts

"""Zero-shot segmentation: points are compared with texts."""

import torch
from mmdet3d.structures import PointData
from mmengine.logging import print_log
from mmengine.runner import ValLoop, autocast
from torch import Tensor, nn

from peridot.errors import ConfigError, DataError
from peridot.models.batch import EncodedBatch
from peridot.registry import LOOPS
from peridot.text.embeddings import TextEmbeddings
from peridot.weights import unwrap

PROTOCOLS = {
    'student': 'student, all points',
    'teacher': 'image network at the pixels, points that a camera sees',
    'student_visible': 'student, points that a camera sees',
}


@LOOPS.register_module()
class ZeroShotLoop(ValLoop):
    """Validation loop of pre-training with a text-aligned teacher: names the class of every point by its text.

    The score of a class is the highest cosine of the point's embedding and one of the class's words; the class with
    the highest score is predicted, without a threshold. Three protocols are evaluated:

    - `student`: the student's embedding of every original point;
    - `teacher`: the teacher's features at the pixels of a point, mean of their unit vectors; only points within the
      student's range that a camera sees;
    - `student_visible`: the student on those points alone.

    The last two need a pipeline with images (or teacher maps) and pairs, such as `picture_dataset`. All points are
    evaluated against the labels that the pipeline loads.

    Args:
        evaluator: Config of `peridot.PointSegMetric`. Its prefix, 'zero_shot' by default, is followed by the protocol,
            e.g. `zero_shot/teacher/miou`.
        embeddings: File that `tools/embed_text.py` wrote; its classes are those of the dataset, in its order.
        head: Name of the head that maps the student into the teacher's space.

    Raises:
        DataError: The embeddings are missing or of other classes, or a scan has no labels.
        ConfigError: The model has no such head, or the texts have another dimension than its embeddings.
    """

    def __init__(
        self, runner, dataloader, evaluator, embeddings: str, head: str = 'distill', fp16: bool = False
    ) -> None:
        super().__init__(runner, dataloader, _with_protocol(evaluator, 'student'), fp16)
        meta = self.dataloader.dataset.metainfo
        self.evaluators = {'student': self.evaluator}
        for protocol in ('teacher', 'student_visible'):
            self.evaluators[protocol] = runner.build_evaluator(_with_protocol(evaluator, protocol))
            self.evaluators[protocol].dataset_meta = meta
        self.ignore_index = meta['ignore_index']
        texts = TextEmbeddings.load(embeddings)
        texts.check_classes(meta['classes'], embeddings)
        self.model = unwrap(runner.model)
        check_head(self.model, head, texts, embeddings)
        self.head = head
        self.texts = texts.to(next(self.model.student.parameters()).device)

    @torch.no_grad()
    def run(self) -> dict:
        """Predict and evaluate; returns the metrics of all protocols."""
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        self.runner.model.eval()
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        metrics = {}
        for protocol, evaluator in self.evaluators.items():
            if any(metric.results for metric in evaluator.metrics):
                print_log(f'zero-shot: {PROTOCOLS[protocol]}', 'current')
                metrics.update(evaluator.evaluate(len(self.dataloader.dataset)))
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Predict one batch by all protocols that it has the inputs for."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        data = self.model.data_preprocessor(data_batch, False)
        inputs, samples = data['inputs'], data['data_samples']
        with autocast(enabled=self.fp16):
            self._evaluate(inputs, samples)
        self.runner.call_hook('after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=samples)

    def _evaluate(self, inputs: dict, samples: list) -> None:
        points, batch = inputs['points'], self.model.encode(inputs, samples)
        rows = torch.arange(len(batch.points), device=batch.device)
        predicted = self.texts.scores(batch.embed_points(self.head, rows)).argmax(1)
        self._process('student', predicted, torch.ones_like(rows, dtype=torch.bool), points, samples)
        if 'images' in inputs or 'teacher_maps' in inputs:
            visible, features = self._at_pixels(batch)
            of_teacher = self.texts.scores(features).argmax(1)
            self._process('teacher', of_teacher, visible, points, samples)
            self._process('student_visible', predicted, visible, points, samples)

    def _at_pixels(self, batch: EncodedBatch) -> tuple[Tensor, Tensor]:
        """Whether a camera sees each point, bool (N,), and sums (N, F) of the teacher's unit features at its pixels."""
        visible = torch.zeros(len(batch.points), dtype=torch.bool, device=batch.device)
        sums = self.texts.vectors.new_zeros(len(visible), self.texts.vectors.shape[1])
        if batch.num_pairs:
            every = torch.arange(batch.num_pairs, device=batch.device)
            sums.index_add_(0, batch.pairs.point, batch.embed_teacher(self.head, every))
            visible[batch.pairs.point] = True
        return visible, sums

    def _process(
        self, protocol: str, predicted: Tensor, evaluated: Tensor, points: list[Tensor], samples: list
    ) -> None:
        """Hand the predictions (N,) of a batch to the protocol's evaluator."""
        lengths = [len(cloud) for cloud in points]
        for sample, labels, rows in zip(samples, predicted.split(lengths), evaluated.split(lengths)):
            if 'gt_pts_seg' not in sample:
                raise DataError(
                    f'sample {sample.metainfo.get("token")} has no point labels to compare with: add '
                    "dict(type='peridot.LoadPointLabels') to the pipeline of val_dataloader.dataset"
                )
            truth = torch.where(rows, sample.gt_pts_seg.pts_semantic_mask.to(rows.device), self.ignore_index)
            sample.pred_pts_seg = PointData(pts_semantic_mask=labels)
            sample.eval_ann_info = dict(pts_semantic_mask=truth.cpu().numpy())
        self.evaluators[protocol].process(data_samples=samples, data_batch=None)


@torch.no_grad()
def check_head(model: nn.Module, head: str, texts: TextEmbeddings, source: str) -> None:
    """Refuse models whose points cannot be compared with texts.

    Args:
        model: A `peridot.Pretrainer`.
        head: Name of its head.
        texts: The texts that points should be compared with.
        source: Where they come from, named in the error.

    Raises:
        ConfigError: The model has no such head, or it maps into a space of another dimension.
    """
    heads = getattr(model, 'heads', {})
    if head not in heads:
        raise ConfigError(
            f'{type(model).__name__} has no head {head!r} ({_heads_of(model)}): texts need pre-training with '
            'peridot.DistillationHead and a text-aligned teacher (configs/_base_/methods/scalr_clip.py)'
        )
    device = next(model.student.parameters()).device
    channels = heads[head].embed_student(torch.zeros(1, model.student.out_channels, device=device)).shape[1]
    if channels != texts.vectors.shape[1]:
        raise ConfigError(
            f'texts of {source} have dimension {texts.vectors.shape[1]}, embeddings of head {head!r} {channels}: embed '
            'the texts with the CLIP whose image network is model.teacher'
        )


def _heads_of(model: nn.Module) -> str:
    return f'it has {", ".join(getattr(model, "heads", {})) or "none"}'


def _with_protocol(evaluator: dict | list[dict], protocol: str) -> list[dict]:
    metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    return [{**metric, 'prefix': f'{metric.get("prefix", "zero_shot")}/{protocol}'} for metric in metrics]

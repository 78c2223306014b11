"""Zero-shot segmentation with a student and an image network of one layer: milliseconds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample, PointData
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from peridot.errors import ConfigError, DataError
from peridot.evaluation import ZeroShotLoop, confusion_matrix
from peridot.models.functional import read_at
from peridot.models.students import VoxelFeatures
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs
from peridot.text.embeddings import TextEmbeddings
from torch import nn
from torch.utils.data import DataLoader, Dataset

CLASSES, IGNORE = ('car', 'road', 'tree'), 3
WORDS = {'car': ('sedan', 'van'), 'road': ('street',), 'tree': ('tree', 'bush', 'hedge')}
HEIGHT, WIDTH, CHANNELS = 16, 24, 8


@MODELS.register_module()
class ZeroShotStudent(nn.Module):
    out_channels = 12

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(4, 12)

    def forward(self, points):
        flat = torch.cat(points)
        return VoxelFeatures(self.backbone(flat).tanh(), torch.arange(len(flat)))


@MODELS.register_module()
class ZeroShotTeacher(nn.Module):
    out_channels, align_corners = CHANNELS, True

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, CHANNELS, 4, 4).requires_grad_(False)

    @torch.no_grad()
    def forward(self, images):
        return self.conv(images.float() / 255 - 0.5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='peridot.Pretrainer',
            student=dict(type='peridot.ZeroShotStudent'),
            teacher=dict(type='peridot.ZeroShotTeacher'),
            heads=dict(distill=dict(type='peridot.DistillationHead'), other=dict(channels=5)),
            objectives=dict(
                distance=dict(type='peridot.FeatureDistance'),
                infonce=dict(type='peridot.PointPixelInfoNCE', head='other'),
            ),
        )
    )


@pytest.fixture
def texts(tmp_path):
    vectors = torch.nn.functional.normalize(torch.randn(6, CHANNELS, generator=torch.Generator().manual_seed(1)), dim=1)
    TextEmbeddings(WORDS, vectors, ('a {}.',), 'model').save(tmp_path / 'text.safetensors')
    return tmp_path / 'text.safetensors'


def sample(seed: int, num_points: int, num_pairs: int, cameras: int = 2) -> dict:
    g = torch.Generator().manual_seed(seed)
    pairs = Pairs(
        # some points are seen twice, the last ten by no camera
        point=torch.randint(num_points - 10, (num_pairs,), generator=g),
        camera=torch.randint(max(cameras, 1), (num_pairs,), generator=g).sort().values,
        position=torch.rand(num_pairs, 2, generator=g) * torch.tensor([HEIGHT - 1.0, WIDTH - 1.0]),
    )
    points = torch.rand(num_points, 4, generator=g) * 20 - 10
    inputs = dict(points=points, pairs=pairs, frames=Frames.single(num_points, cameras))
    if cameras:
        inputs['images'] = torch.randint(256, (cameras, 3, HEIGHT, WIDTH), generator=g, dtype=torch.uint8)
    labels = torch.randint(IGNORE + 1, (num_points,), generator=g)
    return dict(
        inputs=inputs,
        data_samples=Det3DDataSample(metainfo=dict(token=f't{seed}'), gt_pts_seg=PointData(pts_semantic_mask=labels)),
    )


class Samples(Dataset):
    def __init__(self, samples, classes=CLASSES):
        self.samples, self.metainfo = samples, dict(classes=classes, ignore_index=IGNORE)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def loop(model, samples, texts, **settings):
    runner = SimpleNamespace(
        model=model,
        call_hook=lambda *args, **kwargs: None,
        visualizer=SimpleNamespace(),
        build_evaluator=lambda evaluator: Runner.build_evaluator(None, evaluator),
    )
    data = samples if isinstance(samples, Samples) else Samples(samples)
    loader = DataLoader(data, batch_size=2, collate_fn=pseudo_collate)
    return ZeroShotLoop(runner, loader, dict(type='peridot.PointSegMetric'), str(texts), **settings)


def unit(vector):
    return vector / vector.norm()


def class_of(vector, texts) -> int:
    """Class of a feature, word by word."""
    best, row = [], 0
    for words in WORDS.values():
        best.append(max(float(unit(vector) @ texts.vectors[row + i]) for i in range(len(words))))
        row += len(words)
    return int(np.argmax(best))


@torch.no_grad()
def by_hand(model, samples, texts):
    """Confusion matrices of the three protocols, point by point."""
    texts = TextEmbeddings.load(texts)
    matrices = dict.fromkeys(('student', 'teacher', 'student_visible'), 0)
    for content in samples:
        inputs, truth = content['inputs'], content['data_samples'].gt_pts_seg.pts_semantic_mask.numpy()
        features = model.heads['distill'].student(model.student.backbone(inputs['points']).tanh())
        student = np.array([class_of(feature, texts) for feature in features])
        matrices['student'] += confusion_matrix(truth, student, 3, IGNORE)
        feature_map, pairs = model.teacher(inputs['images']), inputs['pairs']
        read = read_at(feature_map, pairs.camera, pairs.position, (HEIGHT, WIDTH), True)
        for point in pairs.point.unique().tolist():
            mean = sum(unit(read[row]) for row in (pairs.point == point).nonzero()[:, 0])
            teacher = np.array([class_of(mean, texts)])
            matrices['teacher'] += confusion_matrix(truth[[point]], teacher, 3, IGNORE)
            matrices['student_visible'] += confusion_matrix(truth[[point]], student[[point]], 3, IGNORE)
    return matrices


def miou(matrix):
    hits = np.diag(matrix)
    return float(np.mean(hits / (matrix.sum(1) + matrix[:, :3].sum(0) - hits)))


def test_three_protocols_equal_those_by_hand(model, texts):
    samples = [sample(0, 60, 120), sample(1, 40, 80), sample(2, 50, 30)]
    found = loop(model, samples, texts).run()
    expected = by_hand(model, samples, texts)
    for protocol, matrix in expected.items():
        assert found[f'zero_shot/{protocol}/miou'] == pytest.approx(miou(matrix), abs=1e-6), protocol
        assert found[f'zero_shot/{protocol}/acc'] == pytest.approx(np.diag(matrix).sum() / matrix.sum(), abs=1e-6)
    assert len({found[f'zero_shot/{protocol}/miou'] for protocol in expected}) == 3


def test_student_that_equals_the_texts_is_right_everywhere(model, texts):
    """Points whose embedding is a word of their class."""
    vectors = TextEmbeddings.load(texts).vectors
    content, owner = sample(0, 60, 50), torch.tensor([0, 0, 1, 2, 2, 2])
    word = torch.arange(60) % 6
    content['data_samples'].gt_pts_seg.pts_semantic_mask = owner[word]
    model.student.forward = lambda points: VoxelFeatures(vectors[word], torch.arange(60))
    model.student.out_channels = CHANNELS
    model.heads['distill'].student = nn.Identity()
    found = loop(model, [content], texts).run()
    assert found['zero_shot/student/miou'] == found['zero_shot/student_visible/miou'] == 1
    assert found['zero_shot/teacher/miou'] < 0.9


def test_without_images_the_student_is_read_alone(model, texts):
    found = loop(model, [sample(0, 60, 50, cameras=0)], texts).run()
    assert {name.rsplit('/', 1)[0] for name in found} == {'zero_shot/student'}


def test_scan_that_no_camera_sees(model, texts):
    found = loop(model, [sample(0, 60, 50), sample(1, 30, 0)], texts).run()
    assert 0 <= found['zero_shot/teacher/miou'] <= 1


def test_missing_labels_name_the_sample(model, texts):
    content = sample(7, 30, 10)
    del content['data_samples'].gt_pts_seg
    with pytest.raises(DataError, match=r'sample t7 has no point labels .*peridot\.LoadPointLabels'):
        loop(model, [content], texts).run()


def test_misfits_are_found_before_training(model, texts, tmp_path):
    with pytest.raises(DataError, match=r"class 1 of .* is 'road', that of the dataset 'tree'"):
        loop(model, Samples([], ('car', 'tree', 'road')), texts)
    with pytest.raises(ConfigError, match=r"has no head 'semantic' \(it has distill, other\)"):
        loop(model, [], texts, head='semantic')
    with pytest.raises(ConfigError, match="have dimension 8, embeddings of head 'other' 5"):
        loop(model, [], texts, head='other')
    with pytest.raises(DataError, match=r'do not exist: make it with `python tools/embed_text\.py'):
        loop(model, [], tmp_path / 'absent.safetensors')

"""Heads that read layers of student and teacher (HilDA): values against loops, widths, and what is refused."""

import copy
from functools import partial

import pytest
import tiny  # noqa: F401 (registers student and teacher)
import torch
import torch.nn.functional as F
from mmdet3d.structures import Det3DDataSample
from mmengine.dataset import pseudo_collate
from peridot.errors import ConfigError
from peridot.models.objectives import FeatureDistance
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs
from peridot.visualization.spaces import joint_heads

LAYER = dict(type='peridot.FeatureDistance', distance='cosine', mean_over='images', loss_weight=0.5)
DISTILL = dict(type='peridot.DistillationHead', hidden_channels=7)
HEADS = dict(
    last=DISTILL,
    before=dict(DISTILL, student_layer='early', teacher_layer=-2),
    scene=dict(DISTILL, teacher_layer='class_token', normalize=False),
)
OBJECTIVES = dict(
    last=dict(LAYER, head='last'),
    before=dict(LAYER, head='before'),
    scene=dict(type='peridot.SceneToken', head='scene'),
)


def build(heads=HEADS, objectives=OBJECTIVES, **settings):
    torch.manual_seed(0)
    parts = dict(student=dict(type='peridot.PointwiseStudent'), teacher=dict(type='peridot.TinyTeacher')) | settings
    return MODELS.build(copy.deepcopy(dict(type='peridot.Pretrainer', **parts, heads=heads, objectives=objectives)))


def data(counts=((10, 0, 30), (0, 25, 1)), size=(16, 24)):
    """Samples with so many pairs in every image."""
    g, samples = torch.Generator().manual_seed(0), []
    for own in counts:
        camera = torch.cat([torch.full((n,), v) for v, n in enumerate(own)])
        pairs = Pairs(
            point=torch.randint(50, (len(camera),), generator=g),
            camera=camera,
            # pixel centers
            position=(torch.rand(len(camera), 2, generator=g) * torch.tensor(size)).floor(),
        )
        inputs = dict(
            points=torch.randn(50, 4, generator=g),
            pairs=pairs,
            frames=Frames.single(50, len(own)),
            images=torch.randint(256, (len(own), 3, *size), generator=g, dtype=torch.uint8),
        )
        samples.append(dict(inputs=inputs, data_samples=Det3DDataSample(metainfo=dict(token='a'))))
    return samples


def test_losses_of_layers_are_means_over_images_of_a_loop():
    model = build()
    batch = model.data_preprocessor(pseudo_collate(data()), True)
    inputs = batch['inputs']
    results = model(**batch, mode='loss')
    assert model.student.calls == model.teacher.calls == 1
    flat = torch.cat(inputs['points'])
    maps = model.teacher.conv(inputs['images'].float() / 255)
    dense = F.interpolate(maps, (16, 24), mode='bilinear', align_corners=True)
    layers = {'last': (model.student.backbone(flat).tanh(), dense), 'before': (flat, dense[:, :5])}
    for name, (features, pixels) in layers.items():
        of_images = []
        for image in range(len(pixels)):
            terms = []
            for point, camera, (row, column) in zip(*(inputs['pairs'][k] for k in ('point', 'camera', 'position'))):
                if camera == image:
                    u = model.heads[name].student(features[point])
                    terms.append(1 - F.cosine_similarity(u, pixels[image, :, int(row), int(column)], dim=0))
            of_images += [sum(terms) / len(terms)] if terms else []
        assert len(of_images) == 4
        torch.testing.assert_close(results[f'{name}/loss'], 0.5 * sum(of_images) / 4, rtol=1e-4, atol=1e-6)
    sum(value for name, value in results.items() if 'loss' in name).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters() if p.requires_grad)


def test_without_pairs_nobody_asks_the_teacher_for_their_images():
    model = build(
        heads={name: HEADS[name] for name in ('last', 'before')},
        objectives={name: OBJECTIVES[name] for name in ('last', 'before')},
    )
    results = model(**model.data_preprocessor(pseudo_collate(data([(0, 0, 0)])), True), mode='loss')
    assert results['last/loss'] == results['before/loss'] == 0 and model.teacher.calls == 0


def test_heads_are_as_wide_as_their_layers():
    heads = build().heads
    assert (heads.last.student[0].in_features, heads.last.channels) == (12, 8)
    assert (heads.before.student[0].in_features, heads.before.channels) == (4, 5)
    assert (heads.scene.student[0].in_features, heads.scene.channels) == (12, 8)


def test_embeddings_of_a_head_are_those_of_its_layer():
    model, points = build(), [torch.randn(5, 4), torch.randn(3, 4)]
    found = model.embed_points(points, 'before')
    expected = F.normalize(model.heads.before.student(torch.cat(points)), dim=1)
    torch.testing.assert_close(torch.cat(found), expected)


def test_without_named_layers_nobody_is_asked_for_them(monkeypatch):
    model = build(heads=dict(last=DISTILL), objectives=dict(last=OBJECTIVES['last']))
    for part in (model.student, model.teacher):
        # an argument more would be an error
        monkeypatch.setattr(part, 'forward', partial(lambda forward, x: forward(x), part.forward))
    assert model(**model.data_preprocessor(pseudo_collate(data()), True), mode='loss')['last/loss'] > 0
    assert model.student.calls == model.teacher.calls == 1


@pytest.mark.parametrize(
    'change, match',
    [
        (dict(student_layer='late'), r"heads.before.student_layer='late': PointwiseStudent gives 'early'"),
        (dict(teacher_layer=-3), r"heads.before.teacher_layer=-3: TinyTeacher gives -2, 'class_token'"),
    ],
)
def test_layers_that_are_not_there(change, match):
    with pytest.raises(ConfigError, match=match):
        build(heads=dict(HEADS, before=dict(HEADS['before'], **change)))


def test_stored_features_have_no_layers():
    stored = dict(type='peridot.StoredTeacher', teacher=dict(type='peridot.TimmTeacher'), out_channels=8)
    with pytest.raises(ConfigError, match=r'StoredTeacher gives no layers.*stored features have neither'):
        build(teacher=stored)
    model, samples = build(), data()
    for sample in samples:
        sample['inputs']['teacher_maps'] = torch.zeros(3, 8, 4, 6)
        del sample['inputs']['images']
        sample['data_samples'].set_metainfo(dict(teacher_features=dict(folder='maps', image_size=(16, 24))))
    with pytest.raises(ConfigError, match=r'maps in maps are of one layer.*take maps\.teacher_features'):
        model(**model.data_preprocessor(pseudo_collate(samples), True), mode='loss')


def test_class_tokens_are_no_pixels():
    with pytest.raises(ConfigError, match=r'model\.heads\.scene reads the class tokens.*use peridot\.SceneToken'):
        model = build(objectives=dict(OBJECTIVES, scene=dict(LAYER, head='scene')))
        model(**model.data_preprocessor(pseudo_collate(data()), True), mode='loss')


def test_figures_compare_points_with_maps_alone():
    assert joint_heads(build()) == ['last', 'before']


def test_occupancy_reads_no_stage():
    heads = dict(latent=dict(type='peridot.LatentHead', channels=8, student_layer='early'))
    with pytest.raises(ConfigError, match="objective 'o' reads the student's own features: take student_layer"):
        build(heads=heads, objectives=dict(o=dict(type='peridot.OccupancyReconstruction', head='latent')))


def test_another_mean_is_refused():
    with pytest.raises(ConfigError, match="mean_over='cameras', choose from points, images"):
        FeatureDistance(mean_over='cameras')

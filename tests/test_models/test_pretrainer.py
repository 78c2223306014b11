"""The pre-trainer with a pointwise student and a tiny image network: no sparse convolution, milliseconds."""

import copy

import pytest
import tiny  # noqa: F401 (registers student and teacher)
import torch
from mmdet3d.structures import Det3DDataSample
from peridot.errors import ConfigError, PeridotError
from peridot.models import pretrainer
from peridot.models.students import VoxelFeatures
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs
from torch import nn
from torch.testing import assert_close

HEIGHT, WIDTH, CAMERAS, CLASSES = 16, 24, 2, 5


def config(**settings):
    objectives = dict(
        infonce=dict(type='peridot.PointPixelInfoNCE', head='instance', loss_weight=0.5, **settings),
        weak=dict(type='peridot.WeaklySupervisedContrast', head='semantic', loss_weight=0.5, **settings),
        vmf=dict(
            type='peridot.VMFConsistency',
            head='semantic',
            num_classes=CLASSES,
            warmup_steps=1,
            momentum=0.5,
        ),
    )
    return dict(
        type='peridot.Pretrainer',
        student=dict(type='peridot.PointwiseStudent'),
        teacher=dict(type='peridot.TinyTeacher'),
        heads=dict(instance=dict(channels=6), semantic=dict(channels=6)),
        objectives=objectives,
    )


def build(**settings):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(config(**settings)))


def sample(seed: int, num_pairs: int, num_points: int = 40) -> dict:
    generator = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    pairs = Pairs(
        point=torch.randint(num_points, (num_pairs,), generator=generator),
        camera=torch.randint(CAMERAS, (num_pairs,), generator=generator).sort().values,
        position=rand(num_pairs, 2) * torch.tensor([HEIGHT - 1.0, WIDTH - 1.0]),
        label=torch.randint(CLASSES, (num_pairs,), generator=generator),
    )
    images = torch.randint(256, (CAMERAS, 3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
    points = rand(num_points, 4) * 20 - 10
    inputs = dict(points=points, images=images, pairs=pairs, frames=Frames.single(num_points, CAMERAS))
    return dict(
        inputs=inputs,
        data_samples=Det3DDataSample(metainfo=dict(token=f'token{seed}', label_classes=CLASSES)),
    )


def batch(samples: list[dict]) -> dict:
    return dict(
        inputs={key: [s['inputs'][key] for s in samples] for key in samples[0]['inputs']},
        data_samples=[s['data_samples'] for s in samples],
    )


def losses(model, samples):
    data = model.data_preprocessor(batch(samples), True)
    return model(**data, mode='loss')


def total(results):
    return sum(v for k, v in results.items() if 'loss' in k)


def test_losses_of_all_objectives_reach_student_and_heads():
    model = build()
    samples = [sample(0, 60), sample(1, 50)]
    losses(model, samples)
    results = losses(model, samples)
    assert {k.split('/')[0] for k in results if 'loss' in k} == {'infonce', 'weak', 'vmf'}
    assert all(v > 0 for k, v in results.items() if 'loss' in k and 'vmf' not in k)
    total(results).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == parameter.requires_grad, name
    assert int(model.iteration) == 2


def test_teacher_runs_once_a_step():
    model = build()
    losses(model, [sample(0, 30)])
    assert model.teacher.calls == 1


def test_pixels_belong_to_their_own_image_and_cloud():
    """Moving the second scan's pairs to other cameras or points must change its loss."""
    model = build()
    samples = [sample(0, 60), sample(1, 60)]
    before = losses(model, samples)['infonce/loss']
    samples[1]['inputs']['pairs'] = samples[1]['inputs']['pairs'].replace(
        camera=1 - samples[1]['inputs']['pairs'].camera
    )
    assert abs(losses(model, samples)['infonce/loss'] - before) > 1e-4


ALONE = dict(
    superpixel=dict(type='peridot.SuperpixelInfoNCE', head='instance'),
    distance=dict(type='peridot.FeatureDistance', head='instance'),
)


@pytest.mark.parametrize('num_pairs', [0, 1])
@pytest.mark.parametrize('name', ['all of OLIVINE', *ALONE])
def test_few_pairs_keep_all_gradients(name, num_pairs):
    settings = config()
    if name in ALONE:
        settings |= dict(heads=dict(instance=dict(channels=6)), objectives={name: ALONE[name]})
    model = MODELS.build(settings)
    one = sample(0, num_pairs)
    one['data_samples'].set_metainfo(dict(map_ids=dict(superpixels=3)))
    data = batch([one])
    data['inputs']['maps'] = dict(superpixels=[torch.zeros(CAMERAS, HEIGHT, WIDTH, dtype=torch.int64)])
    results = model(**model.data_preprocessor(data, True), mode='loss')
    total(results).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert total(results).isfinite()


def test_same_seed_and_step_draw_the_same_pairs():
    first, second = build(num_pairs=20), build(num_pairs=20)
    samples = [sample(0, 200)]
    a = [float(total(losses(first, samples))) for _ in range(3)]
    b = [float(total(losses(second, samples))) for _ in range(3)]
    assert a == b
    second.iteration.set(0)
    c = float(losses(second, samples)['infonce/loss'])
    assert c == pytest.approx(float(losses(build(num_pairs=20), samples)['infonce/loss']))
    assert len(set(a)) == 3


def with_statistics(statistics, student='peridot.PointwiseStudent'):
    settings = config()
    settings['student'] = dict(type=student)
    torch.manual_seed(0)
    return MODELS.build(dict(settings, batch_statistics=statistics))


class NormalizedStudent(nn.Module):
    """Batch normalization of what a point is, and half of the points outside of the range."""

    out_channels = 4

    def __init__(self):
        super().__init__()
        self.backbone = nn.BatchNorm1d(4)

    def forward(self, points):
        flat = torch.cat(points)
        features = VoxelFeatures(self.backbone(flat), torch.arange(len(flat)))
        features.inside = flat[:, 0] > 0
        return features


def in_frames(one: dict, sizes=(10, 25, 5), numbers=(0, 2, 1)) -> dict:
    """The sample with its points divided among frames."""
    images = [CAMERAS, *(0 for _ in sizes[1:])]
    parts = [Frames.single(*counts, number) for *counts, number in zip(sizes, images, numbers)]
    return {**one, 'inputs': {**one['inputs'], 'frames': Frames.cat(parts)}}


def test_separate_statistics_are_those_of_separate_calls():
    samples = [in_frames(sample(0, 60)), in_frames(sample(1, 60), numbers=(0, 1, 3))]
    models = [with_statistics(kind, NormalizedStudent) for kind in ('separate', 'joint')]
    data = [model.data_preprocessor(batch(samples), True) for model in models]
    separate, joint = (model.encode(one['inputs'], one['data_samples']) for model, one in zip(models, data))
    twin, points = with_statistics('joint', NormalizedStudent).student, data[0]['inputs']['points']
    expected = [None] * 6
    # scans of a frame together, frames in the order of their numbers
    for scans in ([0, 3], [2, 4], [1], [5]):
        found = twin([points[scan] for scan in scans])
        parts = found.features.split([len(points[scan]) for scan in scans])
        for scan, part in zip(scans, parts):
            expected[scan] = part
    expected, rows = torch.cat(expected), torch.randperm(80)
    assert_close(separate.student.at(rows), expected[rows])
    assert_close(separate.student.at(rows, lambda x: x @ x.new_ones(4, 2)), expected[rows] @ torch.ones(4, 2))
    with pytest.raises(ConfigError, match="gives no voxels to BEVCellContrast: set 'joint'"):
        separate.student.units()
    assert len(separate.student.at(rows[:0])) == 0
    assert_close(dict(models[0].student.named_buffers()), dict(twin.named_buffers()))
    assert int(twin.backbone.num_batches_tracked) == 4 and int(models[1].student.backbone.num_batches_tracked) == 1
    assert (separate.student.at(rows) - joint.student.at(rows)).abs().max() > 0.1
    assert (separate.student.inside == (separate.points[:, 0] > 0)).all()
    assert (separate.pairs.point == joint.pairs.point).all()


def test_separate_statistics_of_one_frame_are_joint_ones():
    joint, separate = with_statistics('joint'), with_statistics('separate')
    results = [losses(model, [sample(0, 60), sample(1, 50)]) for model in (joint, separate)]
    assert_close(*results, rtol=0, atol=0)
    for model in (joint, separate):
        total(losses(model, [in_frames(sample(0, 60))])).backward()
    assert_close(*([p.grad for p in model.parameters() if p.requires_grad] for model in (joint, separate)))
    with pytest.raises(ConfigError, match="choose 'joint' or 'separate'"):
        with_statistics('both')


def test_processes_that_share_statistics_need_the_same_frames(monkeypatch):
    model = with_statistics('separate', NormalizedStudent)
    model.student = nn.SyncBatchNorm.convert_sync_batchnorm(model.student)
    monkeypatch.setattr(pretrainer, 'sizes_of_processes', lambda number, device: [number, number + 1])
    with pytest.raises(ConfigError, match="set missing='repeat'"):
        losses(model, [sample(0, 60)])


@pytest.mark.parametrize('warmup, steps', [(None, 14), (30, 28)])
def test_counters_follow_epochs_of_another_length(warmup, steps):
    """A share of the training is one of epochs; a number of steps remains one of steps made."""
    settings = config()
    settings['objectives']['vmf']['warmup_steps'] = warmup
    model = MODELS.build(settings)
    model.iteration.set(28)
    model.objectives.vmf.steps.set(28)
    model.rescale_steps(0.5)
    assert (int(model.iteration), int(model.objectives.vmf.steps)) == (14, steps)


def test_nan_loss_names_the_samples_and_spares_the_weights():
    model = build()
    bad = sample(7, 30)
    bad['inputs']['points'][:] = float('nan')
    with pytest.raises(PeridotError, match='token7'):
        losses(model, [sample(0, 30), bad])
    assert all(p.isfinite().all() for p in model.parameters())


def test_objective_without_its_head_is_refused():
    wrong = config()
    wrong['heads'].pop('semantic')
    with pytest.raises(ConfigError, match='semantic'):
        MODELS.build(wrong)


def test_wrong_number_of_label_classes_is_refused():
    model = build()
    wrong = sample(0, 30)
    wrong['data_samples'].set_metainfo(dict(label_classes=CLASSES + 1))
    with pytest.raises(ConfigError, match='num_classes'):
        losses(model, [wrong])


def test_a_head_without_objective_is_refused():
    wrong = config()
    wrong['heads']['spare'] = dict(channels=6)
    with pytest.raises(ConfigError, match=r"no objective uses the head 'spare': take it out of model\.heads"):
        MODELS.build(wrong)


def test_statistics_have_the_width_of_their_head():
    wide = config()
    wide['heads']['semantic'] = dict(channels=10)
    assert MODELS.build(wide).objectives['vmf'].average.shape == (CLASSES, 10)


def test_samples_with_label_maps_of_other_classes_are_refused():
    samples = [sample(0, 30), sample(1, 30)]
    samples[1]['data_samples'].set_metainfo(dict(label_classes=CLASSES + 1))
    with pytest.raises(ConfigError, match=r'label maps of 5 and of 6 classes.*maps\.labels'):
        losses(build(), samples)


def test_a_model_without_objective_is_refused():
    with pytest.raises(ConfigError, match=r'model\.objectives is empty'):
        MODELS.build(dict(config(), objectives={}, heads={}))

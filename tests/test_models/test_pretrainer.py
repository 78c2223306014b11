"""The pre-trainer with a pointwise student and a tiny image network: no sparse convolution, milliseconds."""

import copy

import pytest
import tiny  # noqa: F401 (registers student and teacher)
import torch
from mmdet3d.structures import Det3DDataSample
from peridot.errors import ConfigError, PeridotError
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs

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

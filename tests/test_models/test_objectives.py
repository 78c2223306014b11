import math

import pytest
import torch
import torch.nn.functional as F
from peridot.errors import ConfigError, DataError
from peridot.models.functional import density_category_weights, range_bins
from peridot.models.heads import ProjectionHead
from peridot.models.objectives import PointPixelInfoNCE, SuperpixelInfoNCE, VMFConsistency, WeaklySupervisedContrast
from peridot.models.step import StepContext
from peridot.models.students import VoxelFeatures
from peridot.registry import MODELS
from peridot.structures import Pairs
from scipy.special import iv
from torch import nn

DIM, STUDENT_DIM, TEACHER_DIM, CLASSES, SUPERPIXELS = 8, 6, 5, 4, 12


def make_step(num_pairs=40, seed=0, labels=None, label_classes=CLASSES, num_points=60):
    g = torch.Generator().manual_seed(seed)
    heads = nn.ModuleDict({name: ProjectionHead(STUDENT_DIM, TEACHER_DIM, DIM) for name in ('instance', 'semantic')})
    for parameter in heads.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=g) * 0.3)
    if labels is None:
        labels = torch.randint(0, CLASSES, (num_pairs,), generator=g)
    pairs = Pairs(
        point=torch.randint(0, num_points, (num_pairs,), generator=g),
        camera=torch.randint(0, 2, (num_pairs,), generator=g),
        position=torch.rand(num_pairs, 2, generator=g) * 31,
        label=labels,
    )
    feature_map = torch.randn(2, TEACHER_DIM, 4, 4, generator=g)
    return StepContext(
        points=torch.randn(num_points, 4, generator=g) * 20,
        student=VoxelFeatures(
            torch.randn(num_points, STUDENT_DIM, generator=g).requires_grad_(), torch.arange(num_points)
        ),
        pairs=pairs,
        heads=heads,
        teacher_map=lambda: feature_map,
        image_size=(32, 32),
        align_corners=True,
        generator=torch.Generator().manual_seed(seed + 1),
        label_classes=label_classes,
        maps={'superpixels': torch.randint(-1, SUPERPIXELS, (2, 32, 32), generator=g)},
        map_ids={'superpixels': SUPERPIXELS},
    )


def objectives():
    return [
        PointPixelInfoNCE(),
        SuperpixelInfoNCE(),
        WeaklySupervisedContrast(),
        WeaklySupervisedContrast(sampling='uniform', reduction='sup_out'),
        VMFConsistency(CLASSES, channels=DIM),
        VMFConsistency(CLASSES, channels=DIM, warmup_steps=0, freeze_after_warmup=False),
    ]


def all_rows(step):
    return torch.arange(step.num_pairs)


def test_registered_under_the_scope_of_the_project():
    assert isinstance(MODELS.build({'type': 'peridot.PointPixelInfoNCE'}), PointPixelInfoNCE)
    assert isinstance(MODELS.build({'type': 'peridot.SuperpixelInfoNCE'}), SuperpixelInfoNCE)
    assert isinstance(MODELS.build({'type': 'peridot.WeaklySupervisedContrast'}), WeaklySupervisedContrast)
    assert isinstance(MODELS.build({'type': 'peridot.VMFConsistency', 'num_classes': 3}), VMFConsistency)


@pytest.mark.parametrize('objective', objectives(), ids=lambda o: type(o).__name__)
def test_without_pairs_the_loss_is_zero_and_every_parameter_gets_a_gradient(objective):
    step = make_step(0)
    results = objective(step)
    assert results['loss'].item() == 0
    results['loss'].backward()
    assert all(p.grad is not None for p in step.heads.parameters())
    assert step.student.features.grad is not None


@pytest.mark.parametrize('objective', objectives()[2:], ids=lambda o: type(o).__name__)
def test_all_labels_ignored_gives_zero(objective):
    step = make_step(20, labels=torch.full((20,), 255))
    results = objective(step)
    assert results['loss'].item() == 0
    results['loss'].backward()


@pytest.mark.parametrize('objective', objectives(), ids=lambda o: type(o).__name__)
def test_only_the_loss_is_named_loss_and_all_values_are_finite_scalars(objective):
    results = objective(make_step())
    assert [key for key in results if 'loss' in key] == ['loss']
    for value in results.values():
        assert value.shape == ()
        assert value.is_floating_point()
        assert value.isfinite()


@pytest.mark.parametrize('objective', objectives()[2:], ids=lambda o: type(o).__name__)
def test_missing_labels_are_a_config_error(objective):
    step = make_step()
    del step.pairs.label
    with pytest.raises(ConfigError, match=r'make_weak_labels\.py'):
        objective(step)


@pytest.mark.parametrize('objective', objectives()[2:], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize('wrong', [-1, CLASSES, 254])
def test_label_outside_the_classes_is_a_data_error(objective, wrong):
    labels = torch.zeros(10, dtype=torch.int64)
    labels[3] = wrong
    with pytest.raises(DataError, match=rf'weak label {wrong} .* {CLASSES} classes'):
        objective(make_step(10, labels=labels))


def test_info_nce_over_all_pairs_equals_cross_entropy():
    step = make_step()
    results = PointPixelInfoNCE(temperature=0.2, loss_weight=0.5)(step)
    k, q = step.embed('instance', all_rows(step))
    logits = k @ q.T / 0.2
    expected = 0.5 * F.cross_entropy(logits, all_rows(step))
    assert results['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
    hits = (logits.argmax(1) == all_rows(step)).float().mean().item()
    assert results['accuracy'].item() == pytest.approx(hits)
    assert results['pairs'].item() == 40


def test_info_nce_draws_as_many_pairs_as_asked_and_repeats_with_the_generator():
    objective = PointPixelInfoNCE(num_pairs=16)
    first, again, other = (objective(make_step(seed=s)) for s in (0, 0, 1))
    assert first['pairs'].item() == 16
    assert first['loss'] == again['loss']
    assert first['loss'] != other['loss']


def test_weak_contrast_over_all_labeled_pairs_equals_definition():
    step = make_step(labels=torch.tensor([0, 1, 255, 3] * 10))
    results = WeaklySupervisedContrast(temperature=0.2)(step)
    rows = all_rows(step)[step.pairs.label != 255]
    labels = step.pairs.label[rows]
    k, q = step.embed('semantic', rows)
    exps = (k @ q.T / 0.2).exp()
    positive = labels[:, None] == labels
    expected = -((exps * positive).sum(1) / exps.sum(1)).log().mean()
    assert results['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
    assert results['pairs'].item() == 30
    assert results['classes'].item() == 3


def test_weak_contrast_draws_by_density_and_category():
    # class 1 is rare: one pair in fifty
    labels = (torch.arange(2000) % 50 == 0).long()
    step = make_step(2000, labels=labels, num_points=500)
    objective = WeaklySupervisedContrast(num_pairs=30)
    drawn = torch.cat([objective._draw(step, torch.arange(2000), labels) for _ in range(40)])
    weights = density_category_weights(range_bins(step.xyz(torch.arange(2000)), 0.1), labels)
    expected = (weights[labels == 1].sum() / weights.sum()).item()
    assert labels[drawn].float().mean().item() == pytest.approx(expected, abs=0.15)
    uniform = WeaklySupervisedContrast(num_pairs=30, sampling='uniform')
    drawn = torch.cat([uniform._draw(step, torch.arange(2000), labels) for _ in range(40)])
    assert labels[drawn].float().mean().item() == pytest.approx(0.02, abs=0.02)


@pytest.mark.parametrize('settings', [{'reduction': 'mean'}, {'sampling': 'random'}])
def test_weak_contrast_refuses_unknown_settings(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        WeaklySupervisedContrast(**settings)


class HandLoop:
    """The moving averages written out, class by class."""

    def __init__(self, momentum):
        self.momentum = momentum
        self.z = [torch.zeros(DIM, dtype=torch.float64) for _ in range(CLASSES)]

    def update(self, step):
        z = step.embed_student('semantic', all_rows(step)).detach().double()
        for c in range(CLASSES):
            own = z[step.pairs.label == c]
            if len(own):
                self.z[c] = self.momentum * self.z[c] + (1 - self.momentum) * own.mean(0)

    def loss(self, step):
        z = step.embed_student('semantic', all_rows(step)).double()
        losses = []
        for c in range(CLASSES):
            own = z[step.pairs.label == c]
            r = self.z[c].norm()
            if len(own) and r > 0:
                kappa = r * (DIM - r**2) / (1 - r**2)
                log_bessel = math.log(iv(DIM / 2 - 1, kappa.item()))
                log_c = (DIM / 2 - 1) * kappa.log() - DIM / 2 * math.log(2 * math.pi) - log_bessel
                losses.append((-log_c - kappa * (own @ (self.z[c] / r))).mean())
        return sum(losses) / len(losses)


def test_vmf_follows_a_hand_loop_through_warm_up_and_freeze():
    objective = VMFConsistency(CLASSES, channels=DIM, momentum=0.9, warmup_steps=5, loss_weight=2.0)
    hand = HandLoop(0.9)
    for seed in range(8):
        # class 3 is absent from every second batch
        step = make_step(seed=seed)
        if seed % 2:
            step.pairs.label[step.pairs.label == 3] = 0
        results = objective(step)
        if seed < 5:
            hand.update(step)
            assert results['loss'].item() == 0
        else:
            assert results['loss'].item() == pytest.approx(2 * hand.loss(step).item(), abs=2e-3, rel=1e-3)
        torch.testing.assert_close(objective.average.double(), torch.stack(hand.z), atol=1e-6, rtol=0)
    assert objective.updates.tolist() == [5, 5, 5, 3]
    assert objective.steps.item() == 8


def test_vmf_gradient_is_minus_kappa_mu_over_the_size_of_the_class():
    objective = VMFConsistency(CLASSES, channels=DIM, momentum=0.5, warmup_steps=1)
    step = make_step()
    objective(step)
    mean, kappa, _ = objective.distributions()
    z = step.embed_student('semantic', all_rows(step)).detach().requires_grad_()
    step.embed_student = lambda head, index: z[index]
    objective(step)['loss'].backward()
    labels = step.pairs.label
    counts = torch.bincount(labels, minlength=CLASSES)[labels, None]
    expected = -kappa[labels, None] * mean[labels] / counts / CLASSES
    torch.testing.assert_close(z.grad, expected)


def test_vmf_moves_on_when_not_frozen():
    objective = VMFConsistency(CLASSES, channels=DIM, momentum=0.9, warmup_steps=2, freeze_after_warmup=False)
    hand = HandLoop(0.9)
    for seed in range(5):
        step = make_step(seed=seed)
        objective(step)
        hand.update(step)
    torch.testing.assert_close(objective.average.double(), torch.stack(hand.z), atol=1e-6, rtol=0)


def test_vmf_average_without_correction_reaches_63_percent():
    # published settings shortened: momentum 1 - 1/n over n steps
    objective = VMFConsistency(CLASSES, channels=DIM, momentum=0.99, warmup_steps=100)
    step = make_step()
    for _ in range(100):
        objective(step)
    z = step.embed_student('semantic', all_rows(step)).detach()
    for c in range(CLASSES):
        mean = z[step.pairs.label == c].mean(0)
        torch.testing.assert_close(objective.average[c], (1 - 0.99**100) * mean, atol=1e-5, rtol=0)
    assert pytest.approx(0.634, abs=1e-3) == 1 - 0.99**100


def test_vmf_bias_correction_recovers_the_mean_from_the_first_step():
    objective = VMFConsistency(CLASSES, channels=DIM, bias_correction=True, max_concentration=1e6)
    step = make_step()
    objective(step)
    mean, kappa, known = objective.distributions()
    z = step.embed_student('semantic', all_rows(step)).detach()
    for c in range(CLASSES):
        r = z[step.pairs.label == c].mean(0).norm().item()
        assert kappa[c].item() == pytest.approx(r * (DIM - r**2) / (1 - r**2), rel=1e-3)
    assert known.all()
    torch.testing.assert_close(mean.norm(dim=1), torch.ones(CLASSES))


def test_vmf_concentration_is_limited():
    objective = VMFConsistency(CLASSES, channels=DIM, bias_correction=True, max_concentration=0.5)
    objective(make_step())
    assert objective.distributions()[1].tolist() == [0.5] * CLASSES


def test_vmf_class_first_seen_after_warm_up_takes_no_part():
    objective = VMFConsistency(CLASSES, channels=DIM, momentum=0.5, warmup_steps=1)
    labels = torch.arange(40) % 3
    objective(make_step(labels=labels))
    expected = objective(make_step(seed=1, labels=labels))
    new = labels.clone()
    new[::3] = 3  # class 0 becomes the unknown class 3
    step = make_step(seed=1, labels=new)
    results = objective(step)
    results['loss'].backward()
    assert expected['classes'].item() == 3
    assert results['classes'].item() == 2
    assert results['loss'].isfinite()
    assert step.student.features.grad.isfinite().all()
    alone = make_step(seed=1, labels=torch.full((40,), 3))
    assert objective(alone)['loss'].item() == 0


def test_vmf_does_not_learn_in_evaluation():
    objective = VMFConsistency(CLASSES, channels=DIM).eval()
    objective(make_step())
    assert objective.steps.item() == 0
    assert not objective.average.any()


def test_vmf_state_continues_exactly():
    def build():
        return VMFConsistency(CLASSES, channels=DIM, momentum=0.9, warmup_steps=3, bias_correction=True)

    straight, first, second = build(), build(), build()
    for seed in range(2):
        straight(make_step(seed=seed))
        first(make_step(seed=seed))
    second.load_state_dict(first.state_dict())
    for seed in range(2, 6):
        assert straight(make_step(seed=seed))['loss'] == second(make_step(seed=seed))['loss']
    assert not list(straight.parameters())


def test_vmf_number_of_classes_must_match_the_labels():
    with pytest.raises(ConfigError, match='set num_classes=7'):
        VMFConsistency(CLASSES, channels=DIM)(make_step(label_classes=7))


def test_vmf_channels_must_match_the_head():
    with pytest.raises(ConfigError, match=f'set channels={DIM}'):
        VMFConsistency(CLASSES, channels=64)(make_step())


@pytest.mark.parametrize('settings', [{'warmup_steps': 0}, {'momentum': 1.0}])
def test_vmf_refuses_contradicting_settings(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        VMFConsistency(CLASSES, **settings)


class UnitHead(nn.Module):
    """Gives what it is given: golden features are embeddings already."""

    def embed_student(self, features):
        return features

    def project_teacher_map(self, feature_map):
        return feature_map


def test_superpixel_infonce_matches_the_released_function(golden):
    g = {name: torch.from_numpy(value) for name, value in golden('superpixel_info_nce').items()}
    points = g['point_features'].clone().requires_grad_()
    images = g['image_features'].clone().requires_grad_()
    step = StepContext(
        points=torch.zeros(len(points), 4),
        student=VoxelFeatures(points, torch.arange(len(points))),
        pairs=Pairs(
            point=g['pairing_points'],
            camera=g['pairing_images'][:, 0],
            position=g['pairing_images'][:, 1:].float(),
        ),
        heads=nn.ModuleDict({'instance': UnitHead()}),
        teacher_map=lambda: images,
        image_size=tuple(images.shape[-2:]),
        align_corners=True,
        generator=torch.Generator(),
        maps={'superpixels': g['superpixels']},
        map_ids={'superpixels': int(g['superpixels_per_image'])},
    )
    loss = SuperpixelInfoNCE(temperature=float(g['temperature']))(step)['loss']
    loss.backward()
    assert loss.item() == pytest.approx(g['loss'].item(), rel=1e-5)
    torch.testing.assert_close(points.grad, g['grad_points'], rtol=1e-4, atol=1e-7)
    # images are unit vectors: normalizing them again takes the radial part out of the gradient
    tangent = g['grad_images'] - images.detach() * (images.detach() * g['grad_images']).sum(1, keepdim=True)
    torch.testing.assert_close(images.grad, tangent, rtol=1e-4, atol=1e-7)


def test_superpixel_infonce_equals_loops_over_images_and_ids():
    step = make_step(seed=3)
    ids = step.maps['superpixels']
    head = step.heads['instance']
    dense = F.normalize(
        F.interpolate(head.project_teacher_map(step.teacher_map), (32, 32), mode='bilinear', align_corners=True), dim=1
    )
    rows = step.pairs.position.round().long()
    k, q = [], []
    for camera in range(2):
        for number in range(SUPERPIXELS):
            inside = [
                pair
                for pair in range(step.num_pairs)
                if step.pairs.camera[pair] == camera and ids[camera, rows[pair, 0], rows[pair, 1]] == number
            ]
            if inside:
                k.append(step.embed_student('instance', torch.tensor(inside)).mean(0))
                q.append(dense[camera, :, ids[camera] == number].mean(1))
    expected = F.cross_entropy(torch.stack(k) @ torch.stack(q).T / 0.07, torch.arange(len(k)))
    results = SuperpixelInfoNCE()(step)
    torch.testing.assert_close(results['loss'], expected)
    assert results['superpixels'] == len(k)


def test_superpixel_ids_beyond_the_declared_maximum_are_refused():
    step = make_step()
    step.map_ids['superpixels'] = SUPERPIXELS - 1
    with pytest.raises(DataError, match=r'declares 11.*make_superpixels'):
        SuperpixelInfoNCE()(step)


def test_superpixel_infonce_without_maps_says_what_to_add():
    step = make_step()
    step.maps.clear()
    with pytest.raises(ConfigError, match='LoadViewMaps'):
        SuperpixelInfoNCE()(step)

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from peridot.errors import ConfigError, DataError
from peridot.models.functional import density_category_weights, range_bins
from peridot.models.heads import ProjectionHead
from peridot.models.objectives import PointPixelInfoNCE, SuperpixelInfoNCE, VMFConsistency, WeaklySupervisedContrast
from peridot.registry import MODELS
from peridot.structures import Pairs
from scipy.special import iv
from tiny import connected, make_batch
from torch import nn

DIM, STUDENT_DIM, TEACHER_DIM, CLASSES, SUPERPIXELS = 8, 6, 5, 4, 12


def make_pairs_batch(num_pairs=40, seed=0, labels=None, label_classes=CLASSES, num_points=60):
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
    return make_batch(
        points=torch.randn(num_points, 4, generator=g) * 20,
        student=torch.randn(num_points, STUDENT_DIM, generator=g).requires_grad_(),
        pairs=pairs,
        heads=heads,
        make_teacher_map=lambda: feature_map,
        image_size=(32, 32),
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
        connected(VMFConsistency(CLASSES, warmup_steps=10001), DIM),
        connected(VMFConsistency(CLASSES, warmup_steps=0, freeze_after_warmup=False), DIM),
    ]


def all_rows(batch):
    return torch.arange(batch.num_pairs)


def test_registered_under_the_scope_of_the_project():
    assert isinstance(MODELS.build({'type': 'peridot.PointPixelInfoNCE'}), PointPixelInfoNCE)
    assert isinstance(MODELS.build({'type': 'peridot.SuperpixelInfoNCE'}), SuperpixelInfoNCE)
    assert isinstance(MODELS.build({'type': 'peridot.WeaklySupervisedContrast'}), WeaklySupervisedContrast)
    assert isinstance(MODELS.build({'type': 'peridot.VMFConsistency', 'num_classes': 3}), VMFConsistency)


@pytest.mark.parametrize('objective', objectives(), ids=lambda o: type(o).__name__)
def test_without_pairs_the_loss_is_zero(objective):
    assert objective(make_pairs_batch(0))['loss'].item() == 0


@pytest.mark.parametrize('objective', objectives()[2:], ids=lambda o: type(o).__name__)
def test_without_any_label_the_loss_is_zero(objective):
    assert objective(make_pairs_batch(20, labels=torch.full((20,), -1)))['loss'].item() == 0


@pytest.mark.parametrize('objective', objectives(), ids=lambda o: type(o).__name__)
def test_only_the_loss_is_named_loss_and_all_values_are_finite_scalars(objective):
    results = objective(make_pairs_batch())
    assert [key for key in results if 'loss' in key] == ['loss']
    for value in results.values():
        assert value.shape == ()
        assert value.is_floating_point()
        assert value.isfinite()


@pytest.mark.parametrize('objective', objectives()[2:], ids=lambda o: type(o).__name__)
def test_missing_labels_are_a_config_error(objective):
    batch = make_pairs_batch()
    del batch.pairs.label
    with pytest.raises(ConfigError, match=r'make_weak_labels\.py'):
        objective(batch)


@pytest.mark.parametrize('wrong', [CLASSES, 254])
def test_label_outside_the_classes_is_a_data_error(wrong):
    """Maps without a declared number of classes: those of ours are checked where they are read."""
    labels = torch.zeros(10, dtype=torch.int64)
    labels[3] = wrong
    batch = make_pairs_batch(10, labels=labels, label_classes=None)
    objective = connected(VMFConsistency(CLASSES, warmup_steps=2), DIM)
    with pytest.raises(DataError, match=rf'weak label {wrong} .* {CLASSES} classes'):
        objective(batch)


def test_info_nce_over_all_pairs_equals_cross_entropy():
    batch = make_pairs_batch()
    results = PointPixelInfoNCE(temperature=0.2, loss_weight=0.5)(batch)
    k, q = batch.embed('instance', all_rows(batch))
    logits = k @ q.T / 0.2
    expected = 0.5 * F.cross_entropy(logits, all_rows(batch))
    assert results['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
    hits = (logits.argmax(1) == all_rows(batch)).float().mean().item()
    assert results['accuracy'].item() == pytest.approx(hits)
    assert results['pairs'].item() == 40


def test_info_nce_draws_as_many_pairs_as_asked_and_repeats_with_the_generator():
    objective = PointPixelInfoNCE(num_pairs=16)
    first, again, other = (objective(make_pairs_batch(seed=s)) for s in (0, 0, 1))
    assert first['pairs'].item() == 16
    assert first['loss'] == again['loss']
    assert first['loss'] != other['loss']


def test_weak_contrast_over_all_labeled_pairs_equals_definition():
    batch = make_pairs_batch(labels=torch.tensor([0, 1, -1, 3] * 10))
    results = WeaklySupervisedContrast(temperature=0.2)(batch)
    rows = all_rows(batch)[batch.pairs.label >= 0]
    labels = batch.pairs.label[rows]
    k, q = batch.embed('semantic', rows)
    exps = (k @ q.T / 0.2).exp()
    positive = labels[:, None] == labels
    expected = -((exps * positive).sum(1) / exps.sum(1)).log().mean()
    assert results['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
    assert results['pairs'].item() == 30
    assert results['classes'].item() == 3


def test_weak_contrast_draws_by_density_and_category():
    # class 1 is rare: one pair in fifty
    labels = (torch.arange(2000) % 50 == 0).long()
    batch = make_pairs_batch(2000, labels=labels, num_points=500)
    objective = WeaklySupervisedContrast(num_pairs=30)
    drawn = torch.cat([objective._draw(batch, torch.arange(2000), labels) for _ in range(40)])
    weights = density_category_weights(range_bins(batch.xyz(torch.arange(2000)), 0.1), labels)
    expected = (weights[labels == 1].sum() / weights.sum()).item()
    assert labels[drawn].float().mean().item() == pytest.approx(expected, abs=0.15)
    uniform = WeaklySupervisedContrast(num_pairs=30, sampling='uniform')
    drawn = torch.cat([uniform._draw(batch, torch.arange(2000), labels) for _ in range(40)])
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

    def update(self, batch):
        z = batch.embed_student('semantic', all_rows(batch)).detach().double()
        for c in range(CLASSES):
            own = z[batch.pairs.label == c]
            if len(own):
                self.z[c] = self.momentum * self.z[c] + (1 - self.momentum) * own.mean(0)

    def loss(self, batch):
        z = batch.embed_student('semantic', all_rows(batch)).double()
        losses = []
        for c in range(CLASSES):
            own = z[batch.pairs.label == c]
            r = self.z[c].norm()
            if len(own) and r > 0:
                kappa = r * (DIM - r**2) / (1 - r**2)
                log_bessel = math.log(iv(DIM / 2 - 1, kappa.item()))
                log_c = (DIM / 2 - 1) * kappa.log() - DIM / 2 * math.log(2 * math.pi) - log_bessel
                losses.append((-log_c - kappa * (own @ (self.z[c] / r))).mean())
        return sum(losses) / len(losses)


def test_vmf_follows_a_hand_loop_through_warm_up_and_freeze():
    objective = connected(VMFConsistency(CLASSES, momentum=0.9, warmup_steps=5, loss_weight=2.0), DIM)
    hand = HandLoop(0.9)
    for seed in range(8):
        # class 3 is absent from every second batch
        batch = make_pairs_batch(seed=seed)
        if seed % 2:
            batch.pairs.label[batch.pairs.label == 3] = 0
        results = objective(batch)
        if seed < 5:
            hand.update(batch)
            assert results['loss'].item() == 0
        else:
            assert results['loss'].item() == pytest.approx(2 * hand.loss(batch).item(), abs=2e-3, rel=1e-3)
        torch.testing.assert_close(objective.average.double(), torch.stack(hand.z), atol=1e-6, rtol=0)
    assert objective.updates.tolist() == [5, 5, 5, 3]
    assert int(objective.steps) == 8


def test_vmf_gradient_is_minus_kappa_mu_over_the_size_of_the_class():
    objective = connected(VMFConsistency(CLASSES, momentum=0.5, warmup_steps=1), DIM)
    batch = make_pairs_batch()
    objective(batch)
    mean, kappa, _ = objective.distributions()
    z = batch.embed_student('semantic', all_rows(batch)).detach().requires_grad_()
    batch.embed_student = lambda head, index: z[index]
    objective(batch)['loss'].backward()
    labels = batch.pairs.label
    counts = torch.bincount(labels, minlength=CLASSES)[labels, None]
    expected = -kappa[labels, None] * mean[labels] / counts / CLASSES
    torch.testing.assert_close(z.grad, expected)


def test_vmf_moves_on_when_not_frozen():
    objective = connected(VMFConsistency(CLASSES, momentum=0.9, warmup_steps=2, freeze_after_warmup=False), DIM)
    hand = HandLoop(0.9)
    for seed in range(5):
        batch = make_pairs_batch(seed=seed)
        objective(batch)
        hand.update(batch)
    torch.testing.assert_close(objective.average.double(), torch.stack(hand.z), atol=1e-6, rtol=0)


def test_vmf_average_without_correction_reaches_63_percent():
    # published settings shortened: momentum 1 - 1/n over n steps
    objective = connected(VMFConsistency(CLASSES, momentum=0.99, warmup_steps=100), DIM)
    batch = make_pairs_batch()
    for _ in range(100):
        objective(batch)
    z = batch.embed_student('semantic', all_rows(batch)).detach()
    for c in range(CLASSES):
        mean = z[batch.pairs.label == c].mean(0)
        torch.testing.assert_close(objective.average[c], (1 - 0.99**100) * mean, atol=1e-5, rtol=0)
    assert pytest.approx(0.634, abs=1e-3) == 1 - 0.99**100


def test_vmf_bias_correction_recovers_the_mean_from_the_first_step():
    objective = connected(VMFConsistency(CLASSES, warmup_steps=10001, bias_correction=True, max_concentration=1e6), DIM)
    batch = make_pairs_batch()
    objective(batch)
    mean, kappa, known = objective.distributions()
    z = batch.embed_student('semantic', all_rows(batch)).detach()
    for c in range(CLASSES):
        r = z[batch.pairs.label == c].mean(0).norm().item()
        assert kappa[c].item() == pytest.approx(r * (DIM - r**2) / (1 - r**2), rel=1e-3)
    assert known.all()
    torch.testing.assert_close(mean.norm(dim=1), torch.ones(CLASSES))


def test_vmf_concentration_is_limited():
    objective = connected(VMFConsistency(CLASSES, warmup_steps=10001, bias_correction=True, max_concentration=0.5), DIM)
    objective(make_pairs_batch())
    assert objective.distributions()[1].tolist() == [0.5] * CLASSES


def test_vmf_class_first_seen_after_warm_up_takes_no_part():
    objective = connected(VMFConsistency(CLASSES, momentum=0.5, warmup_steps=1), DIM)
    labels = torch.arange(40) % 3
    objective(make_pairs_batch(labels=labels))
    expected = objective(make_pairs_batch(seed=1, labels=labels))
    new = labels.clone()
    new[::3] = 3  # class 0 becomes the unknown class 3
    batch = make_pairs_batch(seed=1, labels=new)
    results = objective(batch)
    results['loss'].backward()
    assert expected['classes'].item() == 3
    assert results['classes'].item() == 2
    assert results['loss'].isfinite()
    assert batch.student.features.grad.isfinite().all()
    alone = make_pairs_batch(seed=1, labels=torch.full((40,), 3))
    assert objective(alone)['loss'].item() == 0


def test_vmf_does_not_learn_in_evaluation():
    objective = connected(VMFConsistency(CLASSES, warmup_steps=10001), DIM).eval()
    objective(make_pairs_batch())
    assert int(objective.steps) == 0
    assert not objective.average.any()


def test_vmf_state_continues_exactly():
    def build():
        return connected(VMFConsistency(CLASSES, momentum=0.9, warmup_steps=3, bias_correction=True), DIM)

    straight, first, second = build(), build(), build()
    for seed in range(2):
        straight(make_pairs_batch(seed=seed))
        first(make_pairs_batch(seed=seed))
    second.load_state_dict(first.state_dict())
    for seed in range(2, 6):
        assert straight(make_pairs_batch(seed=seed))['loss'] == second(make_pairs_batch(seed=seed))['loss']
    assert not list(straight.parameters())


def test_vmf_number_of_classes_must_match_the_labels():
    with pytest.raises(ConfigError, match='set num_classes=7'):
        connected(VMFConsistency(CLASSES, warmup_steps=10001), DIM)(make_pairs_batch(label_classes=7))


def test_vmf_statistics_scale_with_the_length_of_the_training():
    hub = MessageHub.get_current_instance()
    published = VMFConsistency(CLASSES, warmup_steps=10001)
    assert published.momentum == 0.9999
    hub.update_info('max_iters', 50 * 1758)
    scaled = VMFConsistency(CLASSES)
    assert (scaled.warmup_steps, scaled.momentum) == (10001, 0.9999)
    hub.update_info('max_iters', 560)
    assert VMFConsistency(CLASSES).warmup_steps == 64
    hub.pop_info('max_iters')
    with pytest.raises(ConfigError, match='set warmup_steps'):
        connected(VMFConsistency(CLASSES), DIM)(make_pairs_batch())


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
    batch = make_batch(
        points=torch.zeros(len(points), 4),
        student=points,
        pairs=Pairs(
            point=g['pairing_points'],
            camera=g['pairing_images'][:, 0],
            position=g['pairing_images'][:, 1:].float(),
        ),
        heads={'instance': UnitHead()},
        make_teacher_map=lambda: images,
        image_size=tuple(images.shape[-2:]),
        maps={'superpixels': g['superpixels']},
        map_ids={'superpixels': int(g['superpixels_per_image'])},
    )
    loss = SuperpixelInfoNCE(temperature=float(g['temperature']))(batch)['loss']
    loss.backward()
    assert loss.item() == pytest.approx(g['loss'].item(), rel=1e-5)
    torch.testing.assert_close(points.grad, g['grad_points'], rtol=1e-4, atol=1e-7)
    # images are unit vectors: normalizing them again takes the radial part out of the gradient
    tangent = g['grad_images'] - images.detach() * (images.detach() * g['grad_images']).sum(1, keepdim=True)
    torch.testing.assert_close(images.grad, tangent, rtol=1e-4, atol=1e-7)


def test_superpixel_infonce_equals_loops_over_images_and_ids():
    batch = make_pairs_batch(seed=3)
    ids = batch.maps['superpixels']
    head = batch.heads['instance']
    dense = F.normalize(
        F.interpolate(head.project_teacher_map(batch.teacher_map), (32, 32), mode='bilinear', align_corners=True), dim=1
    )
    rows = batch.pairs.position.round().long()
    k, q = [], []
    for camera in range(2):
        for number in range(SUPERPIXELS):
            inside = [
                pair
                for pair in range(batch.num_pairs)
                if batch.pairs.camera[pair] == camera and ids[camera, rows[pair, 0], rows[pair, 1]] == number
            ]
            if inside:
                k.append(batch.embed_student('instance', torch.tensor(inside)).mean(0))
                q.append(dense[camera, :, ids[camera] == number].mean(1))
    expected = F.cross_entropy(torch.stack(k) @ torch.stack(q).T / 0.07, torch.arange(len(k)))
    results = SuperpixelInfoNCE()(batch)
    torch.testing.assert_close(results['loss'], expected)
    assert results['superpixels'] == len(k)


def test_superpixel_infonce_without_maps_says_what_to_add():
    batch = make_pairs_batch()
    batch.maps.clear()
    with pytest.raises(ConfigError, match='LoadViewMaps'):
        SuperpixelInfoNCE()(batch)

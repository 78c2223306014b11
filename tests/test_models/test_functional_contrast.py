import math

import pytest
import torch
import torch.nn.functional as F
from peridot.models.functional import (
    contrast,
    info_nce,
    retrieval_accuracy,
    similarity,
    weakly_supervised_contrastive,
    within_groups,
)


def embeddings(rows, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k, q = F.normalize(torch.randn(2, rows, dim, generator=generator), dim=2)
    return k.clone().requires_grad_(), q.clone().requires_grad_()


def point_pixel_loss(k, q, temperature):
    return info_nce(similarity(k, q, temperature))


def naive_info_nce(k, q, t):
    losses = []
    for i in range(len(k)):
        exps = [math.exp((k[i] @ q[j]).item() / t) for j in range(len(q))]
        losses.append(-math.log(exps[i] / sum(exps)))
    return sum(losses) / len(losses)


def naive_weakly_supervised(k, q, labels, t, reduction):
    losses = []
    for i in range(len(k)):
        exps = [math.exp((k[i] @ q[j]).item() / t) for j in range(len(q))]
        own = [e for e, label in zip(exps, labels) if label == labels[i]]
        if reduction == 'sup_in':
            losses.append(-math.log(sum(own) / sum(exps)))
        else:
            losses.append(-sum(math.log(e / sum(exps)) for e in own) / len(own))
    return sum(losses) / len(losses)


def test_info_nce_equals_double_loop():
    k, q = embeddings(9)
    assert point_pixel_loss(k, q, 0.07).item() == pytest.approx(naive_info_nce(k, q, 0.07), rel=1e-5)


@pytest.mark.parametrize('reduction', ['sup_in', 'sup_out'])
def test_weakly_supervised_equals_double_loop(reduction):
    k, q = embeddings(11)
    labels = torch.tensor([0, 1, 1, 2, 0, 7, 2, 2, 1, 0, 2])
    loss = weakly_supervised_contrastive(k, q, labels, 0.07, reduction)
    assert loss.item() == pytest.approx(naive_weakly_supervised(k, q, labels.tolist(), 0.07, reduction), rel=1e-5)


def test_the_way_of_a_gpu_gives_the_same(monkeypatch):
    results = []
    for devices in ({'cpu'}, set()):
        monkeypatch.setattr(contrast, 'BY_CLASS', devices)
        k, q = embeddings(50)
        loss = weakly_supervised_contrastive(k, q, torch.arange(50) % 7, 0.07)
        results.append((loss.detach(), *torch.autograd.grad(loss, (k, q))))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('reduction', ['sup_in', 'sup_out'])
def test_all_labels_different_is_info_nce(reduction):
    k, q = embeddings(12)
    loss = weakly_supervised_contrastive(k, q, torch.arange(12), 0.1, reduction)
    torch.testing.assert_close(loss, point_pixel_loss(k, q, 0.1))


def test_one_label_for_all_gives_zero_inside_the_logarithm():
    k, q = embeddings(8)
    labels = torch.zeros(8, dtype=torch.int64)
    assert weakly_supervised_contrastive(k, q, labels, 0.07).item() == pytest.approx(0, abs=1e-6)
    # Jensen: the average outside the logarithm exceeds it by at least log of the number of positives
    assert weakly_supervised_contrastive(k, q, labels, 0.07, 'sup_out').item() >= math.log(8)


def test_orthogonal_embeddings_closed_form():
    eye = torch.eye(6)
    expected = -math.log(math.exp(2) / (math.exp(2) + 5))
    assert point_pixel_loss(eye, eye, 0.5).item() == pytest.approx(expected, rel=1e-6)


def test_pair_order_does_not_matter():
    k, q = embeddings(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(point_pixel_loss(k[order], q[order], 0.07), point_pixel_loss(k, q, 0.07))


def test_tiny_temperature_does_not_overflow():
    k, q = embeddings(16)
    labels = torch.arange(16) % 3
    for loss in (point_pixel_loss(k, q, 1e-3), weakly_supervised_contrastive(k, q, labels, 1e-3)):
        loss.backward()
        assert loss.isfinite()
        assert k.grad.isfinite().all()


def test_half_precision_input_under_autocast_gives_float32():
    k, q = embeddings(16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = point_pixel_loss(k, q, 0.07)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, point_pixel_loss(k, q, 0.07), rtol=0, atol=0)


def test_without_pairs_the_loss_is_zero_and_has_gradients():
    k, q = embeddings(0)
    loss = point_pixel_loss(k, q, 0.07) + weakly_supervised_contrastive(k, q, torch.zeros(0, dtype=torch.int64), 0.07)
    loss.backward()
    assert loss.item() == 0
    assert k.grad.shape == (0, 16)


def test_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match='sup_in'):
        weakly_supervised_contrastive(*embeddings(2), torch.zeros(2, dtype=torch.int64), 0.07, 'mean')


def test_retrieval_accuracy_counts_own_candidates():
    eye = torch.eye(4)
    assert retrieval_accuracy(similarity(eye, eye[[0, 1, 3, 2]], 0.07)).item() == 0.5
    assert retrieval_accuracy(similarity(eye[:0], eye[:0], 0.07)).item() == 0


def test_within_groups_is_the_mean_of_the_groups():
    k, q = embeddings(9)
    group = torch.tensor([4, 0, 4, 4, 0, 4, 7, 4, 0])
    similar = within_groups(similarity(k, q, 0.07), group)
    parts = [similarity(k[group == number], q[group == number], 0.07) for number in (0, 4, 7)]
    torch.testing.assert_close(info_nce(similar), sum(map(info_nce, parts)) / 3)
    hits = sum(retrieval_accuracy(part) * len(part.target) for part in parts)
    torch.testing.assert_close(retrieval_accuracy(similar), hits / 9)
    nothing = within_groups(similarity(k[:0], q[:0], 0.07), group[:0])
    assert info_nce(nothing).item() == 0


def golden_case(arrays):
    k, q = (torch.from_numpy(arrays[name]).requires_grad_() for name in 'kq')
    return k, q, float(arrays['temperature'])


def check_gradients(arrays, k, q, atol):
    torch.testing.assert_close(k.grad, torch.from_numpy(arrays['grad_k']), rtol=1e-4, atol=atol)
    torch.testing.assert_close(q.grad, torch.from_numpy(arrays['grad_q']), rtol=1e-4, atol=atol)


def test_golden_info_nce(golden):
    arrays = golden('info_nce')
    k, q, temperature = golden_case(arrays)
    loss = point_pixel_loss(k, q, temperature)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays['loss']), abs=1e-6, rel=2e-7)
    check_gradients(arrays, k, q, 1e-7)


def test_golden_weakly_supervised_contrastive(golden):
    arrays = golden('weakly_supervised_contrastive')
    k, q, temperature = golden_case(arrays)
    loss = weakly_supervised_contrastive(k, q, torch.from_numpy(arrays['labels']), temperature)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays['loss']), abs=1e-5)
    check_gradients(arrays, k, q, 1e-6)

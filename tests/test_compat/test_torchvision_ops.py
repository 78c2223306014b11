import sys

import pytest
import torch
from peridot.compat import torchvision_ops


def naive_nms(boxes, scores, threshold):
    kept = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        overlaps = []
        for j in kept:
            low, high = torch.maximum(boxes[i, :2], boxes[j, :2]), torch.minimum(boxes[i, 2:], boxes[j, 2:])
            common = (high - low).clamp(min=0).prod()
            areas = [(boxes[k, 2:] - boxes[k, :2]).prod() for k in (i, j)]
            overlaps.append(common / (sum(areas) - common))
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(i)
    return torch.tensor(kept)


def random_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = 30 * torch.rand(count, 2, generator=generator)
    size = 5 + 15 * torch.rand(count, 2, generator=generator)
    return torch.cat([corner, corner + size], 1), torch.rand(count, generator=generator)


def test_import_fails_without_the_repair_and_works_with_it(python):
    alone = python('import torchvision')
    if alone.returncode == 0:
        pytest.skip('torchvision is healthy in this environment')
    assert 'torchvision::nms' in alone.stderr
    code = (
        'import sys, peridot;'
        'slow = ("torch", "mmcv", "mmdet3d", "mmdet", "spconv", "torchvision", "timm");'
        'assert not [name for name in slow if name in sys.modules];'
        'import torchvision; print(peridot.compat.report())'
    )
    repaired = python(code)
    assert repaired.returncode == 0, repaired.stderr
    assert 'compat.torchvision_ops' in repaired.stdout


@pytest.mark.parametrize('threshold', [0.1, 0.5])
def test_nms_equals_the_definition(threshold):
    from torchvision.ops import batched_nms, nms

    boxes, scores = random_boxes(40)
    kept = nms(boxes, scores, threshold)
    assert kept.dtype == torch.int64
    assert 1 < len(kept) < 40
    torch.testing.assert_close(kept, naive_nms(boxes, scores, threshold))
    groups = torch.arange(40) % 2
    both = [
        (groups == g).nonzero()[:, 0][naive_nms(boxes[groups == g], scores[groups == g], threshold)] for g in (0, 1)
    ]
    both = torch.cat(both)
    torch.testing.assert_close(
        batched_nms(boxes, scores, groups, threshold), both[scores[both].argsort(descending=True)]
    )


def test_nms_of_nothing_and_of_half_precision():
    assert torchvision_ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    boxes, scores = random_boxes(10)
    half = torchvision_ops.nms(boxes.half(), scores.half(), 0.3)
    torch.testing.assert_close(half, naive_nms(boxes.half().float(), scores.half().float(), 0.3))


def test_nothing_is_done_where_the_operators_load(monkeypatch):
    for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(torchvision_ops, '_library', None)
    monkeypatch.setattr(torch.ops, 'load_library', lambda path: None)
    assert not torchvision_ops.is_defective()
    assert not torchvision_ops.apply()
    assert torchvision_ops._library is None


def test_second_call_does_nothing():
    assert not torchvision_ops.apply()

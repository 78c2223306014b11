import pytest
import torch
import torch.nn.functional as F
from peridot.models.functional import group_mean, superpixel_mean


def test_group_mean_equals_a_loop_and_leaves_out_rows_of_no_group():
    g = torch.Generator().manual_seed(0)
    rows, group = torch.randn(50, 3, generator=g), torch.randint(-1, 8, (50,), generator=g)
    means, counts = group_mean(rows, group, 7)
    for number in range(7):
        own = rows[group == number]
        assert counts[number] == len(own)
        torch.testing.assert_close(means[number], own.mean(0))
    empty, counts = group_mean(rows[:0], group[:0], 7)
    assert not empty.any() and not counts.any()


@pytest.mark.parametrize('normalize', [True, False])
@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('size', [(4, 6), (1, 1), (17, 23)])
def test_superpixel_mean_equals_upsampling_everything(size, align_corners, normalize):
    g = torch.Generator().manual_seed(0)
    feature_map = torch.randn(3, 5, *size, generator=g, requires_grad=True)
    ids = torch.randint(-1, 6, (3, 17, 23), generator=g)
    ids[ids == 4] = 3  # an id that does not occur
    pooled, counts = superpixel_mean(feature_map, ids, 6, align_corners, normalize)
    dense = F.interpolate(feature_map, (17, 23), mode='bilinear', align_corners=align_corners)
    dense = F.normalize(dense, dim=1) if normalize else dense
    naive = torch.zeros(3, 6, 5)
    for image in range(3):
        for number in range(6):
            pixels = dense[image, :, ids[image] == number]
            assert counts[image, number] == pixels.shape[1]
            if pixels.shape[1]:
                naive[image, number] = pixels.mean(1)
    torch.testing.assert_close(pooled, naive, rtol=1e-5, atol=2e-6)
    weight = torch.randn(3, 6, 5, generator=g)
    ours = torch.autograd.grad((pooled * weight).sum(), feature_map)[0]
    theirs = torch.autograd.grad((naive * weight).sum(), feature_map)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_superpixel_mean_of_zero_features_is_finite():
    feature_map = torch.zeros(1, 3, 2, 2, requires_grad=True)
    pooled, _ = superpixel_mean(feature_map, torch.zeros(1, 8, 8, dtype=torch.int64), 1, True)
    pooled.sum().backward()
    assert not pooled.any()
    assert feature_map.grad.isfinite().all()

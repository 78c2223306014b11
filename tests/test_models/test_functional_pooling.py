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


@pytest.mark.parametrize('align_corners', [True, False])
def test_superpixel_mean_equals_upsampling_everything(align_corners):
    g = torch.Generator().manual_seed(0)
    feature_map = torch.randn(3, 5, 4, 6, generator=g, dtype=torch.float32, requires_grad=True)
    ids = torch.randint(-1, 6, (3, 17, 23), generator=g)
    ids[ids == 4] = 3  # an id that does not occur
    pooled = superpixel_mean(feature_map, ids, 6, align_corners)
    dense = F.normalize(F.interpolate(feature_map, (17, 23), mode='bilinear', align_corners=align_corners), dim=1)
    naive = torch.zeros(18, 5)
    for image in range(3):
        for number in range(6):
            pixels = dense[image, :, ids[image] == number]
            if pixels.shape[1]:
                naive[image * 6 + number] = pixels.mean(1)
    torch.testing.assert_close(pooled, naive, rtol=1e-5, atol=1e-6)
    weight = torch.randn(18, 5, generator=g)
    ours = torch.autograd.grad((pooled * weight).sum(), feature_map)[0]
    theirs = torch.autograd.grad((naive * weight).sum(), feature_map)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

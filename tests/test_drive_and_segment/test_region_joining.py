import numpy as np
import pytest
import torch
from oracles import pool_regions
from peridot.drive_and_segment.segmentor.region_joining import (
    AttachmentRule,
    attach_superpixels,
    join_regions,
    region_means,
)
from peridot.drive_and_segment.segmentor.teacher_labels import region_classes
from peridot.errors import ConfigError


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Proposals and superpixels of blocks, some pixels changed."""
    rng = np.random.default_rng(seed)
    proposals = np.kron(rng.choice([0, 0, 0, 1, 2, 3, 7], (4, 5)), np.ones((6, 6), int))
    superpixels = np.kron(rng.integers(0, 9, (6, 10)), np.ones((4, 3), int))
    noisy = rng.random(proposals.shape) < 0.1
    proposals[noisy] = rng.choice([0, 1, 2, 9], noisy.sum())
    return proposals.astype(np.uint16), superpixels.astype(np.uint16)


def naive_regions(proposals, superpixels, rule) -> dict:
    """Set of pixels of every region, by loops over superpixels and pixels."""
    regions = {}
    for superpixel in np.unique(superpixels):
        inside = superpixels == superpixel
        counts = {s: ((proposals == s) & inside).sum() for s in np.unique(proposals[inside]) if s}
        covered, belongs = sum(counts.values()), 0
        if counts:
            best = max(counts, key=lambda s: (counts[s], -int(s)))
            if counts[best] / inside.sum() >= rule.cover and counts[best] / covered >= rule.purity:
                belongs = best
        for pixel in zip(*np.nonzero(inside)):
            segment = proposals[pixel] or belongs
            key = ('object', segment) if segment > 1 else ('ground' if segment else 'other', superpixel)
            regions.setdefault(key, set()).add(pixel)
    return regions


@pytest.mark.parametrize('seed', range(4))
def test_regions_equal_loops(seed):
    maps, rule = random_maps(seed), AttachmentRule(cover=0.4, purity=0.6)
    found = join_regions(*maps, rule)
    assert found.dtype == np.int32 and sorted(set(found.ravel())) == list(range(found.max() + 1))
    ours = {frozenset(zip(*np.nonzero(found == region))) for region in range(found.max() + 1)}
    naive = {frozenset(pixels) for pixels in naive_regions(*maps, rule).values()}
    assert ours == naive


def test_superpixels_complete_segments_but_do_not_join_the_ground():
    superpixels = np.repeat([0, 1, 2, 3], 10)[None]
    proposals = np.zeros((1, 40), int)
    proposals[0, 0:6] = 2  # most of superpixel 0
    proposals[0, 10:14] = 2  # too little of superpixel 1
    proposals[0, 20:29] = 1  # the ground: two superpixels stay apart
    proposals[0, 30:38] = 1
    assert attach_superpixels(proposals, superpixels, AttachmentRule()).tolist() == [2, 0, 1, 1]
    regions = join_regions(proposals, superpixels)[0]
    assert len(set(regions[[*range(14)]]) - set(regions[14:20])) == 1 and len(set(regions[14:20])) == 1
    assert (regions[:10] == regions[10]).all()
    assert (regions[20:30] == regions[20]).all() and (regions[30:] == regions[30]).all() and regions[20] != regions[30]
    # a superpixel of two segments belongs to none
    proposals[0, 6:9] = 3
    assert attach_superpixels(proposals, superpixels, AttachmentRule())[0] == 0


def test_fractions_that_make_no_sense():
    with pytest.raises(ConfigError, match=r'regions: purity=1\.5 is a fraction'):
        AttachmentRule(purity=1.5)


def some_scores(seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(2, 5, 8, 9, generator=generator).softmax(1)
    return scores, torch.randint(-1, 6, (2, 8, 9), generator=generator)


def test_means_equal_a_loop():
    scores, regions = some_scores()
    means, pixels, group = region_means(scores, regions)
    assert means.shape == (12, 5) and group.shape == (2 * 8 * 9,)
    torch.testing.assert_close(means.sum(1)[pixels > 0], torch.ones(int((pixels > 0).sum())))
    torch.testing.assert_close(pixels[group[group >= 0]].float().pow(-1).sum(), torch.tensor(float((pixels > 0).sum())))
    found = torch.where(group[:, None] >= 0, means[group], 0).unflatten(0, regions.shape).movedim(-1, 1)
    torch.testing.assert_close(found, pool_regions(scores, regions))
    assert ((group < 0) == (regions < 0).flatten()).all()


def test_means_without_regions():
    scores, regions = some_scores()
    means, pixels, group = region_means(scores, torch.full_like(regions, -1))
    assert means.shape == (0, 5) and pixels.shape == (0,) and (group == -1).all()


def test_a_region_votes():
    probabilities = torch.tensor([[[0.9, 0.4, 0.45, 0.2]], [[0.1, 0.6, 0.55, 0.8]]])
    regions = torch.tensor([[0, 0, 0, 1]])
    # two of three pixels prefer class 1, their mean does not
    assert region_classes(probabilities, regions).tolist() == [[0, 0, 0, 1]]
    assert region_classes(probabilities, regions, 0.7).tolist() == [[255, 255, 255, 1]]

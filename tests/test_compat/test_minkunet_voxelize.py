import numpy as np
import pytest
import torch
from mmdet3d.models.data_preprocessors import Det3DDataPreprocessor
from mmdet3d.structures import Det3DDataSample, PointData


def preprocessor(training=True, batch_first=True, max_voxels=None, voxel_type='minkunet'):
    built = Det3DDataPreprocessor(
        voxel=True,
        voxel_type=voxel_type,
        batch_first=batch_first,
        max_voxels=max_voxels,
        voxel_layer=dict(
            max_num_points=-1,
            point_cloud_range=[-20, -20, -4, 20, 20, 4],
            voxel_size=[0.2, 0.2, 0.4],
            max_voxels=(-1, -1),
        ),
    )
    return built.train(training)


def scans(labeled=True):
    generator = torch.Generator().manual_seed(0)
    points = [3 * torch.randn(n, 4, generator=generator) for n in (400, 150)]
    samples = []
    for scan in points:
        sample = Det3DDataSample()
        if labeled:
            labels = torch.randint(0, 9, (len(scan),), generator=generator)
            sample.gt_pts_seg = PointData(pts_semantic_mask=labels)
        samples.append(sample)
    return points, samples


def test_upstream_refuses_cpu_and_unlabeled_scans(upstream):
    if not upstream['voxelize']:
        pytest.skip('this mmdet3d voxelizes unlabeled scans on CPU')
    assert 'Error' in upstream['voxelize']


@pytest.mark.parametrize('batch_first', [True, False])
@pytest.mark.parametrize('training, max_voxels', [(True, None), (True, 100), (False, 100)])
def test_same_numbers_as_upstream(monkeypatch, batch_first, training, max_voxels):
    built = preprocessor(training, batch_first, max_voxels)
    points, samples = scans()
    np.random.seed(3)
    ours = built.voxelize(points, samples)
    _, expected_samples = scans()
    monkeypatch.setattr(torch.Tensor, 'cuda', lambda tensor: tensor)
    np.random.seed(3)
    expected = Det3DDataPreprocessor.voxelize.__wrapped__(built, points, expected_samples)
    assert ours.keys() == expected.keys()
    for key in ours:
        assert ours[key].dtype == expected[key].dtype
        assert torch.equal(ours[key], expected[key])
    for mine, theirs in zip(samples, expected_samples):
        for read in (
            lambda sample: sample.point2voxel_map,
            lambda sample: sample.batch_idx,
            lambda sample: sample.gt_pts_seg.voxel_semantic_mask,
        ):
            assert read(mine).dtype == read(theirs).dtype
            assert torch.equal(read(mine), read(theirs))


def test_scans_without_labels_and_the_map_to_voxels():
    points, samples = scans(labeled=False)
    out = preprocessor().voxelize(points, samples)
    assert 'gt_pts_seg' not in samples[0]
    first = out['coors'][:, 0] == 0
    index = torch.round(points[0][:, :3] / torch.tensor([0.2, 0.2, 0.4])).int()
    index -= index.min(0).values
    assert torch.equal(out['coors'][first, 1:][samples[0].point2voxel_map], index)


def test_other_voxel_types_take_the_original_way():
    points, samples = scans()
    built = preprocessor(voxel_type='dynamic')
    ours = built.voxelize(points, samples)
    expected = Det3DDataPreprocessor.voxelize.__wrapped__(built, points, samples)
    assert torch.equal(ours['coors'], expected['coors'])

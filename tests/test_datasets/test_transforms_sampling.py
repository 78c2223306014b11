"""ScaLR's transforms: voxels, one camera, at most so many points, features apart from geometry; skipped samples."""

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARPoints
from mmengine.dataset import pseudo_collate
from peridot.datasets.sampler import SampleKey
from peridot.datasets.transforms import (
    AppendPointFeatures,
    AugmentPointFeatures,
    ChooseCamera,
    LimitPoints,
    RandomFlipAxis,
    VoxelDownsample,
)
from peridot.errors import ConfigError, DataError
from peridot.models.batch import EncodedBatch
from peridot.models.counter import Counter
from peridot.models.objectives import Objective
from peridot.models.pretrainer import Pretrainer
from peridot.structures import Pairs
from tiny import make_batch

LOAD = [dict(type='peridot.LoadPoints'), dict(type='peridot.LoadPointLabels')]
SCALR = [
    *LOAD,
    dict(type='peridot.VoxelDownsample', voxel_size=0.1),
    dict(type='peridot.ChooseCamera', min_points=17),
    dict(type='peridot.LimitPoints', max_points=20000),
    dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[-np.pi, np.pi], scale_ratio_range=[0.9, 1.1]),
    dict(type='peridot.RandomFlipAxis'),
    dict(type='peridot.ResizeViews', size=(45, 112)),
    dict(type='peridot.AppendPointFeatures', mean=18.742355, std=22.04632),
    dict(type='peridot.PackPaired'),
]


def cloud(count: int = 500, extent: float = 0.4, seed: int = 0) -> dict:
    """A sample whose intensity numbers the points and whose labels and pairs do so, too."""
    rng = np.random.default_rng(seed)
    rows = np.arange(count)
    points = np.c_[rng.uniform(-extent, extent, (count, 3)), rows].astype(np.float32)
    paired = torch.from_numpy(np.flatnonzero(rng.random(count) < 0.5))
    position = paired[:, None].float().repeat(1, 2)
    return dict(
        points=LiDARPoints(torch.from_numpy(points), points_dim=4),
        pts_semantic_mask=rows.copy(),
        pairs=Pairs(point=paired, camera=torch.zeros_like(paired), position=position),
        cameras=['CAM_FRONT'],
    )


def assert_still_together(results: dict) -> None:
    """Every point has its own label, and every pair its own point."""
    number = results['points'].tensor[:, 3]
    np.testing.assert_array_equal(results['pts_semantic_mask'], number.numpy())
    torch.testing.assert_close(number[results['pairs'].point], results['pairs'].position[:, 0])


def test_a_random_point_of_every_voxel_remains():
    results, before = cloud(), cloud()['points'].coord.numpy()
    voxels = {}
    for row, voxel in enumerate(((before - before.min(0)) / 0.1).astype(int)):
        voxels.setdefault(tuple(voxel), []).append(row)
    kept = VoxelDownsample(0.1).transform(results)['points'].tensor[:, 3].int().tolist()
    assert len(kept) == len(voxels) < 500
    assert all(sum(row in kept for row in rows) == 1 for rows in voxels.values())
    assert_still_together(results)
    assert len(results['pairs'].point) == sum(row in set(kept) for row in cloud()['pairs'].point.tolist())


def test_every_point_of_a_voxel_has_the_same_chance():
    np.random.seed(0)
    counts = np.zeros(4)
    for _ in range(400):
        results = cloud(4, 0.01)
        counts[int(VoxelDownsample(1.0).transform(results)['points'].tensor[0, 3])] += 1
    assert counts.min() > 70


def test_the_points_nearest_to_a_random_one_remain():
    np.random.seed(1)
    results, before = cloud(), cloud()['points'].coord
    kept = LimitPoints(100).transform(results)['points'].tensor[:, 3].long()
    assert len(kept) == 100
    distances = torch.cdist(before, before)
    nearest = distances.argsort(1)[:, :100].sort(1).values
    assert (nearest == kept.sort().values).all(1).any()
    assert_still_together(results)
    few = cloud(100)
    assert LimitPoints(100).transform(few)['points'].tensor.shape == (100, 4)


def test_one_axis_at_most_is_mirrored():
    np.random.seed(0)
    signs = []
    for _ in range(600):
        results = cloud(3)
        before = results['points'].tensor.clone()
        after = RandomFlipAxis().transform(results)['points'].tensor
        signs.append(tuple((after / before)[1].sign().tolist()))
        torch.testing.assert_close(after.abs(), before.abs())
    counts = {kind: signs.count(kind) / 600 for kind in set(signs)}
    assert set(counts) == {(1, 1, 1, 1), (-1, 1, 1, 1), (1, -1, 1, 1)}
    assert all(abs(share - 1 / 3) < 0.06 for share in counts.values())


def test_features_are_behind_the_coordinates():
    results = cloud()
    x, y, z, intensity = results['points'].tensor.clone().T
    columns = AppendPointFeatures(mean=2.0, std=4.0).transform(results)['points'].tensor
    radius = (x**2 + y**2 + z**2) ** 0.5
    torch.testing.assert_close(columns, torch.stack([x, y, z, (intensity - 2) / 4, x, y, z, radius], 1))
    with pytest.raises(ConfigError, match='8 columns: set use_dim=4'):
        AppendPointFeatures().transform(results)


def test_features_turn_and_scale_without_the_geometry():
    np.random.seed(0)
    results = AppendPointFeatures().transform(cloud())
    before = results['points'].tensor.clone()
    after = AugmentPointFeatures().transform(results)['points'].tensor
    torch.testing.assert_close(after[:, :4], before[:, :4])
    scale = float(after[0, 7] / before[0, 7])
    assert 0.9 < scale < 1.1 and scale != 1
    torch.testing.assert_close(after[:, 6:8], before[:, 6:8] * scale)
    np.testing.assert_allclose(after[:, 4:6].norm(dim=1), before[:, 4:6].norm(dim=1) * scale, rtol=1e-5)
    turned = torch.atan2(after[:, 5], after[:, 4]) - torch.atan2(before[:, 5], before[:, 4])
    turned = torch.remainder(turned, 2 * np.pi)
    assert turned.std() < 1e-3 and 0.1 < turned.mean() < 6.2
    # r is still the length of x, y, z: a rotation and one factor
    torch.testing.assert_close(after[:, 4:7].norm(dim=1), after[:, 7])
    with pytest.raises(ConfigError, match='put peridot'):
        AugmentPointFeatures().transform(cloud())


def build(tiny, pipeline: list, **changes):
    # mmengine's serialization collects garbage, which takes longer than these tests
    return tiny.build(pipeline, serialize_data=False, **changes)


def seen_by(tiny, index: int, camera: str, **changes) -> set:
    """Rows of a sample's points that a camera sees."""
    pipeline = [*LOAD, dict(type='peridot.LoadImageViews'), dict(type='peridot.ProjectPoints')]
    return set(build(tiny, pipeline, cameras=[camera], **changes)[index]['pairs'].point.tolist())


def test_one_camera_and_the_points_it_sees(tiny):
    dataset = build(tiny, [*LOAD, dict(type='peridot.ChooseCamera', min_points=17)])
    seen = {camera: seen_by(tiny, 0, camera) for camera in ('CAM_FRONT', 'CAM_BACK')}
    names = []
    for seed in range(40):
        sample = dataset[SampleKey(0, seed)]
        (name,) = sample['cameras']
        names.append(name)
        assert name in sample['img_paths'][0] and sample['img_tokens'] == [f'{name}-0']
        assert sample['lidar2cam'].shape == sample['cam2img'].shape == (1, 4, 4) and len(sample['views']) == 1
        np.testing.assert_array_equal(sample['points'].tensor, tiny.cloud(0)[sorted(seen[name]), :4])
        assert sample['pairs'].point.tolist() == list(range(len(seen[name]))) and sample['skipped'] == 0
        assert len(sample['pts_semantic_mask']) == len(seen[name])
    assert 10 < names.count('CAM_BACK') < 30


def test_images_of_other_cameras_are_not_read(tiny):
    (tiny.root / 'samples/CAM_BACK/0.jpg').unlink()
    dataset = build(tiny, [*LOAD, dict(type='peridot.ChooseCamera', min_points=17)])
    found = set()
    for seed in range(10):
        try:
            found.update(dataset[SampleKey(0, seed)]['cameras'])
        except DataError as error:
            found.add(str(error).split('samples/')[1].split(' ')[0])
    assert found == {'CAM_FRONT', 'CAM_BACK/0.jpg'}


def test_a_camera_with_too_few_points_makes_room_for_another(tiny):
    seen = {camera: len(seen_by(tiny, 0, camera)) for camera in ('CAM_FRONT', 'CAM_BACK')}
    fuller, limit = max(seen, key=seen.get), max(seen.values())
    dataset = build(tiny, [*LOAD, dict(type='peridot.ChooseCamera', min_points=limit)])
    assert min(seen.values()) < limit
    assert {dataset[SampleKey(0, seed)]['cameras'][0] for seed in range(10)} == {fuller}


def test_all_cameras_and_what_any_of_them_sees(tiny):
    dataset = build(tiny, [*LOAD, dict(type='peridot.ChooseCamera', num_cameras=None)])
    sample = dataset[SampleKey(1, 0)]
    rows = sorted(seen_by(tiny, 1, 'CAM_FRONT') | seen_by(tiny, 1, 'CAM_BACK'))
    assert len(sample['views']) == 2 == len(sample['cameras']) and len(rows) < 600
    np.testing.assert_array_equal(sample['points'].tensor, tiny.cloud(1)[rows, :4])
    assert set(sample['pairs'].point.tolist()) == set(range(len(rows)))
    with pytest.raises(ConfigError, match='choose 1 or None'):
        ChooseCamera(num_cameras=2)


def test_positions_stay_continuous_when_images_are_resized(tiny):
    plain = build(tiny, [*LOAD, dict(type='peridot.ChooseCamera')])[SampleKey(0, 3)]
    resize = dict(type='peridot.ResizeViews', size=(45, 112))
    resized = build(tiny, [*LOAD, dict(type='peridot.ChooseCamera'), resize])[SampleKey(0, 3)]
    scale = torch.tensor([45 / 90, 112 / 160])
    expected = (plain['pairs'].position + 0.5) * scale - 0.5
    torch.testing.assert_close(resized['pairs'].position, expected)
    assert (expected != expected.round()).any()


def blind(tiny, samples) -> None:
    """Let the cameras of some samples look away from all points."""
    for index in samples:
        for image in tiny.content['data_list'][index]['images'].values():
            image['lidar2cam'] = np.diag([1.0, 1.0, 1.0, 1.0]).tolist()
            image['lidar2cam'][2][3] = -1000.0
    tiny.write_infos()


def test_samples_that_no_camera_sees_are_replaced_and_counted(tiny):
    blind(tiny, [0, 2])
    dataset = build(tiny, SCALR)
    samples = [dataset[SampleKey(index, 5 + index)] for index in range(4)]
    skipped = [sample['data_samples'].metainfo['skipped'] for sample in samples]
    assert skipped[0] > 0 and skipped[2] > 0 and skipped[1] == skipped[3] == 0
    assert {sample['data_samples'].metainfo['token'] for sample in samples} <= {'token1', 'token3'}
    again = dataset[SampleKey(0, 5)]
    torch.testing.assert_close(again['inputs']['points'], samples[0]['inputs']['points'])
    for sample in samples:
        points, pairs = sample['inputs']['points'], sample['inputs']['pairs']
        assert points.shape[1] == 8 and len(points) == len(pairs.point) >= 17
        assert sample['inputs']['images'].shape == (1, 3, 45, 112)
        assert len(sample['data_samples'].gt_pts_seg.pts_semantic_mask) == len(points)


class Zero(Objective):
    """An objective that is content."""

    def forward(self, batch: EncodedBatch) -> dict:
        return {'loss': batch.log(0)}


def test_training_logs_how_many_samples_were_skipped(tiny):
    blind(tiny, [0, 2])
    dataset = build(tiny, SCALR)
    loader = torch.utils.data.DataLoader(
        dataset, 2, sampler=[SampleKey(i, 5 + i) for i in range(4)], num_workers=1, collate_fn=pseudo_collate
    )
    batches = list(loader)
    model = object.__new__(Pretrainer)
    torch.nn.Module.__init__(model)
    model.objectives = torch.nn.ModuleDict({'zero': Zero('none')})
    model.heads = torch.nn.ModuleDict()
    model.iteration = Counter()
    model.encode = lambda inputs, _: make_batch(torch.cat(inputs['points']), torch.cat(inputs['points']), heads={})
    for batch in batches:
        logged = model.loss(batch['inputs'], batch['data_samples'])
        counts = [sample.metainfo['skipped'] for sample in batch['data_samples']]
        assert logged['data/skipped'] == sum(counts) > 0


def test_no_sample_of_use_is_one_clear_line(tiny):
    blind(tiny, range(4))
    dataset = build(tiny, SCALR, max_refetch=5)
    with pytest.raises(DataError, match=r'keeps none of 6 samples of \S+infos.pkl: check the calibrations') as error:
        dataset[SampleKey(0, 0)]
    assert '\n' not in str(error.value)
    with pytest.raises(DataError, match='keeps none of 1 samples'):
        build(tiny, SCALR, test_mode=True)[0]


def test_downstream_points_keep_their_labels(tiny):
    pipeline = [
        *LOAD,
        dict(type='peridot.AppendPointFeatures', mean=18.742355, std=22.04632),
        dict(type='peridot.VoxelDownsample', voxel_size=4.0),
        dict(type='peridot.LimitPoints', max_points=200),
        dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[-np.pi, np.pi], scale_ratio_range=[1.0, 1.0]),
        dict(type='peridot.AugmentPointFeatures'),
        dict(type='peridot.RandomFlipAxis'),
        dict(type='mmdet3d.Pack3DDetInputs', keys=['points', 'pts_semantic_mask']),
    ]
    sample = build(tiny, pipeline, cameras=[])[SampleKey(0, 2)]
    points, labels = sample['inputs']['points'], sample['data_samples'].gt_pts_seg.pts_semantic_mask
    assert points.shape == (200, 8) and labels.shape == (200,)
    cloud, raw = tiny.cloud(0), np.fromfile(tiny.root / 'lidarseg/v1.0-mini/0_lidarseg.bin', np.uint8)
    intensity = (cloud[:, 3] - 18.742355) / 22.04632
    rows = np.abs(points[:, 3].numpy()[:, None] - intensity).argmin(1)
    mapping = build(tiny, []).metainfo['seg_label_mapping']
    np.testing.assert_array_equal(labels, [mapping[label] for label in raw[rows]])
    # geometry is turned and mirrored alone: distances to the origin and heights remain
    np.testing.assert_allclose(points[:, :3].norm(dim=1), np.linalg.norm(cloud[rows, :3], axis=1), rtol=1e-4)
    np.testing.assert_allclose(points[:, 2], cloud[rows, 2], rtol=1e-5)

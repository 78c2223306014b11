import itertools
import time

import cv2
import numpy as np
import pytest
import torch
from mmdet3d.datasets.transforms import GlobalRotScaleTrans, RandomFlip3D
from mmdet3d.structures import LiDARPoints
from mmengine.dataset import pseudo_collate
from peridot.datasets.transforms import (
    DropCuboids,
    PackPaired,
    RandomFlipViews,
    RandomResizedCropViews,
    ResizeViews,
    ShiftPoints,
)
from peridot.datasets.transforms.augmentation import augmentation_of
from peridot.datasets.transforms.views import count_inside
from peridot.registry import TRANSFORMS
from peridot.structures import Frames, ImageViews, Pairs

HEIGHT, WIDTH = 90, 160
LOAD = [dict(type='peridot.LoadPoints'), dict(type='peridot.LoadImageViews'), dict(type='peridot.ProjectPoints')]


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


def make_results(counts=(3000, 40, 0, 1), seed: int = 0) -> dict:
    """Views whose red is the row and green the column; `label` of a pair remembers its first position."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.uint8)
    data = cv2.imencode('.png', np.stack([np.zeros_like(rows), columns, rows], -1))[1].tobytes()
    camera = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    pixel = rng.integers(1, (HEIGHT - 1, WIDTH - 1), (len(camera), 2))
    points = rng.normal(size=(500, 4)).astype(np.float32)
    return dict(
        cameras=[str(i) for i in range(len(counts))],
        points=LiDARPoints(torch.from_numpy(points), points_dim=4),
        views=ImageViews([f'{i}.png' for i in range(len(counts))], [data] * len(counts)),
        pairs=Pairs(
            point=torch.from_numpy(rng.integers(0, 500, len(camera))),
            camera=camera,
            position=torch.from_numpy(pixel.astype(np.float32)),
            label=torch.from_numpy(pixel[:, 0] * WIDTH + pixel[:, 1]),
        ),
    )


def assert_pixels_follow(results: dict, tolerance: float) -> None:
    images, pairs = results['views'].decode(), results['pairs']
    limit = torch.tensor(images.shape[2:]) - 1
    inner = pairs[((pairs.position >= 0) & (pairs.position <= limit)).all(1)]
    for view, image in enumerate(images):
        mine = inner[inner.camera == view]
        columns, rows = mine.position.flip(1).numpy().T
        if len(mine) == 0:
            continue
        read = cv2.remap(image.transpose(1, 2, 0).astype(np.float32), columns[:, None], rows[:, None], 1)[:, 0, :2]
        origin = np.stack(np.divmod(mine.label.numpy(), WIDTH), 1)
        assert np.abs(read - origin).max() < tolerance


def test_random_crop_and_flip_move_pixels_and_pairs_together():
    for seed in range(5):
        results = make_results(seed=seed)
        for transform in (RandomResizedCropViews(size=(45, 80)), RandomFlipViews()):
            results = transform(results)
        assert len(results['pairs']) > 500
        assert (results['views'].size == (45, 80)).all()
        assert_pixels_follow(results, tolerance=1.5)


def test_resize_keeps_all_pairs():
    results = ResizeViews((30, 60))(make_results())
    assert len(results['pairs']) == 3041
    assert_pixels_follow(results, tolerance=2.0)


def test_crops_lie_in_the_image_with_the_asked_shape():
    crop = RandomResizedCropViews(scale=(0.3, 1.0), aspect=(14 / 9, 17 / 9))
    boxes = crop.draw(np.array([[900, 1600], [375, 1242], [1280, 1920], [1600, 900]]))
    top, left, height, width = boxes.transpose(2, 0, 1)
    sizes = np.array([[900, 1600], [375, 1242], [1280, 1920], [1600, 900]])
    assert boxes.shape == (20, 4, 4)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= sizes[:, 0]).all() and (left + width <= sizes[:, 1]).all()
    assert (np.abs(width / height - 15.5 / 9) < 1.55 / 9).all()
    share = (height * width / sizes.prod(1))[:, 0]
    assert share.min() > 0.29 and share.max() <= 1 and share.std() > 0.1
    assert np.array_equal(boxes, np.rint(boxes))


def test_draws_until_enough_pairs_are_kept():
    """Pairs in the upper left part: a single draw often loses more than a quarter, of twenty one always fits."""
    positions = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([60.0, 100.0])

    def kept(max_tries: int) -> np.ndarray:
        crop = RandomResizedCropViews(size=(20, 40), scale=(0.6, 0.7), max_tries=max_tries)
        results = [make_results((400,)) for _ in range(20)]
        return np.array([len(crop(r | dict(pairs=r['pairs'].replace(position=positions)))['pairs']) for r in results])

    assert (kept(20) > 300).all()
    assert not (kept(1) > 300).all()


def test_minimum_number_accepts_less_than_the_ratio():
    results = make_results((3000,))
    kept = [
        len(RandomResizedCropViews((45, 80), (0.3, 0.35), min_pairs=600)(make_results((3000,), s))['pairs'])
        for s in range(5)
    ]
    assert all(600 < k < 0.75 * len(results['pairs']) for k in kept)


def test_images_that_lose_all_pairs_end_in_bounded_time():
    start = time.perf_counter()
    results = make_results((1, 0, 2))
    far = torch.tensor([[1.0, 1.0], [1.0, 1.0], [88.0, 158.0]])
    results['pairs'] = results['pairs'].replace(position=far)
    crop = RandomResizedCropViews(size=(20, 40), scale=(0.3, 0.31), max_tries=3)
    results = crop(results)
    # the last image cannot keep both corners: half of its pairs is the best draw, or the whole image
    assert set(results['pairs'].camera.tolist()) <= {0, 2}
    assert len(results['pairs']) >= 1
    assert np.isfinite(results['pairs'].position).all()
    empty = crop(make_results((0, 0)))
    assert len(empty['pairs']) == 0
    assert time.perf_counter() - start < 5


def test_whole_image_when_no_draw_keeps_a_pair():
    results = make_results((1,))
    results['pairs'] = results['pairs'].replace(position=torch.tensor([[0.0, 0.0]]))
    crop = RandomResizedCropViews(size=(45, 80), scale=(0.3, 0.31), max_tries=1)
    assert len(crop(results)['pairs']) == 1
    np.testing.assert_allclose(results['views'].scale, [[2, 2]])


def test_count_inside_equals_the_crop():
    results = make_results((500, 300, 0, 7))
    boxes = RandomResizedCropViews(max_tries=6).draw(results['views'].size)
    expected = [results['pairs'].resized_crop(torch.from_numpy(b), (20, 30)).count(4).tolist() for b in boxes]
    assert count_inside(boxes, results['pairs']).tolist() == expected


def test_flip_probability():
    always, never = (RandomFlipViews(p)(make_results()) for p in (1.0, 0.0))
    start = make_results()['pairs'].position
    assert torch.equal(never['pairs'].position, start)
    assert torch.equal(always['pairs'].position[:, 1], WIDTH - 1 - start[:, 1])
    assert_pixels_follow(always, tolerance=1e-3)


def naive_drop(xyz: np.ndarray, share: float, center: np.ndarray) -> list[bool]:
    half = [(max(xyz[:, a]) - min(xyz[:, a])) * share / 2 for a in range(3)]
    return [not all(abs(p[a] - center[a]) < half[a] for a in range(3)) for p in xyz]


def test_drop_cuboids_removes_a_cuboid_with_its_pairs_and_labels():
    results = make_results()
    xyz = results['points'].coord.numpy().copy()
    results['pts_semantic_mask'] = np.arange(500)
    before = results['pairs']
    np.random.seed(4)
    share, center = np.random.uniform(0, 0.9), xyz[np.random.randint(500)]
    keep = np.array(naive_drop(xyz, share, center))
    assert 0 < keep.sum() < 480
    np.random.seed(4)
    results = DropCuboids(max_size=0.9, min_pairs=0)(results)
    np.testing.assert_array_equal(results['points'].coord.numpy(), xyz[keep])
    np.testing.assert_array_equal(results['pts_semantic_mask'], np.flatnonzero(keep))
    pairs = results['pairs']
    kept = torch.from_numpy(keep)[before.point]
    assert torch.equal(pairs.position, before.position[kept])
    # the same points as before, by their coordinates
    np.testing.assert_array_equal(xyz[before.point[kept]], results['points'].coord.numpy()[pairs.point])


@pytest.mark.parametrize(
    'settings, dropped', [({}, False), (dict(min_pairs=1), False), (dict(min_pairs_ratio=0), True)]
)
def test_drop_cuboids_gives_up_when_an_image_loses_too_much(settings, dropped):
    """The images have 3000, 40, 0 and 1 pairs: only a ratio lets images without pairs pass."""
    results = make_results()
    before = results['pairs']
    np.random.seed(4)
    DropCuboids(max_size=0.9, **settings)(results)
    assert (len(results['points']) < 500) == dropped
    assert (results['pairs'] is before) == (not dropped)


def test_shifts_are_normal_and_limited():
    step = ShiftPoints(std=4.0, limit=6.0)
    clouds = [step(dict(points=LiDARPoints(torch.zeros(1, 4), points_dim=4)))['points'].tensor for _ in range(4000)]
    xy, rest = torch.cat(clouds).split([2, 2], 1)
    assert not rest.any() and xy.abs().max() == 6
    # 13.4 % of the draws lie beyond 1.5 standard deviations
    assert (xy.abs() == 6).float().mean(0).tolist() == pytest.approx([0.134, 0.134], abs=0.025)
    assert ((xy.abs() < 4).float().mean(0) - 0.683).abs().max() < 0.03 and xy.mean(0).abs().max() < 0.3
    assert abs(np.corrcoef(xy.T.numpy())[0, 1]) < 0.06


@pytest.mark.parametrize('order', itertools.permutations(range(3)))
def test_the_matrix_of_an_augmentation_moves_points_as_it_did(order):
    steps = [
        ShiftPoints(),
        GlobalRotScaleTrans(rot_range=[0.5, 3.0], scale_ratio_range=[0.5, 0.8], translation_std=[3.0, 3.0, 1.0]),
        RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=1.0, flip_ratio_bev_vertical=0.0),
    ]
    loaded = torch.rand(100, 4) * 120 - 60
    results = dict(points=LiDARPoints(loaded.clone(), points_dim=4))
    for place in order:
        results = steps[place](results)
    matrix = augmentation_of(results)
    moved = loaded[:, :3].double() @ matrix[:3, :3].T + matrix[:3, 3]
    torch.testing.assert_close(moved.float(), results['points'].coord, rtol=0, atol=3e-5)
    assert (results['points'].coord - loaded[:, :3]).norm(dim=1).min() > 0.1


def test_a_pair_of_scans_is_moved_as_in_the_released_code(golden, monkeypatch):
    """BEVContrast: shift and rotation of both scans, and the transform between them."""
    g = golden('bevcontrast_pair')
    tr, frames, clouds = g['calibration'].astype(np.float64), [], []
    for scan in range(2):
        angle = np.arctan2(g['rotation'][scan][1, 0], g['rotation'][scan][0, 0])
        monkeypatch.setattr(np.random, 'normal', lambda scale, size, scan=scan: g['translation'][scan][:size] * 1.0)
        results = dict(
            points=LiDARPoints(torch.from_numpy(g['points'][scan].copy()), points_dim=4),
            to_sample=np.linalg.solve(tr, g['poses'][scan] @ tr),
            frame=scan,
            time=0.7 * scan,
        )
        inputs = ShiftPoints()(results)
        monkeypatch.undo()
        inputs = PackPaired()(GlobalRotScaleTrans(rot_range=[angle, angle], scale_ratio_range=[1, 1])(inputs))['inputs']
        clouds.append(inputs['points'])
        frames.append(inputs['frames'])
    for name, cloud in zip(('in', 'out'), clouds):
        torch.testing.assert_close(cloud, torch.from_numpy(g[f'points_{name}']), rtol=0, atol=2e-5)
    matrix = Frames.batch([Frames.cat(frames)]).between(torch.tensor([0]), torch.tensor([1]))[0].numpy()
    R_in, T_in, R_out, T_out = (g[name][:3].astype(np.float64) for name in ('R_in', 'T_in', 'R_out', 'T_out'))
    xyz = clouds[0][:, :3].double().numpy()
    expected = (xyz @ R_in.T + T_in - T_out) @ R_out
    np.testing.assert_allclose(xyz @ matrix[:3, :3].T + matrix[:3, 3], expected, rtol=0, atol=5e-5)


def test_cloud_transforms_of_mmdet3d_work_on_pairs(tiny):
    """Rotation, scale and flips need no boxes and no `img`; pairs are index based and stay."""
    loaded = tiny.build(LOAD)[0]
    before = loaded['points'].coord.clone()
    rotate = dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[0.5, 0.5], scale_ratio_range=[1.1, 1.1])
    flip = dict(type='mmdet3d.RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=1.0, flip_ratio_bev_vertical=0.0)
    pairs = loaded['pairs']
    for config in (rotate, flip):
        loaded = TRANSFORMS.build(config)(loaded)
    cos, sin = np.cos(0.5) * 1.1, np.sin(0.5) * 1.1
    expected = before @ torch.tensor([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.1]], dtype=torch.float32)
    torch.testing.assert_close(loaded['points'].coord, expected * torch.tensor([1.0, -1.0, 1.0]), atol=1e-4, rtol=1e-4)
    assert loaded['pairs'] is pairs


def test_packed_sample(tiny, train_pipeline):
    sample = tiny.build(train_pipeline)[1]
    inputs, data = sample['inputs'], sample['data_samples']
    assert inputs['points'].dtype == torch.float32 and inputs['points'].shape[1] == 4
    assert inputs['images'].dtype == torch.uint8 and inputs['images'].shape == (2, 3, 45, 80)
    assert inputs['maps']['superpixels'].dtype == torch.int64 and inputs['maps']['superpixels'].shape == (2, 45, 80)
    assert isinstance(inputs['pairs'], Pairs) and 'label' in inputs['pairs']
    assert int(inputs['pairs'].point.max()) < len(inputs['points'])
    assert data.token == 'token1' and data.dataset == 'nuscenes' and data.label_classes == 3
    assert data.cameras == ['CAM_FRONT', 'CAM_BACK']
    assert data.lidar_path.endswith('1.bin')
    batch = pseudo_collate([sample, sample])
    assert [len(x) for x in batch['inputs']['pairs']] == [len(inputs['pairs'])] * 2


def test_packed_sample_without_cameras(tiny):
    pipeline = [
        dict(type='peridot.LoadPoints'),
        dict(type='peridot.LoadPointLabels'),
        dict(type='peridot.PackPaired'),
    ]
    sample = tiny.build(pipeline, cameras=[], test_mode=True)[0]
    assert 'images' not in sample['inputs'] and len(sample['inputs']['pairs']) == 0
    labels = sample['data_samples'].gt_pts_seg.pts_semantic_mask
    assert labels.dtype == torch.int64 and labels.shape == (600,)
    np.testing.assert_array_equal(sample['data_samples'].eval_ann_info['pts_semantic_mask'], labels)


def test_handful_of_points(tiny, train_pipeline):
    """A scan of three points, of which no camera may see one."""
    for cloud in (tiny.cloud(0)[:3], np.array([[0, 0, 50, 1, 1]], np.float32)):
        cloud.tofile(tiny.root / 'samples/LIDAR_TOP/0.bin')
        dataset = tiny.build(train_pipeline)
        for _ in range(5):
            inputs = dataset[0]['inputs']
            assert len(inputs['points']) >= 1 and inputs['images'].shape == (2, 3, 45, 80)

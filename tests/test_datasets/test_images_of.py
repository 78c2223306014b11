"""Images of other keyframes: where points lie in them, which pairs are right, and that they count."""

import json
import logging

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from peridot.datasets.frames import FrameRule, boxes_of, link_frames
from peridot.datasets.occlusion import cell_of, nearest_around, seen_then
from peridot.datasets.transforms import ChooseCamera, DropMovingPairs, DropOccludedPairs
from peridot.datasets.transforms.occlusion import points_in_boxes
from peridot.errors import ConfigError
from peridot.models.heads import DistillationHead
from peridot.models.objectives import FeatureDistance
from peridot.models.preprocessor import PairedDataPreprocessor
from peridot.registry import DATASETS
from streets.dataset import read_settings
from streets.frame import caster, image_view, inside_box
from streets.raycast import Snapshot
from streets.rig import make_lidar
from streets.taxonomy import SCENES
from test_frames import LOAD, PACK, PREFIX, READ, info
from tiny import make_batch

CAMERAS = ['CAM_FRONT', 'CAM_BACK_LEFT']
EARLIER = dict(images_of=(-1,))
OCCLUDED, MOVING = dict(type='peridot.DropOccludedPairs'), dict(type='peridot.DropMovingPairs')


def streets(demo_root, steps=(), **settings):
    prefix = PREFIX | {name: f'samples/{name}' for name in CAMERAS}
    return DATASETS.build(
        dict(
            type='peridot.PairedDataset',
            data_root=str(demo_root),
            ann_file='nuscenes_infos_train.pkl',
            data_prefix=prefix,
            cameras=CAMERAS,
            pipeline=[LOAD, *READ, *steps],
            **{'frames': EARLIER, **settings},
        )
    )


def later_rows(dataset) -> list[int]:
    """Samples that have an earlier keyframe."""
    return [row for row in range(len(dataset)) if len(dataset.get_data_info(row)['image_scans'])]


def loaded(dataset, row) -> dict:
    """A sample that is not packed."""
    return dataset.pipeline(dataset.get_data_info(row))


class World:
    """The truth about a sample's scan."""

    def __init__(self, demo_root, sample):
        self.settings, self.paths = read_settings(demo_root), sample['img_paths']
        camera, snapshot = image_view(self.settings, self.paths[0])
        scene = SCENES.index(str(self.paths[0]).rpartition('/')[2].split('__')[0].removeprefix('peridot-'))
        self.now = Snapshot(caster(self.settings.seed, scene), snapshot.time - camera.delay)
        self.lidar, turn = make_lidar().world_pose(self.now.world.ego_pose(self.now.time))
        self.xyz = sample['points'].tensor[:, :3].double().numpy() @ turn.T + self.lidar
        self.on_surface, self.instance = self.first(self.now, self.lidar, self.xyz)

    def first(self, snapshot, position, targets):
        rays = targets - position
        distance = np.linalg.norm(rays, axis=1)
        hits = snapshot.hit(position, rays / distance[:, None])
        return abs(hits.distance - distance) < 0.2 + 0.02 * distance, snapshot.labels(hits)[1]

    def right(self, pairs, view):
        """Whether the pixels of a view's pairs show what their points lie on."""
        camera, snapshot = image_view(self.settings, self.paths[view])
        position, _ = camera.world_pose(snapshot.world.ego_pose(snapshot.time))
        rows = pairs.point[pairs.camera == view].numpy()
        ends, instance = self.first(snapshot, position, self.xyz[rows])
        return ends & self.on_surface[rows] & (instance == self.instance[rows])


def test_points_project_into_earlier_images_as_the_world_says(demo_root):
    dataset = streets(demo_root)
    for row in later_rows(dataset)[::4]:
        sample = loaded(dataset, row)
        assert sample['cameras'] == [*CAMERAS, *(f'{name} -1' for name in CAMERAS)]
        assert sample['image_offsets'].tolist() == [0, 0, -1, -1]
        world, pairs = World(demo_root, sample), sample['pairs']
        for view, path in enumerate(sample['img_paths']):
            camera, snapshot = image_view(world.settings, path)
            assert snapshot.time - world.now.time == pytest.approx(camera.delay - 0.5 * (view > 1), abs=0.01)
            position, rotation = camera.world_pose(snapshot.world.ego_pose(snapshot.time))
            mine = pairs[pairs.camera == view]
            pixel = (world.xyz[mine.point.numpy()] - position) @ rotation @ camera.intrinsic.T
            np.testing.assert_allclose(mine.position.numpy(), (pixel[:, :2] / pixel[:, 2:])[:, ::-1], atol=0.02)
            assert len(mine) > 100


def test_the_first_keyframe_of_a_drive_has_its_own_images():
    infos = [info(row, 0.5 * row) for row in range(4)] + [info(9, 4.0)]
    link_frames(infos, FrameRule(images_of=(-1, -3, 1)))
    assert [i['image_offsets'].tolist() for i in infos] == [[0, 1], [0, -1, 1], [0, -1, 1], [0, -1, -3], [0]]
    assert infos[3]['cameras'] == ['C', 'C -1', 'C -3'] and infos[4]['cameras'] == ['C']
    assert [scan['offset'] for scan in infos[3]['image_scans']] == [-1, -3]
    assert all(i['frames'] == [] and len(i['lidar2cam']) == len(i['cam2img']) == len(i['img_paths']) for i in infos)
    # ten meters a second: what lies one meter ahead now lay sixteen ahead of the camera three keyframes earlier
    np.testing.assert_allclose(infos[3]['lidar2cam'][2] @ [1, 0, 0, 1], [16, 0, 0, 1])
    np.testing.assert_allclose(infos[3]['image_scans'][1]['to_sample'] @ [16, 0, 0, 1], [1, 0, 0, 1])


def test_other_frames_of_a_sample_have_their_own_images_alone(demo_root):
    dataset = streets(demo_root, [OCCLUDED, *PACK], frames=dict(keyframes=(-1,), **EARLIER))
    row = later_rows(dataset)[0]
    assert dataset[row]['inputs']['frames'].num_images.tolist() == [4, 2]


def test_samples_with_different_numbers_of_images_make_a_batch(demo_root):
    dataset = streets(demo_root, PACK)
    later = later_rows(dataset)[0]
    (first,) = (row for row in range(len(dataset)) if row == later - 1)
    samples = [dataset[later], dataset[first]]
    inputs = PairedDataPreprocessor()(pseudo_collate(samples))['inputs']
    assert inputs['frames'].num_images.tolist() == [4, 2] and len(inputs['images']) == 6
    assert inputs['frames'].image_scan.tolist() == [0, 0, 0, 0, 1, 1]
    torch.testing.assert_close(inputs['images'][4:], samples[1]['inputs']['images'])
    last = inputs['pairs'][inputs['pairs'].camera >= 4]
    assert len(last) and last.point.min() >= len(inputs['points'][0])


def test_a_drawn_camera_may_be_an_earlier_one(demo_root):
    dataset = streets(demo_root)
    row = later_rows(dataset)[0]
    np.random.seed(0)
    drawn = [ChooseCamera()(loaded(dataset, row)) for _ in range(8)]
    names = {(sample['cameras'][0], int(sample['image_offsets'][0])) for sample in drawn}
    assert {offset for _, offset in names} == {0, -1}
    assert all(name.endswith('-1') == (offset == -1) for name, offset in names)
    # the scan of a keyframe without images in the sample is not read
    assert all(len(DropOccludedPairs()(sample)['pairs']) for sample in drawn)


def test_nearest_depths_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    position, depth = rng.uniform(-0.5, 59.5, (80, 2)), rng.uniform(1, 50, 80)
    places, cell = rng.uniform(-0.5, 79.5, (200, 2)), (7.3, 2.9)
    for reach in (1, 2):
        expected = []
        for place in places:
            steps = [np.floor((p + 0.5) / cell) - np.floor((place + 0.5) / cell) for p in position]
            expected.append(min([d for step, d in zip(steps, depth) if abs(step).max() <= reach], default=np.inf))
        assert 0 < np.isinf(expected).sum() < 200
        found = nearest_around(position, depth, places, cell, (3, reach))[1]
        np.testing.assert_array_equal(found, np.float32(expected))
    assert np.isinf(nearest_around(position[:0], depth[:0], places, cell)[0]).all()
    assert len(nearest_around(position, depth, places[:0], cell)[0]) == 0


def test_what_is_hidden_and_what_was_not_there():
    cell = (10.0, 10.0)
    # a wall at 20 m, a pole before it at 5 m, nothing on the right
    position = np.array([[5, c] for c in (5, 15, 25, 35, 45)], float)
    measured = np.array([20, 20, 5, 20, 20.0])

    def seen(column, depth, look_through=True):
        place = np.array([[5.0, column]])
        return bool(seen_then(place, np.array([depth]), position, measured, cell, 0.1, look_through)[0])

    assert seen(25, 5.2) and not seen(25, 20) and not seen(35, 20)
    assert seen(5, 20) and seen(5, 21.9) and not seen(5, 22.1)
    # beams passed its place, unless the pole is in the window
    assert not seen(55, 10) and seen(55, 10, look_through=False) and seen(55, 19)
    assert seen(45, 10) and seen(95, 10)


def test_cells_are_half_a_resolution():
    intrinsics = np.array([[800.0, 0, 0], [0, 600, 0], [0, 0, 1]])
    height, width = cell_of(intrinsics, (2.0, 0.5))
    assert height == pytest.approx(600 * np.tan(np.deg2rad(1)))
    assert width == pytest.approx(800 * np.tan(np.deg2rad(0.25)))


def test_the_test_leaves_right_pairs(demo_root):
    plain, own, other = (streets(demo_root, steps) for steps in ([], [dict(OCCLUDED, other_scans=False)], [OCCLUDED]))
    right = {'plain': [], 'own': [], 'other': []}
    for row in later_rows(plain)[::4]:
        samples = dict(plain=loaded(plain, row), own=loaded(own, row), other=loaded(other, row))
        world = World(demo_root, samples['plain'])
        for name, sample in samples.items():
            right[name] += [world.right(sample['pairs'], view) for view in (2, 3)]
            untouched, before = (s['pairs'][s['pairs'].camera < 2] for s in (sample, samples['plain']))
            assert torch.equal(untouched.point, before.point)
    part = {name: np.concatenate(found).mean() for name, found in right.items()}
    kept = {name: np.concatenate(found).sum() / np.concatenate(right['plain']).sum() for name, found in right.items()}
    assert part['plain'] < part['own'] < 0.93 < part['other'], part
    assert min(kept.values()) > 0.8


def test_points_of_what_moves_are_left_out_of_earlier_images(demo_root):
    plain, tested = streets(demo_root), streets(demo_root, [MOVING])
    dropped = 0
    for row in later_rows(plain)[::4]:
        before, after = loaded(plain, row), loaded(tested, row)
        world = World(demo_root, before)
        place = {t.number: t.pose(world.now.layout, world.now.time) for t in world.now.world.moving()}
        inner, outer = (
            np.any([inside_box(world.xyz, t, *place[t.number], margin=m) for t in world.now.world.moving()], axis=0)
            for m in (0.05, -0.3)
        )
        # boxes end 70 m away, and near there the speeds are unknown
        near = np.linalg.norm(world.xyz - world.lidar, axis=1) < 60
        inner, outer = inner & near, outer | ~near
        pairs, kept = before['pairs'], after['pairs']
        own = pairs.camera < 2
        assert torch.equal(kept.point[kept.camera < 2], pairs.point[own])
        assert not inner[kept.point[kept.camera >= 2].numpy()].any()
        # nothing else is lost
        assert (~outer[pairs.point[~own].numpy()]).sum() == (~outer[kept.point[kept.camera >= 2].numpy()]).sum()
        dropped += len(pairs) - len(kept)
    assert dropped > 100


def test_boxes_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-5, 5, (3000, 3)).astype(np.float32)
    boxes = np.concatenate([rng.uniform(-4, 4, (3, 3)), rng.uniform(1, 4, (3, 3)), rng.uniform(-3, 3, (3, 1))], 1)
    inside = np.zeros(3000, bool)
    for x, y, z, length, width, height, yaw in boxes:
        away = xyz - [x, y, z]
        ahead = away[:, 0] * np.cos(yaw) + away[:, 1] * np.sin(yaw)
        left = -away[:, 0] * np.sin(yaw) + away[:, 1] * np.cos(yaw)
        inside |= (abs(ahead) < length / 2 + 0.3) & (abs(left) < width / 2 + 0.3) & (abs(away[:, 2]) < height / 2 + 0.3)
    found = points_in_boxes(torch.from_numpy(xyz), boxes.astype(np.float32), margin=0.3).numpy()
    assert 50 < inside.sum() < 2500 and (found != inside).sum() <= 2


def test_speeds_of_boxes():
    one = dict(bbox_3d=[1, 2, 3, 4, 2, 1.5, 0.1], velocity=[3.0, 4.0])
    boxes = boxes_of(dict(instances=[one, dict(one, velocity=[float('nan')] * 2)]))
    np.testing.assert_allclose(boxes[0], [1, 2, 3, 4, 2, 1.5, 0.1, 5], rtol=1e-6)
    assert np.isnan(boxes[1, 7]) and boxes_of(dict(instances=[])).shape == (0, 8)
    assert boxes_of({}) is None and boxes_of(dict(instances=[dict(bbox_3d=[0] * 7)])) is None


def test_without_boxes_all_pairs_stay_and_the_log_says_so(tiny, monkeypatch):
    for number, sample in enumerate(tiny.content['data_list']):
        sample.update(timestamp=0.5 * number, ego2global=np.eye(4).tolist())
    tiny.write_infos()
    lines = []
    monkeypatch.setattr('peridot.datasets.transforms.occlusion.print_log', lambda *args: lines.append(args))
    dataset = tiny.build([dict(type='peridot.LoadPoints'), *READ, MOVING], frames=EARLIER)
    pairs = [loaded(dataset, row)['pairs'] for row in (1, 2)]
    assert all((p.camera >= 2).any() for p in pairs)
    ((text, _, level),) = lines
    assert 'no boxes with velocities' in text and level == logging.WARNING


@pytest.mark.parametrize('kind', [DropOccludedPairs, DropMovingPairs])
def test_without_images_of_other_keyframes_the_tests_are_refused(demo_root, kind):
    dataset = streets(demo_root, frames=None)
    with pytest.raises(ConfigError, match=f'{kind.__name__}: .*set frames=dict'):
        kind()(loaded(dataset, 0))


def test_images_of_other_keyframes_count_into_the_mean_of_a_point(demo_root):
    dataset = streets(demo_root, [OCCLUDED])
    sample = loaded(dataset, later_rows(dataset)[0])
    size = tuple(sample['views'].file_size[0])
    g = torch.Generator().manual_seed(0)
    features, maps = torch.randn(len(sample['points']), 6, generator=g), torch.randn(4, 10, 4, 6, generator=g)

    def batch_of(pairs):
        torch.manual_seed(0)
        return make_batch(
            points=sample['points'].tensor,
            student=features,
            pairs=pairs,
            heads={'distill': DistillationHead(6, 10)},
            make_teacher_map=lambda: maps.contiguous(memory_format=torch.channels_last),
            image_size=size,
        )

    batch = batch_of(sample['pairs'])
    u, v = batch.embed('distill', torch.arange(batch.num_pairs))
    distances = {}
    for point, distance in zip(batch.pairs.point.tolist(), (u - v).norm(dim=1).tolist()):
        distances.setdefault(point, []).append(distance)
    assert max(len(found) for found in distances.values()) > 1
    expected = np.mean([np.mean(found) for found in distances.values()])
    loss = FeatureDistance()(batch)['loss'].item()
    assert loss == pytest.approx(expected, rel=1e-5)
    own = FeatureDistance()(batch_of(sample['pairs'][sample['pairs'].camera < 2]))['loss'].item()
    assert abs(loss - own) > 1e-4


def test_the_demo_trains_on_images_of_three_keyframes(demo_root, run_tool, tmp_path):
    options = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=100', 'param_scheduler.0.warmup=0', 'val_cfg=None']
    options += ['val_dataloader=None', 'val_evaluator=None', 'custom_hooks=[]', 'default_hooks.logger.interval=1']
    options += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    options += ['train_dataloader.dataset.indices=2', 'model.teacher.weights=None']
    arguments = ['--data-root', demo_root, '--work-dir', tmp_path, '--cfg-options', *options]
    run_tool('train', 'configs/demo/lima_demo.py', *arguments)
    log = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    pairs = sorted(json.loads(line)['distance/pairs'] for line in log)
    # one of the samples begins its drive
    assert len(pairs) == 2 and pairs[1] > 1.5 * pairs[0] > 0

"""The synthetic streets as SemanticKITTI and KITTI: read by mmdet3d's own datasets, and geometrically right."""

import pickle
import shutil
from pathlib import Path

import mmengine
import numpy as np
import pytest
from mmdet3d.datasets import KittiDataset, SemanticKittiDataset
from mmdet3d.structures.ops import box_np_ops
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from peridot.datasets.create_infos import load_converter
from peridot.registry import DATASETS
from streets import dataset, make_dataset
from streets.camera import take_photo
from streets.dataset import read_settings
from streets.frame import camera_view, image_view
from streets.lidar import take_sweep
from streets.rig import make_kitti_lidar
from streets.taxonomy import CATEGORIES, INDEX, KITTI_OBJECTS, SCENES, SEMANTIC_KITTI

REPO = Path(__file__).resolve().parents[2]
PROJECT = [dict(type='peridot.LoadImageViews'), dict(type='peridot.ProjectPoints')]
LABELS = [
    dict(type='peridot.LoadPoints', load_dim=4),
    dict(type='peridot.LoadPointLabels', dtype='uint32'),
]


@pytest.fixture(autouse=True)
def mmdet3d_scope():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


def paired(root: Path, name: str, pipeline: list, split: str = 'train', **options):
    folders = dict(pts='training/velodyne', img='training/image_2') if name == 'kitti' else {}
    infos = f'{name}_infos_{split}.pkl'
    common = dict(type='peridot.PairedDataset', data_root=str(root), ann_file=infos, data_prefix=folders, dataset=name)
    return DATASETS.build({**common, 'pipeline': pipeline, **options})


def rendered(root: Path, scene: int, frame: int):
    """The world at a frame's moment and the scan that its files hold."""
    snapshot = camera_view(read_settings(root), scene, frame, 'CAM2')[1]
    return snapshot, take_sweep(snapshot, np.random.default_rng([0, scene, frame, 17]), make_kitti_lidar())


@pytest.fixture(params=['kitti', 'semantickitti'])
def form(request) -> tuple[str, Path]:
    return request.param, request.getfixturevalue(f'{request.param}_root')


def test_infos_list_all_frames(form):
    name, root = form
    counts = {'kitti': dict(train=2, val=1, trainval=3), 'semantickitti': dict(train=2, val=2)}[name]
    for split, count in counts.items():
        content = pickle.loads((root / f'{name}_infos_{split}.pkl').read_bytes())
        assert len(content['data_list']) == count and content['metainfo']['dataset'] == name
    assert not list(root.glob(f'{name}_infos_test.pkl')) and not list(root.rglob('.unfinished*'))
    tokens = {
        'kitti': ['000000', '000002'],
        'semantickitti': ['sequences/00/velodyne/000000', 'sequences/00/velodyne/000001'],
    }
    assert [sample['token'] for sample in paired(root, name, [])] == tokens[name]


def test_projection_is_that_of_the_camera_that_took_the_image(form):
    """Exact, so that a forgotten rectification or the 6 cm between cameras 0 and 2 would show."""
    name, root = form
    sample = paired(root, name, [dict(type='peridot.LoadPoints', load_dim=4), *PROJECT], 'val')[0]
    camera, snapshot = image_view(read_settings(root), sample['img_paths'][0])
    ego = snapshot.world.ego_pose(snapshot.time)
    (lidar_place, lidar_turn), (place, turn) = make_kitti_lidar().world_pose(ego), camera.world_pose(ego)
    pairs, points = sample['pairs'], sample['points'].tensor[:, :3].double().numpy()
    local = (points[pairs.point] @ lidar_turn.T + lidar_place - place) @ turn
    pixel = local @ camera.intrinsic.T
    assert len(pairs.point) > 4000
    np.testing.assert_allclose(pairs.position.numpy(), (pixel[:, :2] / pixel[:, 2:])[:, ::-1], atol=0.01)


def test_points_fall_on_the_pixels_of_their_class(semantickitti_root):
    sample = paired(semantickitti_root, 'semantickitti', LABELS + PROJECT, 'val')[1]
    photo = take_photo(*image_view(read_settings(semantickitti_root), sample['img_paths'][0])[::-1])
    row, column = np.rint(sample['pairs'].position.numpy()).astype(int).T
    table = np.array([sample['seg_label_mapping'][SEMANTIC_KITTI[name][0]] for name in CATEGORIES])
    seen, own = table[photo.category[row, column]], sample['pts_semantic_mask'][sample['pairs'].point.numpy()]
    assert (seen == own).mean() > 0.85
    assert (seen == np.roll(own, 5000)).mean() < 0.6


def test_labels_are_the_renderers(semantickitti_root):
    """mmdet3d's dataset and ours read the same classes, and they are those of the objects that were hit."""
    config = get_config('mmdet3d::_base_/datasets/semantickitti.py')
    theirs = SemanticKittiDataset(
        data_root=str(semantickitti_root),
        ann_file='semantickitti_infos_train.pkl',
        metainfo=config.metainfo,
        pipeline=config.test_pipeline[:3],
        test_mode=True,
    )
    ours = paired(semantickitti_root, 'semantickitti', LABELS, test_mode=True)
    assert len(theirs) == len(ours) == 2
    wanted = {'flat.driveable_surface': 'road', 'static.vegetation': 'vegetation', 'vehicle.car': 'car', 'noise': None}
    wanted |= {'static.manmade': 'building', 'flat.sidewalk': 'sidewalk', 'human.pedestrian.adult': 'person'}
    for frame in range(2):
        _, sweep = rendered(semantickitti_root, 0, frame)
        labels = ours[frame]['pts_semantic_mask']
        np.testing.assert_array_equal(labels, theirs[frame]['pts_semantic_mask'])
        for category, name in wanted.items():
            label = 19 if name is None else ours.metainfo['classes'].index(name)
            hit = sweep.category == INDEX[category]
            assert hit.any() and (labels[hit] == label).all(), category
        raw = np.fromfile(ours[frame]['pts_semantic_mask_path'], np.uint32)
        np.testing.assert_array_equal(raw >> 16, sweep.instance)


def test_moving_objects_have_ids_of_their_own(semantickitti_root):
    snapshot, sweep = rendered(semantickitti_root, 0, 0)
    raw = np.fromfile(semantickitti_root / 'sequences/00/labels/000000.label', np.uint32) & 0xFFFF
    moving = [thing.number for thing in snapshot.world.things if thing.moves]
    cars = sweep.category == INDEX['vehicle.car']
    moves = np.isin(sweep.instance, moving)
    assert set(raw[cars & moves]) <= {252} and set(raw[cars & ~moves]) <= {10} and cars.any()
    assert (raw[moves] > 250).all() and moves.any()


def test_poses_put_static_things_at_one_place(semantickitti_root):
    from scipy.spatial import cKDTree

    folder = semantickitti_root / 'sequences/00'
    lines = dict(line.split(': ') for line in (folder / 'calib.txt').read_text().splitlines())
    to_camera = np.eye(4)
    to_camera[:3] = np.array(lines['Tr'].split(), float).reshape(3, 4)
    poses = np.loadtxt(folder / 'poses.txt').reshape(-1, 3, 4)
    np.testing.assert_allclose(poses[0], np.eye(4)[:3], atol=1e-6)
    assert np.diff(np.loadtxt(folder / 'times.txt')) == pytest.approx(0.5, abs=0.01)
    clouds, raw_clouds = [], []
    for frame in range(2):
        points = np.fromfile(folder / f'velodyne/{frame:06d}.bin', np.float32).reshape(-1, 4)
        labels = np.fromfile(folder / f'labels/{frame:06d}.label', np.uint32) & 0xFFFF
        # far away, the points of one scan are farther from each other than that
        static = np.isin(labels, (50, 70)) & (np.linalg.norm(points[:, :3], axis=1) < 30)
        points = np.c_[points[static, :3], np.ones(static.sum())]
        raw_clouds.append(points[:, :3])
        clouds.append((points @ to_camera.T) @ poses[frame].T)
    apart, unmoved = (np.percentile(cKDTree(first).query(second)[0], 90) for first, second in (clouds, raw_clouds))
    assert np.linalg.norm(poses[1, :, 3]) > 0.5 and apart < 0.25 and unmoved > 0.6


def kitti_objects(root: Path, split: str):
    config = get_config('mmdet3d::_base_/datasets/kitti-3d-3class.py')
    return KittiDataset(
        data_root=str(root),
        ann_file=f'kitti_infos_{split}.pkl',
        data_prefix=dict(pts='training/velodyne_reduced'),
        pipeline=config.train_pipeline[:2],
        filter_empty_gt=False,
    )


@pytest.mark.parametrize('scene, split', [(0, 'train'), (1, 'val')])
def test_boxes_hold_the_points_of_their_objects(kitti_root, scene, split):
    """Boxes in the lidar's frame as mmdet3d reads them, against the objects that the rays of the scan hit."""
    sample = kitti_objects(kitti_root, split)[0]
    snapshot, sweep = rendered(kitti_root, scene, 0)
    things = {thing.number: thing for thing in snapshot.world.things}
    boxes = sample['ann_info']['gt_bboxes_3d'].tensor.numpy()
    grown = boxes + np.float32([0, 0, -0.1, 0.2, 0.2, 0.2, 0])
    within, near = (box_np_ops.points_in_rbbox(sweep.points[:, :3], b) for b in (boxes, grown))
    names, checked = KittiDataset.METAINFO['classes'], 0
    for label, inside, around in zip(sample['ann_info']['gt_labels_3d'], within.T, near.T):
        numbers = sweep.instance[inside][sweep.instance[inside] > 0]
        if len(numbers) < 20:
            continue
        number = np.bincount(numbers).argmax()
        assert KITTI_OBJECTS[things[number].category] == names[label]
        assert (numbers == number).mean() > 0.95 and (sweep.category[inside] != 0).mean() > 0.9
        assert around[sweep.instance == number].mean() > 0.97
        checked += 1
    assert checked >= 5 and (sample['ann_info']['gt_labels_3d'] >= 0).all()


def test_flat_boxes_surround_their_objects_in_the_image(kitti_root):
    sample = paired(kitti_root, 'kitti', [dict(type='peridot.LoadPoints', load_dim=4), *PROJECT])[0]
    info = pickle.loads((kitti_root / 'kitti_infos_train.pkl').read_bytes())['data_list'][0]
    boxes = kitti_objects(kitti_root, 'train')[0]['ann_info']['gt_bboxes_3d'].tensor.numpy()
    points, position = sample['points'].tensor[sample['pairs'].point, :3].numpy(), sample['pairs'].position.numpy()
    kept = [item for item in info['instances'] if item['bbox_label'] >= 0]
    assert len(kept) == len(boxes) < len(info['instances'])  # without those not cared for
    assert {item['occluded'] for item in kept} == {0, 1, 2} and max(item['truncated'] for item in kept) > 0.1
    assert {item['difficulty'] for item in kept} >= {0, 1, 2}
    for item, inside in zip(kept, box_np_ops.points_in_rbbox(points, boxes).T):
        row, column = position[inside].T
        left, top, right, bottom = item['bbox']
        fits = (column > left - 2) & (column < right + 2) & (row > top - 2) & (row < bottom + 2)
        assert not inside.any() or fits.mean() > 0.95
        assert item['num_lidar_pts'] == pytest.approx(inside.sum(), abs=3, rel=0.03)


def test_reduced_clouds_hold_what_the_image_sees(kitti_root):
    full, reduced = (
        np.fromfile(kitti_root / f'training/{folder}/000000.bin', np.float32).reshape(-1, 4)
        for folder in ('velodyne', 'velodyne_reduced')
    )
    seen = {
        row.tobytes()
        for row in full[
            paired(kitti_root, 'kitti', [dict(type='peridot.LoadPoints', load_dim=4), *PROJECT])[0][
                'pairs'
            ].point.numpy()
        ]
    }
    assert 0.05 < len(reduced) / len(full) < 0.3
    assert len(seen.symmetric_difference({row.tobytes() for row in reduced})) < 0.02 * len(reduced)


def test_object_database_serves_object_sample(kitti_root):
    infos = pickle.loads((kitti_root / 'kitti_dbinfos_train.pkl').read_bytes())
    boxes = [sample['ann_info']['gt_labels_3d'] for sample in kitti_objects(kitti_root, 'train')]
    assert sum(map(len, infos.values())) == sum(map(len, boxes)) and {'Car', 'Pedestrian', 'Cyclist'} <= set(infos)
    for item in infos['Car']:
        points = np.fromfile(kitti_root / item['path'], np.float32).reshape(-1, 4)
        assert len(points) == item['num_points_in_gt']
        reach = np.linalg.norm(item['box3d_lidar'][3:6])
        assert (np.linalg.norm(points[:, :3], axis=1) <= reach).all()
    config = get_config('mmdet3d::_base_/datasets/kitti-3d-3class.py')
    sampler = dict(
        data_root=f'{kitti_root}/',
        info_path=f'{kitti_root}/kitti_dbinfos_train.pkl',
        rate=1.0,
        prepare=dict(filter_by_min_points=dict(Car=5)),
        classes=['Car'],
        sample_groups=dict(Car=40),
        points_loader=config.db_sampler.points_loader,
    )
    pipeline = [*config.train_pipeline[:2], dict(type='ObjectSample', db_sampler=sampler)]
    train = dict(type='KittiDataset', data_root=str(kitti_root), ann_file='kitti_infos_val.pkl', pipeline=pipeline)
    train.update(data_prefix=dict(pts='training/velodyne_reduced'), filter_empty_gt=False)
    grown, plain = (DATASETS.build(dict(train, pipeline=steps))[0] for steps in (pipeline, pipeline[:2]))
    assert len(grown['gt_bboxes_3d']) > len(plain['ann_info']['gt_bboxes_3d'])


def test_configs_hand_out_paired_samples(form):
    name, root = form
    config = Config.fromfile(REPO / f'configs/_base_/datasets/{name}_paired.py')
    parts = [config.train_dataloader.dataset, config.picture_dataset]
    if name == 'semantickitti':
        parts += [config.val_dataloader.dataset, config.val_cfg.fit_dataloader.dataset]
    for number, part in enumerate(parts):
        packed = DATASETS.build(dict(part, data_root=str(root)))[0]
        if number < 2:
            assert packed['inputs']['images'].shape == (1, 3, 224, 416)
            assert len(packed['inputs']['pairs']) > 1000
        assert ('gt_pts_seg' in packed['data_samples']) == (name == 'semantickitti' and number > 0)


def test_waymo_infos_of_mmdet3d_are_read(tmp_path):
    """mmdet3d's updater writes the info file; images of one name lie in a folder for each camera."""
    calib = dict(R0_rect=np.eye(4), Tr_velo_to_cam=np.eye(4))
    calib |= {f'P{i}': np.eye(4) * (i + 1) for i in range(5)} | {f'Tr_velo_to_cam{i}': np.eye(4) for i in range(1, 5)}
    info = dict(
        image=dict(image_idx=7, image_path='training/image_0/0000007.jpg', image_shape=(1280, 1920)),
        point_cloud=dict(num_features=6, velodyne_path='training/velodyne/0000007.bin'),
        calib=calib,
        timestamp=1,
        pose=np.eye(4),
        sweeps=[],
    )
    (tmp_path / 'v2').mkdir()
    mmengine.dump([info], tmp_path / 'waymo_infos_train.pkl')
    load_converter('update_infos_to_v2').update_waymo_infos(
        str(tmp_path / 'waymo_infos_train.pkl'), str(tmp_path / 'v2')
    )
    config = Config.fromfile(REPO / 'configs/_base_/datasets/waymo_paired.py')
    sample = DATASETS.build(dict(config.train_dataloader.dataset, data_root=str(tmp_path / 'v2'), pipeline=[]))[0]
    assert sample['token'] == '0000007' and len(sample['img_paths']) == 5
    for number, path in enumerate(sample['img_paths']):
        assert path == str(tmp_path / f'v2/training/image_{number}/0000007.jpg')
        assert sample['cam2img'][number, 0, 0] == number + 1


def test_images_are_found_again_by_name(form):
    name, root = form
    settings = read_settings(root)
    path = {'kitti': 'training/image_2/000001.png', 'semantickitti': 'sequences/08/image_2/000000.png'}[name]
    camera, snapshot = image_view(settings, root / path)
    assert camera.name == 'CAM2' and snapshot.time == camera_view(settings, 1, 0, 'CAM2')[1].time
    assert snapshot.world is camera_view(settings, 1, 0, 'CAM2')[1].world
    with pytest.raises(Exception, match='no image of a synthetic dataset'):
        image_view(settings, root / path.replace('00000', '00999'))


def test_making_it_again_changes_nothing(form, monkeypatch):
    name, root = form
    monkeypatch.setattr(dataset, 'SCENES', SCENES[: {'kitti': 3, 'semantickitti': 2}[name]])
    monkeypatch.setattr(dataset, '_make_all', lambda *_: pytest.fail('made again'))
    keyframes = read_settings(root).keyframes
    make_dataset(root, keyframes, image_size=(188, 621), format=name)
    with pytest.raises(Exception, match='--overwrite'):
        make_dataset(root, keyframes, image_size=(188, 621))


def test_overwriting_takes_the_old_objects_along(kitti_root, tmp_path, monkeypatch):
    root = tmp_path / 'demo'
    shutil.copytree(kitti_root, root)
    (root / 'notes.txt').touch()
    (root / 'training').rename(tmp_path / 'theirs')
    (root / 'training').symlink_to(tmp_path / 'theirs')
    # of another layout, not of this dataset
    (root / 'train').mkdir()
    monkeypatch.setattr(dataset, '_make_all', lambda *_: None)
    make_dataset(root, 1, image_size=(188, 621), format='semantickitti', overwrite=True, infos=False)
    assert {path.name for path in root.iterdir()} == {'notes.txt', 'synthetic.json', 'train'}
    assert read_settings(root).format == 'semantickitti'
    assert (tmp_path / 'theirs/velodyne/000000.bin').is_file()

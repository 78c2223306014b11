import json
import pickle
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmengine.dataset import RepeatDataset
from mmengine.registry import init_default_scope
from peridot.datasets import splits
from peridot.datasets.gt_database import cut_database
from peridot.datasets.splits import VERIFYING_SCENES, make_splits
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS
from peridot.split_files import read_split

REPO = Path(__file__).resolve().parents[2]
VERSION = 'v1.0-trainval'
KITTI_CLASSES = ('Pedestrian', 'Cyclist', 'Car')


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


def write_infos(root: Path, dataset: str, infos: list[dict], **metainfo) -> None:
    root.mkdir(exist_ok=True)
    mmengine.dump(
        dict(metainfo=dict(dataset=dataset, info_version='1.1', **metainfo), data_list=infos),
        root / f'{dataset}_infos_train.pkl',
    )


def make_nuscenes(root: Path, scenes: list[str], per_scene: int = 2) -> Path:
    """Tables in the order of `scenes`; the info file, as mmdet3d's, in another one, and without the last sample."""
    tokens = {f'{scene}/{i}': scene for scene in scenes for i in range(per_scene)}
    infos = [
        dict(
            sample_idx=0,
            token=token,
            images={},
            lidar_points=dict(lidar_path=f'{token.replace("/", "-")}.pcd.bin', num_pts_feats=5),
            instances=[
                dict(
                    bbox_3d=[1.0 + i, 2, 0, 4, 2, 1.5, 0.3],
                    bbox_label=i % 2,
                    bbox_label_3d=i % 2,
                    velocity=[0.0, 0.0],
                    num_lidar_pts=5,
                    bbox_3d_isvalid=i != 1,
                )
                for i in range(3)
            ],
        )
        for token in sorted(tokens)
    ]
    write_infos(root, 'nuscenes', infos, version=VERSION)
    (root / VERSION).mkdir()
    (root / VERSION / 'scene.json').write_text(json.dumps([dict(token=f't-{s}', name=s) for s in scenes]))
    samples = [dict(token=token, scene_token=f't-{scene}') for token, scene in tokens.items()]
    (root / VERSION / 'sample.json').write_text(json.dumps(samples))
    return root


def make_kitti(root: Path, count: int = 12) -> Path:
    camera = dict(img_path='x.png', cam2img=np.eye(4).tolist(), lidar2cam=np.eye(4)[[1, 2, 0, 3]].tolist())
    infos = [
        dict(
            # only every third frame belongs to the training set
            sample_idx=3 * i,
            images=dict(CAM2=camera),
            lidar_points=dict(lidar_path=f'{3 * i:06d}.bin', num_pts_feats=4),
            instances=[
                dict(bbox_3d=[i, 1.0 + j, 9, 4, 1.5, 2, 0.1], bbox_label=j, bbox_label_3d=j, bbox=[0, 0, 9, 9])
                for j in range(3)
            ],
        )
        for i in range(count)
    ]
    write_infos(root, 'kitti', infos)
    return root


def make_semantickitti(root: Path) -> Path:
    infos = [
        dict(
            sample_id=f'{sequence}{frame}',
            lidar_points=dict(lidar_path=f'sequences/{sequence}/velodyne/{frame:06d}.bin', num_pts_feats=4),
            pts_semantic_mask_path=f'sequences/{sequence}/labels/{frame:06d}.label',
        )
        for sequence in ('00', '10', '01')
        for frame in range(7)
    ]
    write_infos(root, 'semantickitti', infos)
    return root


def config(root: Path, dataset: str) -> dict:
    types = dict(nuscenes='NuScenesDataset', kitti='KittiDataset', semantickitti='SemanticKittiDataset')
    prefixes = dict(
        nuscenes=dict(pts='samples/LIDAR_TOP', img='', sweeps='sweeps/LIDAR_TOP'),
        kitti=dict(pts='training/velodyne_reduced'),
        semantickitti=dict(pts=''),
    )
    built = dict(type=types[dataset], data_root=str(root), ann_file=f'{dataset}_infos_train.pkl')
    built['data_prefix'] = prefixes[dataset]
    if dataset == 'semantickitti':
        built['metainfo'] = dict(classes=('car', 'bicycle'), seg_label_mapping={0: 0}, max_label=9)
    return built


def paired(root: Path, dataset: str) -> dict:
    own = config(root, dataset) | dict(type='peridot.PairedDataset', cameras=[], dataset=dataset)
    return {key: value for key, value in own.items() if key != 'metainfo'}


def fraction(dataset: dict, split: str | None):
    return DATASETS.build(dict(type='peridot.LabelFraction', dataset=dataset, split=split))


def scenes_of(split) -> list[str]:
    return list(dict.fromkeys(sample.split('/')[0] for sample in split.samples))


# ---------------------------------------------------------------------------------------------------------- rules


def test_slidr_takes_the_kth_scenes_of_the_table(tmp_path):
    scenes = [f'scene-{i * 37 % 41 + 2000}' for i in range(40)]
    root = make_nuscenes(tmp_path / 'nus', scenes)
    ten, all_of_them = make_splits('nuscenes', root, [10, 100], 'slidr')
    # the released code counts a scene before it compares: the 10th is the first
    assert scenes_of(ten) == scenes[9::10] and len(ten.samples) == 8
    assert scenes_of(all_of_them) == scenes and ten.available == len(all_of_them.samples) == 80


def test_published_numbers_of_scenes_and_scans():
    from peridot.datasets.splits import _choose

    scenes = [f'scene-{i}' for i in range(700)]
    counts = [len(_choose(scenes, 'slidr', percent, 0, by_scene=True)[0]) for percent in (1, 5, 10, 25, 100)]
    assert counts == [7, 35, 70, 175, 700]
    counts = [len(_choose(scenes[:600], 'also', percent, 0, by_scene=True)[0]) for percent in (100, 50, 10, 1)]
    assert counts == [600, 300, 60, 6]
    assert _choose([*scenes[:599], 'scene-0392'], 'also', 0.1, 0, by_scene=True)[0] == ['scene-0392']
    scans = [f'{i:05d}' for i in range(19130)]
    chosen = _choose(scans, 'slidr', 1, 0, by_scene=False)[0]
    assert len(chosen) == 192 and chosen[:2] == ['00000', '00100']


def test_held_out_scenes(tmp_path):
    held_out = sorted(VERIFYING_SCENES)[:4]
    assert len(VERIFYING_SCENES) == 100
    scenes = [
        scene for pair in zip(held_out, ['scene-0001', 'scene-0002', 'scene-0003', 'scene-0004']) for scene in pair
    ]
    root = make_nuscenes(tmp_path / 'nus', scenes)
    (kept,) = make_splits('nuscenes', root, [100], 'slidr', 'parametrizing')
    (verifying,) = make_splits('nuscenes', root, [50], 'slidr', 'verifying')
    (also,) = make_splits('nuscenes', root, [50], 'also')
    assert scenes_of(kept) == scenes[1::2] and kept.name == 'nuscenes_slidr_parametrizing_100pct'
    assert scenes_of(verifying) == [held_out[1], held_out[3]]
    assert scenes_of(also) == ['scene-0002', 'scene-0004'] and also.name == 'nuscenes_also_50pct'


def test_semantickitti_takes_every_kth_scan_in_sorted_order(tmp_path):
    (split,) = make_splits('semantickitti', make_semantickitti(tmp_path / 'kitti'), [20])
    ordered = [f'sequences/{s}/velodyne/{f:06d}' for s in ('00', '01', '10') for f in range(7)]
    assert list(split.samples) == ordered[::5]


def test_random_shares_are_nested_and_depend_on_the_seed(tmp_path):
    root = make_kitti(tmp_path / 'kitti', 100)
    small, large = make_splits('kitti', root, [5, 20], 'random', seed=3)
    assert len(small.samples) == 5 and set(small.samples) < set(large.samples) and len(large.samples) == 20
    assert make_splits('kitti', root, [5], 'random', seed=3)[0] == small
    assert set(make_splits('kitti', root, [5], 'random', seed=4)[0].samples) != set(small.samples)
    assert small.name == 'kitti_random_5pct_seed3' and small.samples == tuple(sorted(small.samples))
    assert make_splits('kitti', root, [20], 'stride')[0].samples == tuple(f'{3 * i:06d}' for i in range(0, 100, 5))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(percents=[1]), 'selects none of the 5 training scenes'),
        (dict(percents=[1], rule='random'), 'selects none of the 5 training scenes'),
        (dict(percents=[50], scenes='verifying'), 'selects none of the 0 verifying training scenes'),
        (dict(percents=[0.1], rule='also'), 'selects none of the 5 parametrizing'),
    ],
)
def test_an_empty_selection_is_an_error(tmp_path, arguments, message):
    root = make_nuscenes(tmp_path / 'nus', [f'scene-{i}' for i in range(5)])
    with pytest.raises(DataError, match=message):
        make_splits('nuscenes', root, **arguments)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('kitti', [5], 'slidr'), 'kitti has no rule .slidr.: choose --rule from random, stride'),
        (('kitti', [75], 'stride'), 'no whole number'),
        (('kitti', [0], 'random'), 'above 0'),
        (('kitti', [101], 'random'), 'above 0'),
        (('kitti', [5], 'random', 'verifying'), 'leave it out'),
    ],
)
def test_settings_that_do_not_fit(tmp_path, arguments, message):
    dataset, *rest = arguments
    with pytest.raises(ConfigError, match=message):
        make_splits(dataset, make_kitti(tmp_path / 'kitti'), *rest)


def test_missing_files_are_named(tmp_path):
    root = make_nuscenes(tmp_path / 'nus', ['scene-1'])
    (root / VERSION / 'scene.json').unlink()
    with pytest.raises(DataError, match=r'scene\.json cannot be read'):
        make_splits('nuscenes', root, [100])
    with pytest.raises(DataError, match=r'kitti_infos_train\.pkl is missing: make it with'):
        make_splits('kitti', root, [100])


# ---------------------------------------------------------------------------------------------------- LabelFraction


@pytest.mark.parametrize('kind', [config, paired])
@pytest.mark.parametrize('dataset', ['nuscenes', 'semantickitti', 'kitti'])
def test_every_dataset_is_cut_to_the_split(tmp_path, dataset, kind):
    make = dict(nuscenes=lambda r: make_nuscenes(r, [f'scene-{i}' for i in range(6)]))
    make.update(semantickitti=make_semantickitti, kitti=make_kitti)
    root = make[dataset](tmp_path / 'data')
    (split,) = make_splits(dataset, root, [50], 'random')
    split.write(root / 'splits')
    assert read_split(root / 'splits' / f'{split.name}.txt') == split
    cut, whole = (fraction(kind(root, dataset), name) for name in (f'splits/{split.name}.txt', None))
    expected = [
        whole.get_data_info(row)['lidar_points']
        for row in range(len(whole))
        if any(
            sample.replace('/', '-' if dataset == 'nuscenes' else '/') in whole.get_data_info(row)['lidar_path']
            for sample in split.samples
        )
    ]
    assert [cut.get_data_info(row)['lidar_points'] for row in range(len(cut))] == expected
    assert len(cut) == len(split.samples) < len(whole) == split.available
    stored = dict(name=split.name, hash=split.hash, selected=len(cut), available=len(whole))
    assert cut.metainfo['split'] == stored and 'split' not in whole.metainfo
    assert RepeatDataset(cut, 2).metainfo['split'] == stored


def test_class_balancing_goes_around_the_fraction(tmp_path):
    root = make_nuscenes(tmp_path / 'nus', [f'scene-{i}' for i in range(4)])
    make_splits('nuscenes', root, [50])[0].write(root / 'splits')
    cut = dict(type='peridot.LabelFraction', dataset=config(root, 'nuscenes'), split='splits/nuscenes_slidr_50pct.txt')
    cut['dataset']['metainfo'] = dict(classes=('car',))
    balanced = DATASETS.build(dict(type='CBGSDataset', dataset=cut))
    assert balanced.metainfo['split']['selected'] == 4
    tokens = {balanced.get_data_info(row)['token'] for row in range(len(balanced))}
    assert tokens and tokens <= set(read_split(root / 'splits/nuscenes_slidr_50pct.txt').samples)
    inside_out = dict(type='CBGSDataset', dataset=cut['dataset'])
    with pytest.raises(ConfigError, match='put the wrapper around'):
        fraction(inside_out, cut['split'])


def test_the_split_is_named_in_log_and_checkpoint(tmp_path, capfd):
    from mmengine.optim import OptimWrapper
    from mmengine.runner import Runner

    root = make_kitti(tmp_path / 'kitti')
    make_splits('kitti', root, [25])[0].write(root / 'splits')
    model = torch.nn.Linear(1, 1)
    runner = Runner(
        model,
        str(tmp_path / 'work'),
        train_dataloader=dict(
            batch_size=1,
            sampler=dict(type='DefaultSampler'),
            dataset=dict(
                type='peridot.LabelFraction', dataset=config(root, 'kitti'), split='splits/kitti_random_25pct.txt'
            ),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)),
        default_scope='mmdet3d',
    )
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.save_checkpoint(str(tmp_path), 'saved.pth')
    stored = torch.load(tmp_path / 'saved.pth', weights_only=True)['meta']['dataset_meta']['split']
    split = read_split(root / 'splits/kitti_random_25pct.txt')
    assert stored == dict(name='kitti_random_25pct', hash=split.hash, selected=3, available=12)
    assert f'split kitti_random_25pct (sha256 {split.hash[:12]}): 3 of 12 samples' in ''.join(capfd.readouterr())


def test_a_split_of_other_data_is_refused(tmp_path):
    root, other = make_kitti(tmp_path / 'kitti', 12), make_kitti(tmp_path / 'other', 30)
    split = make_splits('kitti', other, [50], 'stride')[0].write(root / 'splits')
    with pytest.raises(DataError, match=r'other data: 9 of its 15 samples are not in .*make_splits.py kitti --root'):
        fraction(config(root, 'kitti'), str(split))
    split = make_splits('kitti', root, [50], 'stride')[0].write(other / 'splits')
    with pytest.raises(DataError, match=r'other data: it was chosen from 12 samples, but .* has 30'):
        fraction(config(other, 'kitti'), str(split))


def test_a_changed_or_missing_split_is_refused(tmp_path):
    root = make_kitti(tmp_path / 'kitti')
    path = make_splits('kitti', root, [50], 'random', seed=2)[0].write(root / 'splits')
    text = path.read_text()
    for damaged in (text + '000099\n', text.rsplit('\n', 2)[0] + '\n'):
        path.write_text(damaged)
        with pytest.raises(
            DataError, match=rf'changed or cut off.*kitti --root {root} --rule random --percent 50 --seed 2'
        ):
            read_split(path)
    path.write_text('000003\n')
    with pytest.raises(DataError, match='is no split file'):
        read_split(path)
    path.unlink()
    with pytest.raises(DataError, match=f'{root} --rule random --percent 50 --seed 2'):
        fraction(config(root, 'kitti'), f'splits/{path.name}')


# ------------------------------------------------------------------------------------------- ground-truth databases


def make_database(root: Path, dataset: str, frame_numbers: bool = False) -> dict:
    """As mmdet3d's `create_groundtruth_database` writes it."""
    source = config(root, dataset) | (dict(use_valid_flag=True) if dataset == 'nuscenes' else {})
    source = DATASETS.build(source)
    objects: dict[str, list] = {}
    for row in range(len(source)):
        info = source.get_data_info(row)
        names = [source.metainfo['classes'][label] for label in info['ann_info']['gt_labels_3d']]
        frame = Path(info['lidar_path']).name.split('.')[0]
        for i, (name, box) in enumerate(zip(names, info['ann_info']['gt_bboxes_3d'].numpy())):
            index = int(frame) if frame_numbers else info['sample_idx']
            item = dict(name=name, image_idx=index, gt_idx=i, box3d_lidar=box, frame=frame, num_points_in_gt=9)
            objects.setdefault(name, []).append(item)
    (root / f'{dataset}_dbinfos_train.pkl').write_bytes(pickle.dumps(objects))
    return objects


@pytest.mark.parametrize('dataset, frame_numbers', [('kitti', False), ('kitti', True), ('nuscenes', False)])
def test_databases_are_cut_to_the_frames_of_the_split(tmp_path, dataset, frame_numbers):
    root = tmp_path / 'data'
    root = make_kitti(root) if dataset == 'kitti' else make_nuscenes(root, [f'scene-{i}' for i in range(4)])
    whole = make_database(root, dataset, frame_numbers)
    (split,) = make_splits(dataset, root, [50], 'random')
    path = cut_database(split, f'{dataset}_dbinfos_train.pkl', root)
    assert path == root / 'splits' / f'{split.name}_dbinfos.pkl'
    cut = pickle.loads(path.read_bytes())
    frames = {sample.replace('/', '-') for sample in split.samples}
    assert set(cut) == set(whole) and {item['frame'] for items in cut.values() for item in items} == frames
    for name, items in whole.items():
        assert [i['gt_idx'] for i in cut[name]] == [i['gt_idx'] for i in items if i['frame'] in frames]


def test_a_database_of_other_data_is_refused(tmp_path):
    root, other = make_kitti(tmp_path / 'kitti'), make_kitti(tmp_path / 'other', 4)
    (split,) = make_splits('kitti', root, [50])
    with pytest.raises(DataError, match=r'ground-truth database .* is missing: make it with'):
        cut_database(split, 'kitti_dbinfos_train.pkl', root)
    objects = make_database(other, 'kitti')
    objects['Car'][0]['box3d_lidar'] += 1
    (root / 'kitti_dbinfos_train.pkl').write_bytes(pickle.dumps(objects))
    with pytest.raises(DataError, match='are not those of'):
        cut_database(split, 'kitti_dbinfos_train.pkl', root)


def test_command_line(tmp_path, run_tool, capsys):
    root = make_kitti(tmp_path / 'kitti')
    make_database(root, 'kitti')

    def call(*arguments: str) -> str:
        run_tool('make_splits', 'kitti', '--root', root, '--percent', *arguments)
        return capsys.readouterr().out

    output = call('25', '50', '--dbinfos', 'kitti_dbinfos_train.pkl')
    assert 'kitti_random_25pct.txt: 3 of 12 samples' in output
    assert {path.name for path in (root / 'splits').iterdir()} == {
        f'kitti_random_{share}pct{end}' for share in (25, 50) for end in ('.txt', '_dbinfos.pkl')
    }
    with pytest.raises(SystemExit, match='error: rule random selects none of the 12 training frames'):
        call('1')


def test_a_split_pastes_the_objects_of_its_own_frames(tmp_path):
    sampler = dict(type='ObjectSample', db_sampler=dict(info_path=f'{tmp_path}/kitti_dbinfos_train.pkl'))
    config = dict(type='mmdet3d.KittiDataset', data_root=f'{tmp_path}/', pipeline=[sampler])
    with pytest.raises(DataError, match=r'--rule random --percent 10 .*--dbinfos kitti_dbinfos_train\.pkl'):
        splits.label_fraction(config, 'splits/kitti_random_10pct.txt')
    own = tmp_path / 'splits' / 'kitti_random_10pct_dbinfos.pkl'
    own.parent.mkdir()
    own.touch()
    changed = splits.with_own_objects(config, 'splits/kitti_random_10pct.txt')
    assert changed['pipeline'][0]['db_sampler']['info_path'] == str(own)
    assert sampler['db_sampler']['info_path'].endswith('kitti_dbinfos_train.pkl')

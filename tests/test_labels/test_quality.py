import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.fileio import dump, load
from peridot.errors import ConfigError, DataError
from peridot.evaluation.matched_miou import majority_matching, match_clusters, matched_iou
from peridot.labels import MapJob, OracleGenerator, make_maps
from peridot.labels.quality import compare_maps, region_counts
from peridot.maps import Manifest, MapFolder, images_of, write_manifest, write_map
from peridot.registry import DATASETS
from PIL import Image

REPO = Path(__file__).resolve().parents[2]
CAMERAS = ('CAM_FRONT', 'CAM_BACK_LEFT')
SIZE = (198, 352)
STEPS = [dict(type=f'peridot.{name}') for name in ('LoadPoints', 'LoadPointLabels', 'LoadImageViews', 'ProjectPoints')]


def config_for(root, **changes) -> Config:
    """Two samples with two cameras; the settings of `ProjectPoints` are to be kept."""
    training = dict(
        type='peridot.PairedDataset',
        data_root=str(root),
        ann_file='nuscenes_infos_train.pkl',
        data_prefix=dict(
            pts='samples/LIDAR_TOP',
            pts_semantic_mask='lidarseg/v1.0-mini',
            **{camera: f'samples/{camera}' for camera in CAMERAS},
        ),
        cameras=list(CAMERAS),
        indices=2,
        pipeline=[STEPS[0], STEPS[2], dict(type='peridot.ProjectPoints', min_depth=4.0), dict(type='peridot.Unused')],
    )
    return Config(dict(train_dataloader=dict(dataset={**training, **changes})))


@pytest.fixture(scope='module')
def images(demo_root):
    return images_of(DATASETS.build({**config_for(demo_root).train_dataloader.dataset, 'pipeline': []}))


@pytest.fixture(scope='module')
def folders(demo_root, images, tmp_path_factory) -> dict[str, str]:
    """Labels (the true classes with errors; clusters of them, fewer than classes) and superpixels (blocks)."""
    out = tmp_path_factory.mktemp('maps')
    oracle = make_maps(OracleGenerator(class_noise=0.3), MapJob(images, demo_root, out / 'oracle'))
    names = [f'cluster_{index}' for index in range(6)]
    for folder, manifest in {
        'clusters': Manifest(kind='labels', generator='kmeans', classes=names, ignore=255, hash='sha256:1'),
        'blocks': Manifest(kind='superpixels', generator='slic', num_ids=200, ignore=65535, hash='sha256:2'),
    }.items():
        (out / folder).mkdir()
        write_manifest(out / folder, manifest)
    row, column = np.indices(SIZE)
    for source in images:
        classes = oracle.read(source.path, SIZE).astype(int)
        clusters = np.where((classes == 255) | (classes == 13), 255, classes * 7 % 5)
        write_map(out / f'clusters/{source.key}.png', clusters)
        blocks = np.where(row < 90, 65535, (row // 25) * 20 + column // 20)
        write_map(out / f'blocks/{source.key}.png', blocks, np.uint16)
    return {path.name: str(path) for path in out.iterdir()}


@pytest.fixture(scope='module')
def comparison(demo_root, folders):
    return compare_maps(config_for(demo_root), list(folders.values()), workers=0)


@pytest.fixture(scope='module')
def triples(demo_root, folders) -> dict[str, list[tuple[int, int, int]]]:
    """For each folder (image, true class, map value) of every pair with a true class, by plain loops."""
    pipeline = [*STEPS[:3], dict(type='peridot.ProjectPoints', min_depth=4.0)]
    dataset = DATASETS.build({**config_for(demo_root).train_dataloader.dataset, 'pipeline': pipeline})
    found = {name: [] for name in folders}
    for index in range(2):
        sample = dataset[index]
        pairs = sample['pairs']
        maps = {
            (name, view): maps.read_file(maps.path_for(path))
            for name, maps in ((name, MapFolder(folder, demo_root)) for name, folder in folders.items())
            for view, path in enumerate(sample['img_paths'])
        }
        for point, view, (row, column) in zip(*(pairs[k].tolist() for k in ('point', 'camera', 'position'))):
            true = int(sample['pts_semantic_mask'][point])
            if true < 16:
                for name in folders:
                    value = int(maps[name, view][round(row), round(column)])
                    found[name].append((2 * index + view, true, value))
    return found


def result_of(comparison, folder: str):
    return next(item for item in comparison.maps if item.folder == folder)


@pytest.mark.parametrize('name, count', [('oracle', 16), ('clusters', 6)])
def test_labels_against_a_loop(comparison, folders, triples, name, count):
    confusion, covered = np.zeros((16, count), int), 0
    for _, true, value in triples[name]:
        if value != 255:
            confusion[true, value] += 1
            covered += 1
    found = result_of(comparison, folders[name])
    assert found.confusion == confusion.tolist()
    assert (found.pairs, found.covered) == (len(triples[name]), covered / len(triples[name]))
    assert covered < len(triples[name])
    assert found.purity == sum(max(column) for column in confusion.T) / covered
    for matching, classes, iou, mean in (
        (match_clusters(confusion), found.hungarian, found.iou_hungarian, found.miou_hungarian),
        (majority_matching(confusion), found.majority, found.iou_majority, found.miou_majority),
    ):
        expected = matched_iou(confusion, matching)
        assert classes == matching.tolist() and list(iou) == comparison.classes
        np.testing.assert_allclose([np.nan if value is None else value for value in iou.values()], expected)
        assert mean == pytest.approx(np.nanmean(expected))
    assert found.generator == {'oracle': 'oracle', 'clusters': 'kmeans'}[name]


def test_superpixels_against_loops(comparison, folders, triples):
    with_id = [triple for triple in triples['blocks'] if triple[2] != 65535]
    right = error = regions = 0
    for image in range(4):
        inside = [(true, value) for where, true, value in with_id if where == image]
        for region in {value for _, value in inside}:
            members = [true for true, value in inside if value == region]
            right += max(members.count(true) for true in set(members))
            regions += 1
        for segment in {true for true, _ in inside}:
            for region in {value for true, value in inside if true == segment}:
                within = sum(1 for true, value in inside if value == region and true == segment)
                outside = sum(1 for true, value in inside if value == region and true != segment)
                error += min(within, outside)
    found = result_of(comparison, folders['blocks'])
    assert 0.3 < found.covered < 1 and found.covered == len(with_id) / len(triples['blocks'])
    assert found.achievable_accuracy == pytest.approx(right / len(with_id))
    assert found.undersegmentation_error == pytest.approx(error / len(with_id))
    assert found.superpixels_per_image == regions / 4


def test_true_segments_make_no_error():
    true = np.array([0, 0, 1, 2, 2, 2])
    assert region_counts(true + 5, true, 3).tolist() == [6, 3, 6, 0]
    # two regions: {0, 0, 1} leaks 1 + 1, {2, 2, 2} nothing
    assert region_counts(np.array([4, 4, 4, 9, 9, 9]), true, 3).tolist() == [6, 2, 5, 2]
    assert region_counts(true[:0], true[:0], 3).tolist() == [0, 0, 0, 0]


def test_what_is_compared(comparison, triples):
    assert (comparison.samples, comparison.images, len(comparison.classes)) == (2, 4, 16)
    counts = np.bincount([true for _, true, _ in triples['oracle']], minlength=16)
    assert comparison.class_pairs.tolist() == counts.tolist()
    (first, camera), (second, other) = comparison.shown
    assert first != second and camera != other
    shown = [np.bincount([t for i, t, _ in triples['oracle'] if i == image], minlength=16) >= 10 for image in range(4)]
    assert shown[2 * first + camera].sum() == max(row.sum() for row in shown)


def test_samples_are_evenly_spaced(demo_root, folders):
    one = compare_maps(config_for(demo_root), [folders['blocks']] * 2, samples=1, workers=0)
    assert (one.samples, one.images, len(one.maps), len(one.shown)) == (1, 2, 1, 1)
    with pytest.raises(ConfigError, match='at least one'):
        compare_maps(config_for(demo_root), [folders['blocks']], samples=0)


def test_the_tool_writes_the_same_results_with_any_number_of_workers(
    demo_root, folders, tmp_path, run_tool, capsys, comparison
):
    config_for(demo_root).dump(tmp_path / 'config.py')
    for workers in (0, 2):
        common = (tmp_path / 'config.py', '--maps', *folders.values(), '--out')
        run_tool('eval_weak_labels', *common, tmp_path / str(workers), '--workers', workers)
    output = capsys.readouterr().out
    assert 'mIoU 1:1' in output and 'driveable_surface' in output and str(tmp_path / '2/quality.png') in output
    assert sorted(path.name for path in (tmp_path / '0').iterdir()) == ['quality.json', 'quality.png']
    for name in ('quality.json', 'quality.png'):
        assert (tmp_path / '0' / name).read_bytes() == (tmp_path / '2' / name).read_bytes()
    content = json.loads((tmp_path / '0/quality.json').read_text())
    assert {item['kind'] for item in content['maps']} == {'labels', 'superpixels'}
    miou = next(item['miou_hungarian'] for item in content['maps'] if item['generator'] == 'oracle')
    assert miou == result_of(comparison, folders['oracle']).miou_hungarian
    with Image.open(tmp_path / '0/quality.png') as picture:
        picture.load()
        assert picture.width > 800 and picture.height > 800


def test_errors_are_one_line(demo_root, folders, tmp_path, run_tool):
    infos = load(demo_root / 'nuscenes_infos_train.pkl')
    for info in infos['data_list']:
        info.pop('pts_semantic_mask_path')
    dump(infos, tmp_path / 'infos.pkl')
    config_for(demo_root, ann_file=str(tmp_path / 'infos.pkl')).dump(tmp_path / 'unlabeled.py')
    with pytest.raises(
        SystemExit, match=r'^error: 16 of 16 samples of .* lack an image of .* or point labels'
    ) as stopped:
        run_tool('eval_weak_labels', tmp_path / 'unlabeled.py', '--maps', folders['blocks'], '--workers', 0)
    assert '\n' not in stopped.value.code
    config_for(demo_root).dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit, match=r'^error: .*weak_labels/none does not exist'):
        run_tool('eval_weak_labels', tmp_path / 'config.py', '--maps', 'weak_labels/none')
    (tmp_path / 'other.py').write_text('model = dict()\n')
    with pytest.raises(SystemExit, match=r'^error: the training set of .*other\.py is absent'):
        run_tool('eval_weak_labels', tmp_path / 'other.py', '--maps', folders['blocks'])


def test_no_labeled_point_on_any_image(demo_root, folders):
    nothing = [dict(STEPS[0]), dict(type='peridot.ProjectPoints', min_depth=1e6)]
    with pytest.raises(DataError, match='no labeled point'):
        compare_maps(config_for(demo_root, pipeline=nothing), [folders['blocks']], workers=0)

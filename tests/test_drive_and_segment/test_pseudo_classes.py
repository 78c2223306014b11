import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from peridot.drive_and_segment.proposals.make_proposals import ProposalMaker, make_proposals, sweeps_of
from peridot.drive_and_segment.pseudo_labels import segment_kmeans as pseudo_classes
from peridot.drive_and_segment.pseudo_labels.segment_features import (
    SegmentEncoder,
    crop_segments,
    encode_images,
    segment_boxes,
    whole_image,
)
from peridot.drive_and_segment.pseudo_labels.segment_kmeans import (
    SegmentKMeansGenerator,
    fit_centers,
    nearest_center,
    nearest_rows,
    number_by_size,
    stratified_sample,
)
from peridot.errors import ConfigError, DataError
from peridot.labels import MapJob, make_maps
from peridot.maps import MapFolder
from peridot.registry import DATASETS
from peridot.structures import IGNORE_LABEL
from sklearn.metrics import adjusted_rand_score

REPO = Path(__file__).resolve().parents[2]
DEMO = REPO / 'configs' / 'drive_and_segment' / 'demo.py'
CNN = dict(type='peridot.TimmTeacher', model='test_efficientnet', weights=None)
VIT = dict(type='peridot.TimmTeacher', model='test_vit', weights=None)
SIZE = (198, 352)


@pytest.fixture(scope='module')
def folder(demo_root, tmp_path_factory) -> tuple[Path, list]:
    """Proposals of two sweeps in a folder, and their images."""
    config = Config.fromfile(DEMO)
    settings = {**config.train_dataloader.dataset, 'data_root': str(demo_root), 'indices': 2, 'pipeline': []}
    sweeps = sweeps_of(DATASETS.build(settings))
    images = [source for sweep in sweeps for source in sweep.images]
    out = tmp_path_factory.mktemp('proposals')
    make_proposals(ProposalMaker(**config.proposals), MapJob(images, demo_root, out), sweeps)
    return out, images


@pytest.fixture
def generator(folder):
    def make(**settings) -> SegmentKMeansGenerator:
        torch.manual_seed(0)
        small = dict(teacher=CNN, pool='mean', num_clusters=4, crop_size=64, proposals=str(folder[0]), restarts=2)
        return SegmentKMeansGenerator(**{**small, 'max_share': 0.9, **settings})

    return make


def gaussians(count=60, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(5, count * 5, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    return (8 * np.eye(5, 7)[truth] + rng.normal(size=(count * 5, 7))).astype(np.float32), truth


def some_regions(seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    regions = np.ones((40, 60), np.uint16)
    for number in (2, 3, 5):
        top, left = rng.integers(0, 25, 2)
        regions[top : top + 12, left : left + 9 + number] = number
    regions[0] = 0
    return regions


def test_kmeans_finds_separated_groups():
    features, truth = gaussians()
    centers = fit_centers(features, 5, 3, 0)
    centers, labels, counts = number_by_size(centers, nearest_center(features, centers))
    assert adjusted_rand_score(truth, labels) == 1
    assert (np.diff(counts) <= 0).all() and counts.tolist() == np.bincount(labels).tolist()
    np.testing.assert_array_equal(labels, nearest_center(features, centers))
    np.testing.assert_array_equal(fit_centers(features, 5, 3, 0), fit_centers(features, 5, 3, 0))
    for cluster, rows in enumerate(nearest_rows(features, centers, labels, 4)):
        distance = np.linalg.norm(features - centers[cluster], axis=1)
        assert rows.tolist() == np.argsort(np.where(labels == cluster, distance, np.inf))[:4].tolist()


def test_clusters_are_numbered_by_size():
    labels = np.repeat([0, 1, 2, 3], [2, 9, 1, 4])
    centers, renamed, counts = number_by_size(np.array([[5.0], [6], [7], [8]]), labels)
    assert counts.tolist() == [9, 4, 2, 1] and centers.ravel().tolist() == [6, 8, 5, 7]
    assert renamed.tolist() == [2] * 2 + [0] * 9 + [3] + [1] * 4


def test_nearest_center_in_blocks(monkeypatch):
    monkeypatch.setattr(pseudo_classes, 'BLOCK', 7)
    features, _ = gaussians()
    centers = features[[3, 50, 99]]
    distance = np.linalg.norm(features[:, None] - centers, axis=-1)
    np.testing.assert_array_equal(nearest_center(features, centers), distance.argmin(1))


def test_sample_takes_from_every_camera():
    groups = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [500, 40, 10]))
    rows = stratified_sample(groups, 90, np.random.default_rng(1))
    assert len(set(rows)) == 90 and (np.diff(rows) > 0).all()
    assert np.bincount(groups[rows]).tolist() == [40, 40, 10]
    assert not np.array_equal(rows, stratified_sample(groups, 90, np.random.default_rng(2)))
    assert stratified_sample(groups, 550, np.random.default_rng(1)).tolist() == list(range(550))


def test_boxes_equal_a_loop():
    regions = some_regions()
    ids, boxes, pixels = segment_boxes(regions)
    assert ids.tolist() == sorted(set(np.unique(regions)) - {0, 1})
    for number, box, count in zip(ids, boxes, pixels):
        rows, columns = np.nonzero(regions == number)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] and count == len(rows)
    assert [len(part) for part in segment_boxes(np.ones((5, 5), int))] == [0, 0, 0]


def test_crops_show_the_box():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    regions = np.zeros((40, 60), np.uint16)
    regions[10:18, 20:28] = 2
    regions[12, 22] = 0
    crop = crop_segments(image, regions, 8).inputs[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(crop, image[10:18, 20:28])
    crop = crop_segments(image, regions, 16, context=1.0).inputs[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(crop, image[6:22, 16:32])
    crop = crop_segments(image, regions, 8, mask_background=True).inputs[0].transpose(1, 2, 0)
    assert crop[2, 2].tolist() == [124, 116, 104]
    crop[2, 2] = image[12, 22]
    np.testing.assert_array_equal(crop, image[10:18, 20:28])


@pytest.mark.parametrize('pool', ['class', 'mean', 'mask'])
def test_features_do_not_depend_on_batches(pool):
    torch.manual_seed(0)
    encoder = SegmentEncoder(VIT if pool == 'class' else CNN, pool)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (40, 60, 3), np.uint8) for _ in range(4)]
    # the second image has no segment
    maps = [some_regions(0), np.ones((40, 60), np.uint16), some_regions(2), some_regions(3)]
    side = 160 if pool == 'class' else 64

    def inputs():
        for picture, regions in zip(pictures, maps):
            yield whole_image(picture, regions, 64) if pool == 'mask' else crop_segments(picture, regions, side)

    clock = {'network': 0.0}
    found = list(encode_images(encoder, inputs(), 4, clock))
    assert [len(part) for part in found] == [len(segment_boxes(regions)[0]) for regions in maps] and clock[
        'network'
    ] > 0
    for part, image in zip(found, inputs()):
        for index, feature in enumerate(part):
            if pool == 'mask':
                grid = encoder.teacher(torch.from_numpy(image.inputs.copy())).float()
                # every output position is weighted by how much of the segment reads it
                weight = torch.zeros(1, 1, *grid.shape[-2:], requires_grad=True)
                full = torch.nn.functional.interpolate(
                    weight, image.regions.shape, mode='bilinear', align_corners=encoder.teacher.align_corners
                )
                mask = torch.from_numpy(image.regions == index)
                (share,) = torch.autograd.grad(full[0, 0][mask].mean(), weight)
                expected = (grid * share).sum((0, 2, 3)).numpy()
            else:
                crop = torch.from_numpy(image.inputs[index : index + 1].copy())
                if pool == 'mean':
                    expected = encoder.teacher(crop).mean((2, 3))[0].numpy()
                else:
                    teacher = encoder.teacher
                    with torch.no_grad():
                        tokens = teacher.network.forward_features((crop / 255.0 - teacher.mean) / teacher.std)
                    expected = tokens[0, 0].numpy()
            np.testing.assert_allclose(feature, expected, rtol=1e-3, atol=1e-4)


def test_maps_of_classes(folder, generator, demo_root, tmp_path):
    proposals, images = folder
    job = MapJob(images, demo_root, tmp_path / 'classes')
    maps = make_maps(generator(), job)
    assert maps.manifest.classes == ['ground', 'cluster_01', 'cluster_02', 'cluster_03', 'cluster_04']
    assert maps.manifest.ignore == 255 and (maps.folder / 'clusters.jpg').is_file()
    segments, classes = MapFolder(proposals, demo_root), np.zeros(256, int)
    counts, sizes = np.zeros(4, int), np.zeros(256, int)
    for source in images:
        regions, labels = segments.read(source.path, SIZE), maps.read(source.path, SIZE)
        np.testing.assert_array_equal(labels == 255, regions == 0)
        np.testing.assert_array_equal(labels == 0, regions == 1)
        classes += np.bincount(labels.ravel(), minlength=256)
        for number, _, pixels in zip(*segment_boxes(regions)):
            (own,) = set(labels[regions == number])
            counts[own - 1] += 1
            sizes[own] += pixels
    assert (classes[1:5] == sizes[1:5]).all() and counts.all() and (np.diff(counts) <= 0).all()
    stored = np.load(maps.folder / '.work' / 'clusters.npz')
    assert stored['counts'].tolist() == counts.tolist() and stored['centers'].shape[0] == 4
    # a lost map comes back the same
    path = maps.path_for(images[3].path)
    before = path.read_bytes()
    path.unlink()
    assert make_maps(generator(), job).manifest.hash == maps.manifest.hash and path.read_bytes() == before


def test_clusters_of_other_images(folder, generator, demo_root, tmp_path):
    images = folder[1]
    known = make_maps(generator(), MapJob(images, demo_root, tmp_path / 'known'))
    job = MapJob(images[:3], demo_root, tmp_path / 'others')
    maps = make_maps(generator(clusters=str(known.folder), seed=1), job)
    for source in job.images:
        np.testing.assert_array_equal(maps.read(source.path, SIZE), known.read(source.path, SIZE))
    assert re.fullmatch(r'clusters\.npz crc32:\w{8}', maps.manifest.parameters['clusters'])
    assert 'clusters' not in known.manifest.parameters
    with pytest.raises(DataError, match=r'has 4 clusters, not 7: set pseudo_classes\.num_clusters=4'):
        make_maps(generator(clusters=str(known.folder), num_clusters=7), job)
    with pytest.raises(DataError, match=r'nowhere has no clusters: make its maps with `python tools/make_pseudo_cla'):
        make_maps(generator(clusters='nowhere'), job)


def test_maps_serve_as_weak_labels_of_olivine(folder, generator, demo_root, tmp_path):
    maps = make_maps(generator(), MapJob(folder[1], demo_root, tmp_path / 'classes'))
    config = Config.fromfile(REPO / 'configs' / 'demo' / 'olivine_demo.py').train_dataloader.dataset
    config.pipeline[3].folder = str(maps.folder)
    dataset = DATASETS.build({**config, 'data_root': str(demo_root), 'indices': 2})
    inputs = dataset[0]['inputs']
    labels = inputs['pairs'].label
    assert set(labels.tolist()) <= {*range(5), IGNORE_LABEL} and len(set(labels.tolist())) > 3


def test_fewer_segments_than_clusters(folder, generator, demo_root, tmp_path):
    with pytest.raises(DataError, match=r'segments in 1 images cannot make 200 clusters: set a smaller pseudo_classes'):
        make_maps(generator(num_clusters=200), MapJob(folder[1][:1], demo_root, tmp_path / 'classes'))


def test_a_cluster_that_takes_everything(folder, generator, demo_root, tmp_path):
    problem = r'one of 2 clusters takes \d+% of \d+ segments of 12 images: .*classes/\.work/features'
    with pytest.raises(DataError, match=problem):
        make_maps(generator(num_clusters=2, max_share=0.4), MapJob(folder[1], demo_root, tmp_path / 'classes'))


def test_empty_clusters():
    made = SegmentKMeansGenerator(CNN)
    made._features = Path('features')
    made._check(np.array([5, 5, 1]), 1)
    with pytest.raises(DataError, match='1 of 3 clusters are empty'):
        made._check(np.array([5, 5, 0]), 1)
    with pytest.raises(DataError, match='one of 3 clusters takes 60%'):
        made._check(np.array([6, 3, 1]), 1)


def test_no_proposals(generator, folder, demo_root, tmp_path):
    job = MapJob(folder[1], demo_root, tmp_path / 'classes')
    with pytest.raises(DataError, match=r'holds no proposals: make them with `python tools/make_proposals\.py'):
        make_maps(generator(proposals='nowhere'), job)
    assert not (tmp_path / 'classes').exists()


@pytest.mark.parametrize(
    ('settings', 'problem'),
    [
        ({'num_clusters': 255}, 'num_clusters=255 must lie between 2 and 254'),
        ({'pool': 'max'}, "pool='max' must be one of class, mean, mask"),
        ({'crop_size': 0}, 'crop_size=0'),
    ],
)
def test_settings_that_make_no_sense(generator, settings, problem):
    with pytest.raises(ConfigError, match=problem):
        generator(**settings)


def test_a_network_without_class_token():
    with pytest.raises(ConfigError, match=r"test_efficientnet has no class token: set pseudo_classes\.pool='mean'"):
        SegmentEncoder(CNN, 'class')


def test_the_tool(folder, demo_root, tmp_path, monkeypatch):
    arguments = [DEMO, '--data-root', demo_root, '--out', tmp_path / 'classes', '--workers', 1, '--cfg-options']
    arguments += ['train_dataloader.dataset.indices=2', 'pseudo_classes.teacher.model=test_efficientnet']
    arguments += ['pseudo_classes.teacher.weights=None', 'pseudo_classes.crop_size=32', 'pseudo_classes.num_clusters=3']
    arguments += [f'pseudo_classes.proposals={folder[0]}', 'pseudo_classes.max_share=0.95']
    monkeypatch.setattr(sys, 'argv', ['make_pseudo_classes.py', *map(str, arguments)])
    main = runpy.run_path(str(REPO / 'tools/make_pseudo_classes.py'))['main']
    main()
    assert MapFolder(tmp_path / 'classes', demo_root, generator='segment-kmeans').is_finished
    monkeypatch.setattr(
        sys, 'argv', ['x', str(REPO / 'configs/_base_/datasets/demo_paired.py'), f'--data-root={demo_root}']
    )
    with pytest.raises(ConfigError, match='the config has no `pseudo_classes`'):
        main()

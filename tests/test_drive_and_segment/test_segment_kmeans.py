import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from peridot.drive_and_segment.proposals.generator import ProposalGenerator, sweeps_of
from peridot.drive_and_segment.pseudo_labels.segment_features import SegmentEncoder, segment_boxes
from peridot.drive_and_segment.pseudo_labels.segment_kmeans import SegmentKMeansGenerator, stratified_sample
from peridot.errors import ConfigError, DataError
from peridot.labels import MapJob, make_maps
from peridot.maps import ImageSource, MapFolder
from peridot.registry import DATASETS
from peridot.structures import NO_LABEL

REPO = Path(__file__).resolve().parents[2]
DEMO = REPO / 'configs' / 'drive_and_segment' / 'demo.py'
CNN = dict(type='peridot.TimmTeacher', model='test_efficientnet', weights=None)
SIZE = (198, 352)


@pytest.fixture(scope='module')
def folder(demo_root, tmp_path_factory) -> tuple[Path, list]:
    """Proposals of two sweeps in a folder, and their images."""
    config = Config.fromfile(DEMO)
    settings = {**config.train_dataloader.dataset, 'data_root': str(demo_root), 'indices': 2, 'pipeline': []}
    sweeps = sweeps_of(DATASETS.build(settings))
    images = [source for sweep in sweeps for source in sweep.images]
    out = tmp_path_factory.mktemp('proposals')
    make_maps(ProposalGenerator(sweeps, **config.proposals), MapJob(images, demo_root, out))
    return out, images


@pytest.fixture
def generator(folder):
    def make(**settings) -> SegmentKMeansGenerator:
        torch.manual_seed(0)
        small = dict(teacher=CNN, pool='mean', num_clusters=4, crop_size=64, proposals=str(folder[0]), restarts=2)
        return SegmentKMeansGenerator(**{**small, 'max_fraction': 0.9, **settings})

    return make


def test_sample_takes_from_every_camera():
    groups = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [500, 40, 10]))
    rows = stratified_sample(groups, 90, np.random.default_rng(1))
    assert len(set(rows)) == 90 and (np.diff(rows) > 0).all()
    assert np.bincount(groups[rows]).tolist() == [40, 40, 10]
    assert not np.array_equal(rows, stratified_sample(groups, 90, np.random.default_rng(2)))
    assert stratified_sample(groups, 550, np.random.default_rng(1)).tolist() == list(range(550))


def test_maps_of_pseudo_labels(folder, generator, demo_root, tmp_path):
    proposals, images = folder
    job = MapJob(images, demo_root, tmp_path / 'labels')
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


@pytest.mark.parametrize('pool', ['mean', 'mask'])
def test_an_image_that_exhausts_memory(folder, generator, demo_root, tmp_path, monkeypatch, pool):
    images = folder[1]
    job, exhausted = MapJob(images, demo_root, tmp_path / 'labels'), []
    read, encode = ImageSource.read, SegmentEncoder.encode

    def too_large(self, *args):
        """Reading one image, and with full images the network on another, needs too much."""
        if isinstance(self, ImageSource):
            return np.empty(10**15) if self == images[1] else read(self, *args)
        exhausted.append(1)
        return torch.empty(10**15) if pool == 'mask' and len(exhausted) == 3 else encode(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ImageSource, 'read', too_large)
        patch.setattr(SegmentEncoder, 'encode', too_large)
        more = r' \(and 1 more of 12 images\)' if pool == 'mask' else '; the other maps'
        with pytest.raises(DataError, match=rf'image {images[1].path} needs more memory.*{more}'):
            make_maps(generator(pool=pool), job)
    assert len(list(job.work_dir.rglob('*.npz'))) == 12 - 1 - (pool == 'mask')
    assert make_maps(generator(pool=pool), job).manifest.hash


def test_a_batch_of_crops_that_exhausts_memory(folder, generator, demo_root, tmp_path, monkeypatch):
    monkeypatch.setattr(SegmentEncoder, 'encode', lambda *args: torch.empty(10**15))
    with pytest.raises(
        DataError, match=r'batch of 64 crops needs more memory.*: set a smaller pseudo_labels\.batch_size'
    ):
        make_maps(generator(), MapJob(folder[1], demo_root, tmp_path / 'labels'))


def test_clusters_of_other_images(folder, generator, demo_root, tmp_path):
    images = folder[1]
    known = make_maps(generator(), MapJob(images, demo_root, tmp_path / 'known'))
    job = MapJob(images[:3], demo_root, tmp_path / 'others')
    maps = make_maps(generator(clusters=str(known.folder), seed=1), job)
    for source in job.images:
        np.testing.assert_array_equal(maps.read(source.path, SIZE), known.read(source.path, SIZE))
    assert re.fullmatch(r'clusters\.npz crc32:\w{8}', maps.manifest.parameters['clusters'])
    assert 'clusters' not in known.manifest.parameters
    with pytest.raises(DataError, match=r'has 4 clusters, not 7: set pseudo_labels\.num_clusters=4'):
        make_maps(generator(clusters=str(known.folder), num_clusters=7), job)
    with pytest.raises(DataError, match=r'nowhere has no clusters: make its maps with `python tools/make_pseudo_lab'):
        make_maps(generator(clusters='nowhere'), job)


def test_maps_serve_as_weak_labels_of_olivine(folder, generator, demo_root, tmp_path):
    maps = make_maps(generator(), MapJob(folder[1], demo_root, tmp_path / 'labels'))
    config = Config.fromfile(REPO / 'configs' / 'demo' / 'olivine_demo.py').train_dataloader.dataset
    own = dict(data_root=str(demo_root), indices=2, maps=dict(labels=str(maps.folder)))
    dataset = DATASETS.build({**config, **own})
    inputs = dataset[0]['inputs']
    labels = inputs['pairs'].label
    assert set(labels.tolist()) <= {*range(5), NO_LABEL} and len(set(labels.tolist())) > 3


def test_fewer_segments_than_clusters(folder, generator, demo_root, tmp_path):
    with pytest.raises(DataError, match=r'segments in 1 images cannot form 200 clusters: set a smaller pseudo_labels'):
        make_maps(generator(num_clusters=200), MapJob(folder[1][:1], demo_root, tmp_path / 'labels'))


def test_a_cluster_that_takes_everything(folder, generator, demo_root, tmp_path):
    problem = r'one of 2 clusters takes \d+% of \d+ segments of 12 images: .*labels/\.work/features'
    with pytest.raises(DataError, match=problem):
        make_maps(generator(num_clusters=2, max_fraction=0.4), MapJob(folder[1], demo_root, tmp_path / 'labels'))


def test_empty_clusters():
    made = SegmentKMeansGenerator(CNN)
    made._features = Path('features')
    made._check(np.array([5, 5, 1]), 1)
    with pytest.raises(DataError, match='1 of 3 clusters are empty'):
        made._check(np.array([5, 5, 0]), 1)
    with pytest.raises(DataError, match='one of 3 clusters takes 60%'):
        made._check(np.array([6, 3, 1]), 1)


def test_no_proposals(generator, folder, demo_root, tmp_path):
    job = MapJob(folder[1], demo_root, tmp_path / 'labels')
    with pytest.raises(DataError, match=r'holds no proposals: make them with `python tools/make_proposals\.py'):
        make_maps(generator(proposals='nowhere'), job)
    assert not (tmp_path / 'labels').exists()


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


def test_the_tool(folder, demo_root, tmp_path, run_tool):
    arguments = [DEMO, '--data-root', demo_root, '--out', tmp_path / 'labels', '--workers', 1, '--cfg-options']
    arguments += ['train_dataloader.dataset.indices=2', 'pseudo_labels.teacher.model=test_efficientnet']
    arguments += ['pseudo_labels.teacher.weights=None', 'pseudo_labels.crop_size=32', 'pseudo_labels.num_clusters=3']
    arguments += [f'pseudo_labels.proposals={folder[0]}', 'pseudo_labels.max_fraction=0.95']
    run_tool('make_pseudo_labels', *arguments)
    assert MapFolder(tmp_path / 'labels', demo_root, generator='segment-kmeans').is_finished
    with pytest.raises(SystemExit, match='error: the config has no `pseudo_labels`'):
        run_tool('make_pseudo_labels', REPO / 'configs/_base_/datasets/demo_paired.py', '--data-root', demo_root)
    with pytest.raises(SystemExit, match=r"error: --options of segment-kmeans: .*keyword argument 'side'"):
        run_tool('make_pseudo_labels', DEMO, '--data-root', demo_root, '--options', 'side=3')

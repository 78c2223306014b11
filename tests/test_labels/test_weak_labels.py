import numpy as np
import pytest
import torch
from mmengine.config import Config
from peridot.errors import ConfigError, DataError
from peridot.labels import KMeansGenerator, MapJob, SamKMeansGenerator, SlicGenerator, make_maps, runner
from peridot.maps import Manifest, MapFolder, images_of, write_manifest, write_map
from peridot.registry import DATASETS, MODELS
from torch import nn
from torch.nn import functional as F

TEACHER = {'type': 'peridot.MeanColorTeacher'}


@MODELS.register_module(force=True)
class MeanColorTeacher(nn.Module):
    """Mean colour in cells of 8 x 8 pixels."""

    out_channels, stride, align_corners = 3, 8, False
    calls = 0

    def forward(self, images):
        assert images.dtype == torch.uint8 and images.shape[1] == 3
        MeanColorTeacher.calls += 1
        return F.avg_pool2d(images.float(), 8)


def generator(**options) -> KMeansGenerator:
    defaults = {'teacher': TEACHER, 'num_classes': 4, 'image_height': 96, 'slic_height': 90, 'n_segments': 40}
    return KMeansGenerator(**{**defaults, **options})


def job_for(root, out='weak_labels/kmeans', workers=1) -> MapJob:
    settings = Config.fromfile(root / 'config.py').train_dataloader.dataset
    return MapJob(images_of(DATASETS.build({**settings, 'pipeline': []})), root, root / out, workers)


def content(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob('*.runs'))}


def test_labels_follow_colors(street):
    job = job_for(street)
    maps = make_maps(generator(), job)
    assert (maps.manifest.kind, maps.manifest.generator, maps.ignore) == ('labels', 'kmeans', 255)
    assert maps.manifest.classes == ['cluster_00', 'cluster_01', 'cluster_02', 'cluster_03']
    assert maps.manifest.parameters['teacher'] == TEACHER
    sky, road, areas = set(), set(), np.zeros(256, int)
    for source in job.images:
        array, image = maps.read(source.path, (90, 160)), source.read().astype(int)
        areas += np.bincount(array.ravel(), minlength=256)
        sky |= set(np.unique(array[:15]))
        road |= set(np.unique(array[np.abs(image - (90, 90, 95)).sum(2) < 6][-2000:]))
    assert sky.isdisjoint(road)
    # numbered by area, every pixel has a class
    assert areas[4:].sum() == 0 and (np.diff(areas[:4]) <= 0.02 * areas.sum()).all()


def test_repeatable_and_independent_of_workers(street):
    make_maps(generator(), job_for(street, 'one'))
    make_maps(generator(), job_for(street, 'two', workers=2))
    assert content(street / 'one') == content(street / 'two')
    make_maps(generator(seed=1, num_classes=7), job_for(street, 'three'))
    assert content(street / 'one') != content(street / 'three')


def test_continuing_uses_the_clusters_that_were_found(street):
    job = job_for(street)
    make_maps(generator(), job)
    before = content(job.out)
    assert not (job.work_dir / 'features').exists()
    lost = [job.map_path(source) for source in job.images[:2]]
    for path in lost:
        path.unlink()
    MeanColorTeacher.calls = 0
    make_maps(generator(), job)
    assert content(job.out) == before and MeanColorTeacher.calls == 2


@pytest.mark.parametrize('stage', ['features', 'labels'])
def test_an_interruption_repeats_no_finished_work(street, monkeypatch, stage):
    make_maps(generator(), job_for(street, 'whole'))
    job = job_for(street)
    honest = runner.progress

    def interrupt(results, total, what):
        for number, result in enumerate(honest(results, total, what)):
            if what == stage and number == 3:
                raise KeyboardInterrupt
            yield result

    MeanColorTeacher.calls = 0
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('peridot.labels.runner.progress', interrupt)
        patch.setattr('peridot.labels.weak_labels.progress', interrupt)
        make_maps(generator(), job)
    make_maps(generator(), job)
    assert content(job.out) == content(street / 'whole')
    assert MeanColorTeacher.calls == 8


@pytest.mark.parametrize('rank_first', [0, 1])
def test_two_shards_equal_one(street, monkeypatch, rank_first):
    """Both ranks in turn, as far as the features go; then the first process alone."""
    make_maps(generator(), job_for(street, 'whole'))
    job = job_for(street)
    for rank in (rank_first, 1 - rank_first):
        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr('peridot.labels.runner.dist.get_dist_info', lambda rank=rank: (rank, 2))
            patch.setattr(KMeansGenerator, 'cluster', _interrupted)
            make_maps(generator(), job)
    assert len(list(job.work_dir.rglob('*.npz'))) == 8
    make_maps(generator(), job)
    assert content(job.out) == content(street / 'whole')


def _interrupted(*arguments):
    raise InterruptedError


def test_labels_on_given_superpixels(street):
    superpixels = make_maps(SlicGenerator(n_segments=30), job_for(street, 'superpixels/slic'))
    job = job_for(street)
    maps = make_maps(generator(superpixels='superpixels/slic'), job)
    for source in job.images:
        ids, array = superpixels.read(source.path, (90, 160)), maps.read(source.path, (90, 160))
        for value in np.unique(ids):
            assert len(np.unique(array[ids == value])) == 1
    assert maps.manifest.parameters['superpixels'] == 'superpixels/slic'


def test_superpixel_folder_missing(street):
    with pytest.raises(DataError, match=r'make_superpixels\.py'):
        make_maps(generator(superpixels='superpixels/slic'), job_for(street))


@pytest.fixture
def regions(street):
    """Folder of three regions in each image, which leave pixels without; the first image has none."""
    job = job_for(street, 'superpixels/sam')
    rng = np.random.default_rng(0)
    manifest = Manifest('superpixels', 'sam', num_ids=256, ignore=65535)
    job.out.mkdir(parents=True)
    write_manifest(job.out, manifest)
    for number, source in enumerate(job.images):
        ids = np.full((90, 160), 65535)
        if number:
            ids[:30], ids[40:80, :70], ids[40:80, 80:] = 0, 1, 2
            ids[rng.random(ids.shape) < 0.1] = 65535
        write_map(job.map_path(source), ids, np.uint16)
    return job.maps()


@pytest.mark.filterwarnings('error::RuntimeWarning')
def test_labels_on_regions_of_segment_anything(street, regions, log):
    job = job_for(street, 'weak_labels/sam+kmeans')
    maps = make_maps(SamKMeansGenerator(TEACHER, num_classes=3, image_height=96), job)
    assert (maps.manifest.generator, maps.ignore, maps.num_classes) == ('sam+kmeans', 255, 3)
    assert maps.manifest.parameters['superpixels'] == 'superpixels/sam'
    for source in job.images:
        ids, labels = regions.read(source.path, (90, 160)), maps.read(source.path, (90, 160))
        np.testing.assert_array_equal(labels == 255, ids == 65535)
        assert all(len(np.unique(labels[ids == value])) == 1 for value in np.unique(ids))
    assert set(np.unique(labels)) > {255}
    assert '1 of 8 labels maps are empty: every pixel is ignored: samples/CAM_FRONT/0\n' in log.text


def test_regions_of_segment_anything_missing(street):
    job = job_for(street, 'weak_labels/sam+kmeans')
    with pytest.raises(
        DataError, match=r'superpixels/sam holds no regions .*--generator sam --options checkpoint=FILE'
    ):
        make_maps(SamKMeansGenerator(TEACHER), job)
    assert not job.out.exists()


def test_too_many_clusters(street):
    with pytest.raises(ConfigError, match='num_classes=300'):
        generator(num_classes=300)
    with pytest.raises(DataError, match=r'superpixels in 1 images cannot form 250 clusters.*num_classes=N'):
        make_maps(generator(num_classes=250, fit_images=1), job_for(street))


def test_config_without_teacher():
    with pytest.raises(ConfigError, match=r'no model\.teacher'):
        KMeansGenerator.settings_from_config(Config({'model': {}}))
    assert KMeansGenerator.settings_from_config(Config({'model': {'teacher': TEACHER}})) == {'teacher': TEACHER}


def test_a_damaged_image_is_reported_in_the_first_stage(street):
    job = job_for(street)
    with open(job.images[0].path, 'r+b') as file:
        file.truncate(600)
    with pytest.raises(DataError, match=r'CAM_FRONT/0\.jpg .*damaged'):
        make_maps(generator(), job)
    assert MapFolder(job.out, street).manifest.hash is None

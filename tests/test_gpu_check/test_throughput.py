import itertools
from dataclasses import replace

import pytest
import streets
from peridot.gpu_check import throughput
from peridot.gpu_check.configs import load_config


def test_samples_a_second_give_the_hours_of_the_schedule(small, monkeypatch):
    monkeypatch.setattr(throughput, 'MIN_STEPS', 2)
    found = throughput.throughput('also_nus', small, small.folder / 'streets')
    assert (found['samples'], found['epochs'], found['batch'], found['workers']) == (28_130, 200, 1, 0)
    assert found['hours'] == pytest.approx(28_130 * 200 / found['samples_a_second'] / 3600)
    assert 0 <= found['waiting'] <= 1


def test_streets_are_read_with_made_up_maps(small, demo_root):
    large = replace(small, small=False)
    (small.folder / 'nuscenes').mkdir()
    for path in demo_root.iterdir():
        (small.folder / 'nuscenes' / path.name).symlink_to(path)
    for name, kind in (('olivine_nus', 'weak_labels'), ('slidr_nus', 'superpixels')):
        config = load_config(small.configs / f'pretrain/{name}.py', small)
        # maps of the small images of the tests
        throughput.IMAGE, before = (198, 352), throughput.IMAGE
        try:
            (small.folder / 'nuscenes' / kind).unlink(missing_ok=True)
            throughput.use_files(config, large, small.folder)
        finally:
            throughput.IMAGE = before
        loader = throughput.build_loader(config, workers=False)
        assert len(loader.dataset) == 28_130
        batch = next(iter(loader))
        assert len(batch['inputs']['pairs'][0].point) > 100


def test_all_formats_of_the_mix_are_rendered(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(
        streets, 'make_dataset', lambda root, *args, **kwargs: made.append((root.name, kwargs['format']))
    )
    throughput.make_streets(tmp_path)
    assert made == [(name, name) for name in ('nuscenes', 'semantickitti', 'pandaset')]


def test_batches_never_end():
    assert list(itertools.islice(throughput.endless([1, 2]), 5)) == [1, 2, 1, 2, 1]

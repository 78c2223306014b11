"""Several datasets as one: order, shares, seeds, and batches across datasets."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from peridot.datasets import mixed_dataset
from peridot.datasets.mixed_dataset import MixedDataset, divide_epoch
from peridot.datasets.sampler import SampleKey, SeededSampler
from peridot.errors import ConfigError, DataError
from peridot.models.preprocessor import PairedDataPreprocessor
from peridot.preflight.inputs import check_training_paths
from peridot.registry import DATASETS
from torch.utils.data import DataLoader, Dataset

REPO = Path(__file__).resolve().parents[2]
# mmengine's serialization collects garbage, which takes longer than these tests
FAST = dict(serialize_data=False)


def pipeline(size=(45, 80)) -> list:
    return [
        dict(type='peridot.LoadPoints'),
        dict(type='peridot.VoxelDownsample', voxel_size=2.0),
        dict(type='peridot.ChooseCamera'),
        dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[-3.14, 3.14], scale_ratio_range=[0.9, 1.1]),
        dict(type='peridot.ResizeViews', size=size),
        dict(type='peridot.AppendPointFeatures'),
        dict(type='peridot.PackPaired'),
    ]


def mix(tiny, *indices, sizes=((45, 80), (45, 80)), **options) -> MixedDataset:
    parts = [tiny.config(pipeline(size), indices=index, **FAST) for index, size in zip(indices, sizes)]
    return DATASETS.build(dict(type='peridot.MixedDataset', datasets=parts, **options))


class Numbers(Dataset):
    """A dataset of a given size that gives back the key."""

    def __init__(self, size: int) -> None:
        self.size, self.ann_file, self.metainfo = size, 'numbers.pkl', {'dataset': f'numbers{size}'}

    def full_init(self) -> None:
        pass

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key):
        return key


def numbers(*sizes: int, balance: str | None = None) -> MixedDataset:
    """A mix of datasets of given sizes, without any file."""
    mixed = MixedDataset.__new__(MixedDataset)
    mixed.balance, mixed.datasets, mixed._ends = balance, [Numbers(size) for size in sizes], []
    return mixed


def epoch(mixed: MixedDataset, number: int = 0, **options) -> list[tuple[int, int]]:
    sampler = SeededSampler(mixed, seed=3, **options)
    sampler.set_epoch(number)
    return [mixed.locate(*key) for key in sampler]


def test_plain_concatenation_gives_every_sample_once_and_passes_the_seed(tiny):
    mixed = mix(tiny, [0, 1, 2], [3])
    assert len(mixed) == 4
    tokens = [mixed[i]['data_samples'].metainfo['token'] for i in range(4)]
    assert tokens == ['token0', 'token1', 'token2', 'token3']
    first, again, other = (mixed[SampleKey(3, seed)]['inputs']['points'] for seed in (7, 7, 8))
    torch.testing.assert_close(first, again)
    assert first.shape != other.shape or (first != other).any()
    alone = tiny.build(pipeline(), **FAST)[SampleKey(3, 7)]['inputs']['points']
    torch.testing.assert_close(first, alone)
    for number in range(3):
        assert sorted(epoch(mixed, number)) == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_large_places_are_exact():
    mixed = numbers(28130, 19130, 3920, 3920)
    assert len(mixed) == 55100
    places = [0, 28129, 28130, 47259, 47260, 51179, 51180, 55099]
    expected = [(0, 0), (0, 28129), (1, 0), (1, 19129), (2, 0), (2, 3919), (3, 0), (3, 3919)]
    for seed in (None, 0, 1, 2**32 - 1):
        assert [mixed.locate(place, seed) for place in places] == expected
    with pytest.raises(IndexError):
        mixed.locate(55100)


@pytest.mark.parametrize('balance, shares', [(None, [1600, 100]), ('sqrt', [1360, 340]), ('equal', [850, 850])])
def test_shares_of_an_epoch(balance, shares):
    mixed = numbers(1600, 100, balance=balance)
    assert len(mixed) == 1700
    drawn = epoch(mixed)
    assert [sum(number == i for number, _ in drawn) for i in (0, 1)] == shares
    # the small dataset: each of its samples equally often, up to one
    repeats = Counter(sample for number, sample in drawn if number == 1)
    assert len(repeats) == 100 and max(repeats.values()) - min(repeats.values()) <= 2
    assert abs(np.mean(list(repeats.values())) - shares[1] / 100) < 1e-9


def test_a_large_dataset_gives_other_samples_every_epoch():
    mixed = numbers(1600, 100, balance='equal')
    epochs = [{sample for number, sample in epoch(mixed, i) if number == 0} for i in range(8)]
    # 850 places for 1600 samples: hardly a sample twice, all of them sooner or later
    assert all(len(samples) > 690 for samples in epochs)
    assert len(epochs[0] & epochs[1]) < 0.65 * len(epochs[0])
    assert len(set.union(*epochs)) > 1580
    assert epoch(mixed, 2) == epoch(mixed, 2)


def test_parts_of_an_epoch_have_the_sum_of_the_sizes():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(1, 1000, rng.integers(1, 6)).tolist()
        for power in (0.0, 0.5, 1.0):
            counts = divide_epoch(sizes, power)
            exact = np.power(sizes, power) / np.power(sizes, power).sum() * sum(sizes)
            assert sum(counts) == sum(sizes) and min(counts) >= 1 and np.abs(counts - exact).max() <= 1
        assert divide_epoch(sizes, 1.0) == sizes


def test_processes_and_workers_see_the_same_epoch(tiny, monkeypatch):
    mixed = mix(tiny, [0, 1, 2], [3], balance='equal')

    def load(rank: int, processes: int, workers: int) -> dict:
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, processes))
        loader = DataLoader(mixed, 1, sampler=SeededSampler(mixed, seed=1), num_workers=workers, collate_fn=list)
        return {
            sample['data_samples'].metainfo['token'] + f'/{len(sample["inputs"]["points"])}': float(
                sample['inputs']['points'].double().sum()
            )
            for (sample,) in loader
        }

    alone = load(0, 1, 0)
    assert alone == load(0, 1, 2) == {**load(0, 2, 0), **load(1, 2, 1)}
    assert len(alone) >= 3


def test_batches_across_datasets_with_other_numbers_of_cameras_and_points(tiny):
    wide = pipeline()
    wide[2] = dict(type='peridot.ChooseCamera', num_cameras=None)
    parts = [tiny.config(pipeline(), indices=[0], **FAST), tiny.config(wide, indices=[1], **FAST)]
    mixed = DATASETS.build(dict(type='peridot.MixedDataset', datasets=parts))
    batch = PairedDataPreprocessor()(pseudo_collate([mixed[SampleKey(i, 3)] for i in range(2)]))
    inputs = batch['inputs']
    lengths = [len(points) for points in inputs['points']]
    assert inputs['images'].shape == (3, 3, 45, 80) and lengths[0] != lengths[1]
    assert set(inputs['pairs'].camera.tolist()) == {0, 1, 2}
    assert (inputs['pairs'].point[inputs['pairs'].camera > 0] >= lengths[0]).all()
    assert int(inputs['pairs'].point.max()) == sum(lengths) - 1


def test_images_of_different_sizes_are_one_clear_line(tiny):
    mixed = mix(tiny, [0], [1], sizes=((45, 80), (45, 90)))
    batch = pseudo_collate([mixed[0], mixed[1]])
    with pytest.raises(ConfigError, match=r'45x80 \(nuscenes\), 45x90 \(nuscenes\): give all datasets'):
        PairedDataPreprocessor()(batch)


def test_a_dataset_without_samples_is_named(tiny):
    with pytest.raises(DataError, match=r'`indices` leaves no sample of \S+infos.pkl: name at least one'):
        mix(tiny, [0, 1], [])
    with pytest.raises(DataError, match=r'numbers.pkl of the mix holds no sample: leave it out'):
        numbers(3, 0).full_init()
    tiny.content['data_list'] = []
    tiny.write_infos()
    with pytest.raises(DataError, match=r'infos.pkl holds no sample: make it again'):
        mix(tiny, [0], [0])


def test_settings_that_make_no_mix_are_refused(tiny):
    with pytest.raises(ConfigError, match='datasets is empty'):
        MixedDataset([])
    with pytest.raises(ConfigError, match="choose None, 'sqrt' or 'equal'"):
        mix(tiny, [0], [1], balance='linear')


def test_sizes_and_shares_are_logged_once(tiny, monkeypatch):
    mixed, lines = mix(tiny, [0, 1, 2], [3], balance='equal'), []
    monkeypatch.setattr(mixed_dataset, 'print_log', lambda text, *_, **__: lines.append(text))
    mixed.full_init()
    mixed.full_init()
    assert lines == ['an epoch of 4 samples: nuscenes 2 of 3 samples (50.0%), nuscenes 2 of 1 samples (50.0%)']
    assert mixed.metainfo['dataset'] == 'mixed' and len(mixed.metainfo['datasets']) == 2


def test_missing_folders_are_found_before_training(tiny):
    parts = [tiny.config(pipeline()), tiny.config(pipeline(), data_root='no/where')]
    config = Config(dict(train_dataloader=dict(dataset=dict(type='peridot.MixedDataset', datasets=parts))))
    with pytest.raises(DataError, match='the data root no/where does not exist'):
        check_training_paths(config)


def test_config_mixes_the_three_formats(demo_root, semantickitti_root, pandaset_root):
    """A batch of ScaLR's joint pre-training, from the config to the model's inputs."""
    config = Config.fromfile(REPO / 'configs/_base_/datasets/scalr_mixed.py')
    roots = [demo_root, semantickitti_root, pandaset_root, pandaset_root]
    mix = config.train_dataloader.dataset
    mix.datasets = [dict(part, data_root=str(root), **FAST) for part, root in zip(mix.datasets, roots)]
    mixed = DATASETS.build(mix)
    sizes = [len(dataset) for dataset in mixed.datasets]
    assert min(sizes) > 0 and len(mixed) == sum(sizes)
    first = np.cumsum([0, *sizes[:-1]]).tolist()
    loader = DataLoader(mixed, 4, sampler=[SampleKey(i, i) for i in first], num_workers=1, collate_fn=pseudo_collate)
    (collated,) = loader
    inputs, samples = (batch := PairedDataPreprocessor()(collated))['inputs'], batch['data_samples']
    assert [sample.dataset for sample in samples] == ['nuscenes', 'semantickitti', 'pandar64', 'pandargt']
    assert inputs['images'].shape == (4, 3, 224, 448) and inputs['images'].float().std() > 10
    pairs, lengths = inputs['pairs'], [len(points) for points in inputs['points']]
    assert pairs.point.tolist() == list(range(sum(lengths))) and min(lengths) > 200
    assert pairs.camera.bincount().tolist() == lengths and max(lengths) <= 20000
    for points in inputs['points']:
        # one camera's part of the scan; intensities of a common scale
        assert points.shape[1] == 8 and abs(points[:, 3].mean()) < 3
        torch.testing.assert_close(points[:, :3], points[:, 4:7])

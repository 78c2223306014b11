import random

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from peridot.datasets import SampleKey, SeededSampler, seeded_sample
from torch.utils.data import DataLoader


def batches(dataset, workers: int, epoch: int = 0, seed: int = 3) -> list[dict]:
    sampler = SeededSampler(dataset, seed=seed)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=pseudo_collate)
    return list(loader)


def fingerprint(loaded: list[dict]) -> list[tuple]:
    return [
        (
            sample.token,
            *(float(inputs[name][i].double().sum()) for name in ('points', 'images')),
            float(inputs['pairs'][i].position.double().sum()),
        )
        for inputs, samples in ((batch['inputs'], batch['data_samples']) for batch in loaded)
        for i, sample in enumerate(samples)
    ]


def test_augmentations_do_not_depend_on_workers(tiny, train_pipeline):
    dataset = tiny.build(train_pipeline)
    alone = fingerprint(batches(dataset, 0))
    assert alone == fingerprint(batches(dataset, 1))
    assert alone == fingerprint(batches(dataset, 2))
    assert len(set(alone)) == 4


def test_epochs_and_seeds_differ_and_repeat(tiny, train_pipeline):
    dataset = tiny.build(train_pipeline)
    runs = [sorted(fingerprint(batches(dataset, 0, *which))) for which in ((0, 3), (1, 3), (0, 4), (1, 3))]
    assert runs[0] != runs[1] and runs[0] != runs[2]
    assert runs[1] == runs[3]


@pytest.mark.parametrize('world_size', [2, 3])
def test_processes_together_are_one(monkeypatch, world_size):
    dataset = range(12)
    alone = list(SeededSampler(dataset, seed=5))
    shares = []
    for rank in range(world_size):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, world_size))
        shares.append(list(SeededSampler(dataset, seed=5)))
    assert [key for keys in zip(*shares) for key in keys] == alone
    assert sorted(key.index for key in alone) == list(dataset)
    assert len({key.seed for key in alone}) == 12


def test_int_and_key_name_the_same_sample(tiny):
    dataset = tiny.build([])
    assert dataset[2]['token'] == dataset[SampleKey(2, 0)]['token'] == 'token2'


def test_seeded_sample_puts_states_back():
    def draw() -> tuple:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with seeded_sample(7):
        first = draw()
    assert draw() == expected
    with seeded_sample(7):
        assert draw() == first
    with pytest.raises(RuntimeError), seeded_sample(8):
        raise RuntimeError
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with seeded_sample(None):
        assert draw() == expected

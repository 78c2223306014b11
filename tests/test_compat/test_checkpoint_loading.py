import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from peridot.compat import checkpoint_loading
from torch.utils.data import DataLoader, Dataset


class Points(Dataset):
    metainfo = dict(classes=('car', 'road'), palette=[(1, 2, 3)], weights=np.arange(3.0))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(x=torch.full((2,), float(index)))


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, mode='loss'):
        return dict(loss=self.layer(x).square().mean()) if mode == 'loss' else [1]


class Score(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(score=np.float64(1.5))


def runner(folder, epochs, **kwargs):
    return Runner(
        model=Net(),
        work_dir=str(folder),
        train_dataloader=DataLoader(Points(), batch_size=2),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_dataloader=DataLoader(Points(), batch_size=2),
        val_cfg=dict(),
        val_evaluator=[Score()],
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        param_scheduler=[dict(type='OneCycleLR', eta_max=0.1, total_steps=8, by_epoch=False)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best='score', rule='greater')),
        experiment_name=f'checkpoint_{epochs}',
        **kwargs,
    )


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runner')
    runner(folder, 2).train()
    return folder


def test_upstream_refuses_its_own_checkpoint(work_dir, python):
    done = python(f'import mmengine.runner, torch; torch.load({str(work_dir / "epoch_2.pth")!r})')
    if done.returncode == 0:
        pytest.skip('this torch and mmengine load the checkpoint by themselves')
    assert 'UnpicklingError' in done.stderr


def test_runner_resumes_from_its_checkpoint(work_dir):
    resumed = runner(work_dir, 4, resume=True)
    resumed.train()
    assert resumed.epoch == 4
    history = resumed.message_hub.get_scalar('train/loss')
    assert isinstance(history, HistoryBuffer)
    assert len(history.data[0]) == 8
    assert history.mean() == pytest.approx(history.data[0].mean())


def saved(value) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize('kind', '?bhilqBHILQefdFD')
def test_numpy_values_of_every_plain_type(kind):
    array = np.ones((2, 3), dtype=kind)
    loaded = torch.load(saved(dict(array=array, scalar=array[0, 0], dtype=array.dtype)))
    np.testing.assert_array_equal(loaded['array'], array)
    assert loaded['scalar'] == array[0, 0]
    assert loaded['dtype'] == array.dtype


def test_both_numpy_spellings_are_known():
    names = {entry[1] for entry in torch.serialization.get_safe_globals() if isinstance(entry, tuple)}
    for module in ('numpy.core', 'numpy._core'):
        assert {f'{module}.multiarray.scalar', f'{module}.multiarray._reconstruct'} <= names


class WritesFile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


class Reaches:
    """Asks for an attribute that leads out of the harmless classes."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


def test_a_pickle_that_would_write_a_file_is_refused(tmp_path):
    target = tmp_path / 'written'
    buffer = saved(dict(state_dict={}, meta=WritesFile(target)))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(buffer)
    assert not target.exists()
    with zipfile.ZipFile(buffer) as archive:
        data = next(name for name in archive.namelist() if name.endswith('data.pkl'))
        assert b'written' in archive.read(data), 'the file was not malicious after all'


@pytest.mark.parametrize('owner, name', [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile'), (np.dtype, 'mro')])
def test_getattr_reaches_only_the_known_methods(owner, name):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(saved(Reaches(owner, name)))
    assert torch.load(saved(Reaches(HistoryBuffer, 'mean'))) is HistoryBuffer.mean


def test_weights_only_stays_on():
    with pytest.raises(pickle.UnpicklingError):
        torch.load(saved(dict(hidden=Points())))


def test_second_call_does_nothing():
    assert not checkpoint_loading.repair(torch)

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import fileio
from mmengine.config import Config
from peridot.datasets import LidarFolder
from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path, exists, find, join, names_in, read_bytes, read_file, write_bytes
from peridot.maps import MapFolder
from peridot.registry import DATASETS

REPO = Path(__file__).resolve().parents[1]


class FolderBackend(fileio.LocalBackend):
    """A store whose URIs `SCHEME://bucket/...` are files below a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _path(self, uri: str) -> str:
        return str(Path(self.folder, uri.split('://bucket/', 1)[1]))

    def get(self, filepath):
        return super().get(self._path(filepath))

    def isdir(self, filepath):
        return super().isdir(self._path(filepath))

    def isfile(self, filepath):
        return super().isfile(self._path(filepath))

    def list_dir_or_file(self, dir_path, *args, **kwargs):
        return super().list_dir_or_file(self._path(dir_path), *args, **kwargs)


@pytest.fixture
def store(monkeypatch):
    """`backend_args` of a store that holds a folder."""
    from mmengine.fileio.backends import registry_utils

    monkeypatch.setitem(registry_utils.backends, 'folder', FolderBackend)
    return lambda folder: dict(backend='folder', folder=str(folder))


@pytest.fixture
def server():
    """`server(folder)`: address of a web server of this machine that serves a folder."""
    servers = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    def serve(folder) -> str:
        servers.append(ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(folder))))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f'http://127.0.0.1:{servers[-1].server_port}'

    yield serve
    for item in servers:
        item.shutdown()
        item.server_close()


@pytest.fixture
def training_set(labeled_root):
    """`training_set(data_root, **settings)`: samples of the demo's training set with labels, superpixels and sweeps."""
    config = Config.fromfile(REPO / 'configs/demo/olivine_demo.py')
    steps = [dict(type='peridot.LoadViewMaps'), dict(type='peridot.LoadSecondSweep')]
    settings = dict(config.train_dataloader.dataset, num_sweeps=1)
    settings['maps'] = dict(settings['maps'], superpixels='superpixels/slic')
    settings['pipeline'] = [config.load_points, config.load_labels, *config.load_views, *steps, config.pack]

    def build(data_root, **others):
        return DATASETS.build({**settings, 'data_root': str(data_root), **others})

    return build


def assert_same(one, other) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif torch.is_tensor(one):
        assert torch.equal(one, other)


def test_a_sample_from_a_store_is_the_one_on_the_disk(training_set, labeled_root, store):
    local, remote = training_set(labeled_root), training_set('s3://bucket/', backend_args=store(labeled_root))
    assert len(remote) == len(local)
    samples = [dataset[0] for dataset in (local, remote)]
    assert_same(samples[0]['inputs'], samples[1]['inputs'])
    assert {'points', 'images', 'maps'} <= samples[0]['inputs'].keys()


def test_a_sample_from_a_web_server_is_the_one_on_the_disk(training_set, labeled_root, server):
    local, remote = training_set(labeled_root), training_set(server(labeled_root))
    assert_same(local[0]['inputs'], remote[0]['inputs'])


def test_transforms_may_have_a_store_of_their_own(training_set, labeled_root, store, tmp_path):
    empty, full = store(tmp_path), store(labeled_root)
    dataset = training_set('s3://bucket/', backend_args=full)
    assert all(step.backend_args == full for step in dataset.pipeline.transforms if hasattr(step, 'backend_args'))
    own = dict(type='peridot.LoadPoints', backend_args=empty)
    dataset = training_set('s3://bucket/', backend_args=full, pipeline=[own], maps={})
    with pytest.raises(DataError, match=r'point file s3://bucket/samples/LIDAR_TOP/.* cannot be read'):
        dataset[0]


REMOTE = """
_base_ = '{repo}/configs/demo/ppkt_demo.py'
store = dict(backend_args=dict(backend='folder', folder='{folder}'))
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(**store, indices=2))
val_dataloader = dict(num_workers=0, dataset=store)
val_cfg = dict(fit_dataloader=dict(num_workers=0, dataset=store), fit_scans=1)
picture_dataset = store
train_cfg = dict(max_epochs=1)
small = dict(base_channels=4, encoder_channels=[4, 4, 8, 8], decoder_channels=[8, 8, 8, 8])
model = dict(student=dict(backbone=small))
"""


def test_a_run_reads_everything_from_a_store(labeled_root, store, tmp_path, run_tool):
    config = tmp_path / 'remote.py'
    config.write_text(REMOTE.format(repo=REPO, folder=labeled_root))
    run_tool('train', config, '--data-root', 's3://bucket/', '--work-dir', tmp_path / 'run')
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'probe/miou' in log and 'switched off' not in log
    assert (tmp_path / 'run/backbone.pth').is_file() and list((tmp_path / 'run/pictures').iterdir())


def test_what_a_store_lacks_is_named(training_set, labeled_root, store, server, tmp_path):
    with pytest.raises(DataError, match=r'the data root s3://bucket/none does not exist'):
        training_set('s3://bucket/none', backend_args=store(labeled_root))
    with pytest.raises(DataError, match=r'info file http://.*/nuscenes_infos_train.pkl cannot be read'):
        training_set(server(tmp_path))
    with pytest.raises(ConfigError, match=r'no file back end of mmengine reads it .*set `backend_args`'):
        training_set('gs://bucket/data')
    with pytest.raises(ConfigError, match=r'no file back end of mmengine reads it .*wrong'):
        training_set('s3://bucket/data', backend_args=dict(backend='wrong'))


def test_missing_maps_of_a_store_are_counted(training_set, labeled_root, store, tmp_path):
    for entry in labeled_root.iterdir():
        if entry.name != 'superpixels':
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / 'superpixels/slic').mkdir(parents=True)
    (tmp_path / 'superpixels/slic/manifest.json').symlink_to(labeled_root / 'superpixels/slic/manifest.json')
    with pytest.raises(DataError, match=r's3://bucket/superpixels/slic has no map for \d+ of \d+ images'):
        training_set('s3://bucket/', backend_args=store(tmp_path))


def test_a_server_cannot_list_but_an_absent_map_is_named_when_it_is_read(server, tmp_path, labeled_root):
    manifest = (labeled_root / 'superpixels/slic/manifest.json').read_text()
    (tmp_path / 'manifest.json').write_text(manifest)
    maps = MapFolder(server(tmp_path), 'data')
    assert maps.missing([('a.jpg', None)]) == []
    with pytest.raises(DataError, match=r'superpixels map http://.*/a\.(png|runs) is missing: remake it'):
        maps.read('a.jpg', (2, 2))


def test_answers_of_disks_and_stores_agree(store, tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'b.bin').write_bytes(b'1')
    for root, args in ((str(tmp_path), None), ('s3://bucket', store(tmp_path))):
        assert read_file(join(root, 'a/b.bin'), 'file', args) == b'1'
        assert exists(join(root, 'a'), args, folder=True) and not exists(join(root, 'a'), args)
        assert exists(join(root, 'a/b.bin'), args) and not exists(join(root, 'a/c.bin'), args)
        assert names_in(join(root, 'a'), args) == {'b.bin'} and names_in(join(root, 'c'), args) == set()
        assert names_in(join(root, 'a/b.bin'), args) == set()
        assert find(root, '*/*.bin', args) == ['a/b.bin'] and find(join(root, 'c'), '*', args) == []
        with pytest.raises(DataError, match=r'file .*c.bin cannot be read'):
            read_file(join(root, 'a/c.bin'), 'file', args)


def test_scans_are_found_in_the_folders_of_a_store(store, server, tmp_path):
    pattern, backend_args = 'data/{sequence}/lidar/*.bin', store(tmp_path)
    for sequence, scan in (('b', 1), ('a', 2), ('a', 1)):
        path = tmp_path / pattern.format(sequence=sequence).replace('*', str(scan))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.full((5, 4), scan, np.float32).tofile(path)
    (tmp_path / 'data/readme.txt').write_text('no folder')
    (tmp_path / 'train.txt').write_text('a\n')
    read = dict(pipeline=[dict(type='peridot.LoadPoints', load_dim=4)], backend_args=backend_args)
    whole = LidarFolder('s3://bucket/', pattern, **read)
    assert [info['token'] for info in whole] == ['data/a/lidar/1', 'data/a/lidar/2', 'data/b/lidar/1']
    assert (whole[1]['points'].numpy() == 2).all()
    assert len(LidarFolder('s3://bucket/', pattern, 'train.txt', **read)) == 2
    with pytest.raises(DataError, match=r'val\.txt does not exist \(there are train\.txt\)'):
        LidarFolder('s3://bucket/', pattern, 'val.txt', **read)
    with pytest.raises(DataError, match=r'a folder deeper: give --data-root s3://bucket/data'):
        LidarFolder('s3://bucket/', '{sequence}/lidar/*.bin', **read)
    with pytest.raises(ConfigError, match=r'http://.* cannot be listed over HTTP'):
        LidarFolder(server(tmp_path), pattern)


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    both, names = threading.Barrier(2), []

    def write() -> None:
        with atomic_path(tmp_path / 'a.bin') as temporary:
            temporary.write_bytes(b'same')
            names.append(temporary.name)
            both.wait(10)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 2 and all(name.startswith('.a.bin.') and name.endswith('.part') for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ['a.bin']


def test_a_written_file_may_have_the_time_of_another(tmp_path):
    write_bytes(tmp_path / 'below/a.bin', b'abc', changed=1_532_402_927_647_951_123)
    assert (tmp_path / 'below/a.bin').stat().st_mtime_ns == 1_532_402_927_647_951_123
    write_bytes(tmp_path / 'below/a.bin', b'abcd')
    assert (tmp_path / 'below/a.bin').read_bytes() == b'abcd'
    assert (tmp_path / 'below/a.bin').stat().st_mtime_ns > 1_532_402_927_647_951_123


def test_answers_of_odd_stores(store, tmp_path, monkeypatch):
    """One that refuses to list, and one whose client has None for what it lacks."""
    backend_args = store(tmp_path)

    def refuse(self, *args) -> None:
        raise NotImplementedError('list_dir is not supported')

    monkeypatch.setattr(FolderBackend, 'list_dir_or_file', refuse)
    with pytest.raises(DataError, match=r's3://bucket/a: list_dir is not supported: check `backend_args`'):
        names_in('s3://bucket/a', backend_args)
    monkeypatch.setattr(FolderBackend, 'get', lambda self, path: None)
    with pytest.raises(FileNotFoundError):
        read_bytes('s3://bucket/a', backend_args)


def test_paths_below_a_root():
    assert join('s3://bucket/x', 'a/b') == 's3://bucket/x/a/b'
    assert join('data', '/a') == '/a' and join('data', 's3://bucket/a') == 's3://bucket/a'


def test_tools_do_not_write_into_a_store(run_tool):
    options = ['--cfg-options', 'train_dataloader.dataset.lazy_init=True', 'train_dataloader.dataset.indices=None']
    with pytest.raises(SystemExit, match=r's3://bucket.*cannot be (written|read)|no file back end'):
        run_tool('make_superpixels', 'configs/demo/slidr_demo.py', '--data-root', 's3://bucket/x', *options)


def test_maps_of_images_in_a_store_are_made_on_a_disk(run_tool, labeled_root, store, tmp_path):
    args = store(labeled_root)
    options = [f'train_dataloader.dataset.backend_args.{key}={value}' for key, value in args.items()]
    root = ['configs/demo/slidr_demo.py', '--data-root', 's3://bucket/', '--workers', '1']
    options = ['--cfg-options', 'train_dataloader.dataset.indices=1', *options]
    with pytest.raises(SystemExit, match=r's3://bucket/superpixels/slic cannot be written: .*--out DIR'):
        run_tool('make_superpixels', *root, *options)
    run_tool('make_superpixels', *root, '--out', tmp_path, *options)
    made = [path.relative_to(tmp_path).with_suffix('.jpg') for path in tmp_path.rglob('*.runs')]
    assert len(made) == 6
    maps, expected = MapFolder(tmp_path, labeled_root), MapFolder('superpixels/slic', labeled_root)
    for path in made:
        assert np.array_equal(maps.read_file(maps.path_for(path)), expected.read_file(expected.path_for(path)))

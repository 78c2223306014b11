"""The commands of README.md and docs run as they stand there, one page after the other, on small synthetic data.

What makes it small: two keyframes a street, the front camera, narrow networks, two samples in one epoch, one seed.
Weights that a page takes from elsewhere are random ones of the right network. Programs run in this process; those that
torchrun or `tools/dist_train.sh` start several times run once.
"""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from bags import BagFile, recording_messages
from blocks import BLOCKS, REPO, Block, Command
from mmdet3d.datasets import CBGSDataset
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS, init_default_scope
from peridot import cli
from peridot.catalog import CATALOG
from peridot.datasets import splits
from peridot.gpu_check.configs import NARROW, shrink
from peridot.hooks import export_backbone
from peridot.registry import MODELS
from peridot.walk import dicts_of
from tiny import released_state

pytestmark = pytest.mark.slow

# synthetic data in place of the data that pages speak of: fixtures by folders
DATA = {
    'data/demo': 'demo_root',
    'data/nuscenes': 'demo_root',
    'data/kitti': 'kitti_root',
    'data/semantickitti': 'semantickitti_root',
    'data/pandaset': 'pandaset_root',
    'data/argoverse2': 'argoverse2_root',
    'data/demo_semantickitti': 'semantickitti_root',
    'data/demo_kitti': 'kitti_root',
    'data/demo_pandaset': 'pandaset_root',
    'data/demo_argoverse2': 'argoverse2_root',
    'data/demo_folder': 'folder_root',
    'data/mycar': 'folder_root',
    'READ_ONLY/kitti': 'kitti_root',
}
# made by commands in a folder that has the dataset's own files already
MADE = ('weak_labels', 'superpixels', 'lidar_segments', 'splits', '.*', 'converted', '*_infos_*')
# for words that stand for the reader's paths, by page
PATHS = {
    'docs/discovery.md': {
        'DISCOVERY_CONFIG.py': 'configs/demo/scalr_discovery_demo.py',
        'work_dirs/CONFIG/epoch_25.pth': 'work_dirs/scalr_discovery_demo/epoch_25.pth',
    },
    'docs/label_maps.md': {'data/nuscenes/superpixels_slic': 'data/demo/superpixels/slic'},
    # the small recordings are two
    'docs/own_recording.md': {'scene-0916': 'scene-0103'},
    'docs/open_vocabulary.md': {'CONFIG': 'configs/demo/scalr_demo.py', 'data/prototypes': 'data/demo/prototypes'},
}
# options that make programs quick
QUICK = {'demo': ['--seeds', '0'], 'benchmark': ['--seeds', '0'], 'visualize': ['--samples', '1']}
WEIGHTS = re.compile(r'(work_dirs/(?:demo(?:_full)?/)?([^/\s]+)/(?:backbone|epoch_\d+)\.pth)')
CONFIG_NAMES = {cli.config_name(path): path for path in (REPO / 'configs').rglob('*.py') if '_base_' not in path.parts}


@DATA_SAMPLERS.register_module()
class TwoSamples(DefaultSampler):
    """The first two samples."""

    def __len__(self) -> int:
        return min(2, len(self.dataset))

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


def small_model(model: dict, folder: Path) -> None:
    """Narrow networks and random teachers; those from a package stay."""
    teacher = model.get('teacher')
    if teacher and not str(teacher.get('model', '')).startswith('tf_'):
        teacher.weights = None
    shrink(model, folder)


def make_small(config: Config, folder: Path) -> Config:
    """Make a run short; changed in place."""
    # random teachers are the same in all commands
    torch.manual_seed(0)
    if 'student' in config.get('model', {}) or 'VerifyLoadingHook' in str(config.get('custom_hooks')):
        small_model(config.model, folder)
    for part in dicts_of(config._cfg_dict):
        if part.get('num_workers'):
            part.update(num_workers=0, persistent_workers=False)
        if len(part.get('cameras') or ()) > 1 and part.get('type') == 'peridot.PairedDataset':
            part.cameras = [CATALOG[part.dataset].front_camera]
        if 'warmup' in part:
            part.warmup = 0
        if part.get('type') == 'peridot.LinearProbeLoop':
            part.fit_scans = 1
    if 'sampler' in (config.get('train_dataloader') or {}):
        config.train_dataloader.update(batch_size=1, sampler=dict(type='mmengine.TwoSamples', shuffle=False))
    if config.get('train_cfg'):
        config.train_cfg.update(max_epochs=1, val_interval=1)
    if (config.get('optim_wrapper') or {}).get('type') == 'AmpOptimWrapper':
        config.optim_wrapper = dict(type='OptimWrapper', optimizer=config.optim_wrapper.optimizer)
    return config


class Shell:
    """Runs commands of a page in a folder of its own."""

    def __init__(self, page: str, folder: Path, get_fixture: Callable) -> None:
        self.page, self.folder, self.get_fixture = page, folder, get_fixture
        self.call = get_fixture('run_program')

    def run(self, command: Command) -> None:
        """Run a command; an error is a SystemExit."""
        words = [PATHS.get(self.page, {}).get(word, word) for word in command.arguments]
        program = command.program
        if program == 'make':
            for target in words:
                self.make(target)
        elif command.words[1:3] == ['-m', 'pytest']:
            self.run_tests(Path(words[-1]))
        elif program.endswith('dist_train.sh'):
            self.program('tools/train.py', [words[0], *words[2:]])
        elif program.endswith('.py'):
            self.program(program, words)

    def make(self, target: str) -> None:
        """Run the program of a target; those that check the repository are left to CI."""
        recipe = re.search(rf'^{target}:.*\n((?:\t.*\n)+)', (REPO / 'Makefile').read_text(), re.M)[1]
        for path in re.findall(r'python (tools/(?!setup)\w+\.py)', recipe):
            self.program(path, [])

    def run_tests(self, folder: Path) -> None:
        """Call the tests of a folder."""
        for path in folder.glob('test_*.py'):
            for name, test in runpy.run_path(str(path)).items():
                if name.startswith('test_'):
                    test()

    def program(self, path: str, arguments: list[str]) -> None:
        """Run a program of the repository, or one that the page shows, with what it reads in place."""
        name = Path(path).stem
        if name == 'make_demo_data':
            self.make_streets(arguments)
            return
        if name == 'demo':
            self.provide_root('data/demo')
        written = [arguments[place + 1] for place, word in enumerate(arguments) if word == '--out']
        for word in [word for argument in arguments if argument not in written for word in argument.split('=')]:
            self.provide(word)
        for config in [word for word in arguments if word.startswith('configs/')]:
            self.provide_data(config, needs_maps=name in ('train', 'test', 'check_data', 'visualize', 'benchmark'))
        if Path(path).parts[0] == 'tools':
            arguments = [*arguments, *QUICK.get(name, [])]
        if arguments[:1] == ['nuscenes'] and name == 'create_data':
            # the version that the streets are written as
            arguments = [*arguments, '--version', 'v1.0-mini']
        self.call(path, *arguments)

    def make_streets(self, arguments: list[str]) -> None:
        """The small streets are there; the program is asked for them, and finds them done."""
        layout = arguments[arguments.index('--format') + 1] if '--format' in arguments else ''
        root = Path('data', f'demo_{layout}' if layout else 'demo')
        self.provide_root(str(root))
        manifest = json.loads((root / 'synthetic.json').read_text())
        settings = manifest['settings']
        height, width = settings['image_size']
        frames = [f'--keyframes={settings["keyframes"]}', f'--sweeps={settings["sweeps"]}']
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('streets.dataset.SCENES', tuple(manifest['scenes']))
            self.call('tools/make_demo_data.py', *arguments, *frames, f'--image-size={width}x{height}', '--workers', 1)

    def provide(self, word: str) -> None:
        """Make data, weights or a bag that a word names, unless they are there."""
        if word == 'drive.bag' and not Path(word).exists():
            bag, drive = BagFile('ros1'), min(path for path in self.get_fixture('folder_root').glob('scene-*'))
            bag.write(Path('drive').absolute(), recording_messages(bag, drive))
        if word == 'data/demo/prototypes' and not Path(word).exists():
            self.make_streets(['--prototypes', '4'])
        for root in sorted(DATA, key=len, reverse=True):
            if word == root or word.startswith(f'{root}/'):
                self.provide_root(root)
                return
        for number in range(3):
            found = WEIGHTS.fullmatch(word.replace('{seed}', str(number)))
            if found and not Path(found[1]).exists():
                self.provide_weights(Path(found[1]), found[2])

    def provide_root(self, root: str) -> None:
        """The small dataset in the layout of a folder, as links to files that no program changes in place."""
        if not Path(root).exists():
            # as it is before the page's commands, but for the info files, which configs read
            made = [name for name in MADE if name != '*_infos_*' or self.page == 'docs/datasets.md']
            ignore = shutil.ignore_patterns(*made)
            shutil.copytree(self.get_fixture(DATA[root]), root, ignore=ignore, copy_function=os.link)

    def provide_data(self, path: str, needs_maps: bool) -> None:
        """Data and maps that a config reads."""
        config = Config.fromfile(path)
        for part in list(dicts_of([config.get('train_dataloader'), config.get('val_dataloader')])):
            self.provide(root_of(part))
            if needs_maps:
                self.provide_split(part)
        if needs_maps:
            for kind, folder in dicts_with_maps(config):
                self.provide_maps(path, kind, folder)

    def provide_start(self, config: Config) -> None:
        """Splits and weights that a config names after the options of a command."""
        for part in list(dicts_of(config.get('train_dataloader'))):
            self.provide_split(part)
        self.provide(str(config.get('load_from')))

    def provide_split(self, part: dict) -> None:
        """The split of a dataset, by the name of its file, unless it is there."""
        root, split = root_of(part), part.get('split')
        if not split or Path(root, split).is_file():
            return
        dataset, rule, *others, percent = Path(split).stem.split('_')
        scenes = ['--scenes', others[0]] if others else []
        self.call(
            'tools/make_splits.py',
            *(dataset, '--root', root, '--rule', rule, '--percent', percent.removesuffix('pct'), *scenes),
        )

    def provide_maps(self, path: str, kind: str, folder: str) -> None:
        """Label maps or superpixels of a config, unless they are there."""
        root = root_of(Config.fromfile(path).train_dataloader.dataset)
        if not Path(root, folder).exists():
            tool = {'labels': 'make_weak_labels', 'superpixels': 'make_superpixels'}[kind]
            classes = ['--options', 'num_classes=17'] if kind == 'labels' and 'pretrain' in path else []
            self.call(f'tools/{tool}.py', path, '--out', folder, '--workers', 1, *classes)

    def provide_weights(self, path: Path, name: str) -> None:
        """Random weights of the network of the config that a work directory is named after."""
        path.parent.mkdir(parents=True, exist_ok=True)
        first = path.with_name('epoch_1.pth')
        if path.stem.startswith('epoch') and first.is_file():
            path.symlink_to(first.name)
            return
        # the demo's runs are named after method and seed
        config = Config.fromfile(CONFIG_NAMES[re.sub(r'_seed\d+$', '_demo', name)])
        small_model(config.model, self.folder)
        model = MODELS.build(config.model)
        if path.stem == 'backbone':
            export_backbone(model.student, path, '')
        else:
            torch.save({'state_dict': model.state_dict(), 'meta': dict(cfg=config.pretty_text)}, path)


def root_of(part: dict) -> str:
    """Data root of a dataset, or of the one that it takes a fraction of."""
    return str(part.get('data_root') or (part.get('dataset') or {}).get('data_root', '')).rstrip('/')


def dicts_with_maps(config: Config) -> set[tuple[str, str]]:
    """Kinds and folders of the maps of a config's training set."""
    return {
        (kind, folder)
        for part in dicts_of(config.get('train_dataloader'))
        for kind, folder in (part.get('maps') or {}).items()
        if kind in ('labels', 'superpixels')
    }


def some(units: list[str], chosen: tuple[list[str], str]) -> tuple[list[str], str]:
    """A choice of scenes, of which there are a few: at least one."""
    return (chosen[0] or units[:1], chosen[1])


class Fork:
    """Stands for `subprocess.Popen` of a program: a fork of this process, whose imports are done."""

    def __init__(self, command: list[str], shell: Shell, stdout, **settings) -> None:
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                # OpenMP's threads are not there in a fork, which would wait for them
                torch.set_num_threads(1)
                os.dup2(stdout.fileno(), 1)
                os.dup2(stdout.fileno(), 2)
                shell.call(*command[1:])
                status = 0
            finally:
                sys.stdout.flush()
                os._exit(status)


@pytest.fixture
def make_shell(tmp_path, request, monkeypatch) -> Callable[[str], Shell]:
    """`make_shell(page)`: a shell in a folder that looks like the repository, with the files that the page shows."""
    for name in ('configs', 'tools', 'benchmarks', 'projects'):
        (tmp_path / name).symlink_to(REPO / name)
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmdet3d')

    def make(page: str) -> Shell:
        shell = Shell(page, tmp_path, request.getfixturevalue)
        load = cli.load_config

        def load_small(args: Namespace, check: Callable[[Config], None] | None = None) -> Config:
            config = make_small(load(args), tmp_path)
            if check:
                shell.provide_start(config)
                check(config)
            return config

        monkeypatch.setattr(cli, 'load_config', load_small)
        monkeypatch.setattr(cli, 'usable_cores', lambda: 1)
        monkeypatch.setattr('peridot.demo.comparison.usable_cores', lambda: 1)
        monkeypatch.setattr('peridot.demo.programs.can_fork', lambda: False)
        monkeypatch.setattr('peridot.work_dirs.call', lambda command, prefix: shell.call(*command[1:]) or 0)
        popen = subprocess.Popen

        def start(command, *rest, **settings):
            # programs of the repository as forks, others as they are
            ours = command[0] == sys.executable
            return Fork(command, shell, **settings) if ours else popen(command, *rest, **settings)

        monkeypatch.setattr(subprocess, 'Popen', start)
        balanced = CBGSDataset._get_sample_indices
        monkeypatch.setattr(CBGSDataset, '_get_sample_indices', lambda *args: balanced(*args)[:2])
        choose = splits._choose
        monkeypatch.setattr(splits, '_choose', lambda units, *rest, **more: some(units, choose(units, *rest, **more)))
        torch.save({'model_points': released_state(**NARROW['peridot.Res16UNet'])}, 'minkunet_slidr_1gpu.pt')
        return shell

    return make


@pytest.fixture
def own_modules(monkeypatch) -> Iterator[Callable[[Command], None]]:
    """`own_modules(command)`: imports come from the command's PYTHONPATH, too; what they register is taken back."""
    before = {name: set(found) for name, found in (('models', MODELS.module_dict), ('catalog', CATALOG))}
    modules = set(sys.modules)

    def add(command: Command) -> None:
        if path := command.environment.get('PYTHONPATH'):
            monkeypatch.syspath_prepend(str(Path(path).absolute()))

    yield add
    for name in set(MODELS.module_dict) - before['models']:
        del MODELS.module_dict[name]
    for name in set(CATALOG) - before['catalog']:
        del CATALOG[name]
    for name in set(sys.modules) - modules:
        if 'my_project' in str(getattr(sys.modules[name], '__file__', '')):
            del sys.modules[name]


def pages() -> dict[str, list[Block]]:
    """Blocks of pages that have commands to run."""
    found: dict[str, list[Block]] = {}
    for block in BLOCKS:
        found.setdefault(str(block.page.relative_to(REPO)), []).append(block)
    return {
        page: blocks
        for page, blocks in found.items()
        if any(block.language == 'bash' and not block.mark for block in blocks)
    }


@pytest.mark.parametrize('page', pages())
def test_commands_run(page, make_shell, own_modules):
    shell = make_shell(page)
    for block in pages()[page]:
        if block.file:
            Path(block.file).parent.mkdir(exist_ok=True)
            Path(block.file).write_text(block.text)
    for block in pages()[page]:
        if block.language != 'bash' or block.mark:
            continue
        for command in block.commands:
            own_modules(command)
            try:
                shell.run(command)
            except SystemExit as error:
                if error.code:
                    pytest.fail(f'{block}: {" ".join(command.words)}: {error}')

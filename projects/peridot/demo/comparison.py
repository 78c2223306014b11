"""Pre-training runs and linear probes of several methods on the same data."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mmengine.config import Config
from streets.dataset import MANIFEST, read_settings
from streets.formats import FORMATS

from peridot.demo import programs
from peridot.demo.methods import METHODS, UNTRAINED
from peridot.files import usable_cores
from peridot.shipped import config_file
from peridot.work_dirs import Stages, ends_with_evaluation, last_checkpoint, last_metrics


class Comparison(Stages):
    """The stages of a comparison, their results and times.

    A network is the key of a method or of an untrained network (`peridot.demo.methods`).

    Args:
        data_root: Folder of the synthetic dataset.
        work_dir: Folder for everything else.
        methods: Methods to pre-train with, all with the same budget.
        seeds: One untrained network is probed and one pre-training run made with every method for each of them. Results
            of other seeds in the folder are kept.
        options: `--cfg-options` for all training runs and probes.
        share: Share of the configs' epochs to train for.
    """

    def __init__(
        self,
        data_root: Path,
        work_dir: Path,
        methods: list[str],
        seeds: list[int],
        options: list[str],
        share: float = 1.0,
    ) -> None:
        settings = dict(data_root=str(data_root), seeds=seeds, options=options, share=share)
        super().__init__(work_dir, settings, may_differ=['seeds'])
        self.data_root = data_root
        self.seeds = seeds
        self.options = options
        # read here, in one thread: mmengine reloads a package for configs of other packages
        self.schedules = {method: shortened(demo_config(method), share) for method in methods}
        self.methods = methods
        if (data_root / MANIFEST).is_file():
            read_settings(data_root)  # refuses streets of an earlier version

    def run(self) -> None:
        """Make data and maps, then run all networks."""
        self.stage('data', self.make_data)
        for method in self.methods:
            self.prepare(method)
        self.run_networks()

    def call(self, name: str, arguments: tuple[str, ...], prefix: str) -> int:
        """See `Stages`; here a program begins without imports where that is possible."""
        if programs.can_fork():
            return programs.run_forked(programs.run_program, name, arguments, prefix=prefix)
        return super().call(name, arguments, prefix)

    def root_of(self, layout: str) -> Path:
        """Folder of the synthetic dataset in a layout."""
        return self.data_root if layout == 'nuscenes' else Path(f'{self.data_root}_{layout}')

    def data_roots(self, method: str) -> str:
        """`--data-root` of a method."""
        formats = METHODS[method].formats
        if not formats:
            return str(self.data_root)
        others = [f'data/demo_{name}={self.root_of(name)}' for name in formats]
        return ','.join([f'data/demo={self.data_root}', *others])

    def make_data(self, layout: str = 'nuscenes') -> None:
        """Make the synthetic dataset, unless the folder holds a dataset with info files (e.g. nuScenes mini)."""
        root = self.root_of(layout)
        if all((root / name).is_file() for name in FORMATS[layout].infos):
            print(f'using the dataset in {root}')
        else:
            self.tool('make_demo_data', '--format', layout, '--out', str(root))

    def prepare(self, method: str) -> None:
        """Make other data, weak labels, superpixels or lidar segments for a method that needs them."""
        for name in METHODS[method].formats:
            self.stage(f'data as {name}', self.make_data, name)
        if METHODS[method].maps:
            stage, tool = METHODS[method].maps
            self.stage(stage, self.tool, tool, demo_config(method), '--data-root', str(self.data_root))
        if METHODS[method].segments:
            tool = 'make_lidar_segments'
            self.stage('lidar segments', self.tool, tool, demo_config(method), '--data-root', str(self.data_root))

    def networks(self) -> list[str]:
        """Untrained networks, then methods."""
        return [*dict.fromkeys(METHODS[method].untrained for method in self.methods), *self.methods]

    def runs(self) -> list[Callable[[], None]]:
        """What is to be run: every network with every seed."""
        return [partial(self.run_network, network, seed) for seed in self.seeds for network in self.networks()]

    def run_networks(self) -> None:
        """Make all `runs`, as many side by side as there are cores.

        The sparse networks are slower on two threads than on one. After an error or Ctrl-C nothing else begins.
        """
        failed = threading.Event()

        def start(run: Callable[[], None]) -> None:
            if failed.is_set():
                return
            try:
                run()
            except BaseException:
                failed.set()
                raise

        runs = self.runs()
        with ThreadPoolExecutor(min(len(runs), usable_cores())) as pool:
            list(pool.map(start, runs))

    def run_network(self, network: str, seed: int) -> None:
        """Pre-train a network and probe it."""
        if network not in UNTRAINED:
            self.stage(f'{network} seed {seed}', self.pretrain, network, seed)
        self.stage(f'probe {network} seed {seed}', self.probe, network, seed)

    def method_of(self, network: str) -> str:
        """The method itself, or the first whose network the untrained one is."""
        own = (method for method in METHODS if METHODS[method].untrained == network)
        return network if network in METHODS else next(own)

    def options_of(self, network: str) -> list[str]:
        """`--cfg-options` for the runs of a network."""
        return [*self.schedules.get(network, []), *self.options]

    def pretrain(self, network: str, seed: int) -> None:
        """Run pre-training, or continue an interrupted run."""
        self.run_tool('train', network, seed, f'{network}_seed{seed}', '--resume')

    def probe(self, network: str, seed: int) -> None:
        """Run a linear probe of an untrained network, or of one that a method pre-trained.

        Pre-training of the demo's configs ends with the same probe of the same weights, whose numbers are taken.
        """
        evaluated = self.work_dir / f'{network}_seed{seed}'
        if network in UNTRAINED or not ends_with_evaluation(evaluated):
            checkpoint = [last_checkpoint(evaluated)] if network not in UNTRAINED else []
            evaluated = self.work_dir / f'probe_{network}_seed{seed}'
            self.run_tool('test', network, seed, evaluated.name, *checkpoint)
        metrics = last_metrics(evaluated)
        self.keep(
            'probe', network, seed, {k.removeprefix('probe/'): v for k, v in metrics.items() if k.startswith('probe/')}
        )

    def keep(self, kind: str, network: str, seed: int, metrics: dict[str, float]) -> None:
        """Put metrics of a network into the results, in the order of `networks`."""
        with self.lock:
            found = self.results.setdefault(kind, {})
            found.setdefault(network, {})[str(seed)] = metrics
            order = [*self.networks(), *found]
            self.results[kind] = {name: found[name] for name in dict.fromkeys(order) if name in found}

    def complete(self) -> dict:
        """The results with the probes of this run's seeds alone, of networks that have all of them."""
        seeds = [str(seed) for seed in self.seeds]
        probes = {
            network: {seed: found[seed] for seed in seeds}
            for network, found in self.results['probe'].items()
            if set(seeds) <= set(found)
        }
        return {**self.results, 'probe': probes}

    def run_tool(self, name: str, network: str, seed: int, folder: str, *arguments: str) -> None:
        """Run train.py or test.py on the demo config of a network with one seed."""
        method = self.method_of(network)
        self.tool(
            name,
            demo_config(method),
            *arguments,
            *('--data-root', self.data_roots(method)),
            *('--work-dir', str(self.work_dir / folder)),
            *('--cfg-options', f'randomness.seed={seed}', *self.options_of(network)),
            prefix=f'{network} seed {seed} | ',
        )


def shortened(config: str, share: float) -> list[str]:
    """Options that leave a share of a config's epochs, with the schedule of so many."""
    if share == 1:
        return []
    epochs = max(1, round(share * Config.fromfile(config_file(config)).epochs))
    return [f'{name}={epochs}' for name in ('train_cfg.max_epochs', 'train_cfg.val_interval', 'param_scheduler.0.end')]


def demo_config(method: str) -> str:
    """Config of a method's demo, as a command line names it."""
    return f'peridot::demo/{method}_demo.py'

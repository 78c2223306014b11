"""Every config builds, trains and evaluates; every command and path of the documents exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

REPO = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    p.relative_to(REPO) for folder in ('pretrain', 'demo') for p in (REPO / 'configs' / folder).glob('*.py')
)
# the published networks and sizes, on one camera and two scans
SMALL = [
    'train_dataloader.batch_size=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.dataset.indices=2',
    "train_dataloader.dataset.cameras=['CAM_FRONT']",
    'val_dataloader.num_workers=0',
    'val_cfg.fit_dataloader.num_workers=0',
    'val_cfg.fit_scans=2',
    'val_dataloader.dataset.indices=1',
    'default_hooks.logger.interval=1',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
]
PREFIX = 'data_prefix.pts_semantic_mask=lidarseg/v1.0-mini'
ON_DEMO_DATA = [
    f'val_dataloader.dataset.{PREFIX}',
    f'val_cfg.fit_dataloader.dataset.{PREFIX}',
    f'custom_hooks.2.dataset.{PREFIX}',
    'train_dataloader.dataset.pipeline.3.folder=weak_labels/kmeans',
    'model.objectives.vmf.num_classes=16',
]


@pytest.fixture(scope='module')
def moco_file(tmp_path_factory) -> Path:
    """A file of MoCo v2's layout with random weights."""
    network = timm.create_model('resnet50', num_classes=128)
    state = {f'module.encoder_q.{name}': value for name, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp('weights') / 'moco_v2_800ep_pretrain.pth.tar'
    torch.save({'state_dict': state, 'epoch': 800}, path)
    return path


@pytest.mark.parametrize('config', CONFIGS, ids=str)
def test_config_trains_and_evaluates(config, labeled_root, moco_file, tmp_path):
    options = [*SMALL, *ON_DEMO_DATA]
    if config.parent.name != 'demo':
        options.append(f'model.teacher.weights={moco_file}')
    result = subprocess.run(
        [
            *(sys.executable, 'tools/train.py', str(config), '--data-root', str(labeled_root)),
            *('--work-dir', str(tmp_path), '--cfg-options', *options),
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert 'Epoch(train) [1][2/2]' in result.stdout and 'probe/miou' in result.stdout
    assert (tmp_path / 'backbone.pth').is_file()


@pytest.mark.parametrize(
    'document', ['README.md', *sorted(str(p.relative_to(REPO)) for p in (REPO / 'docs').glob('*.md'))]
)
def test_commands_and_links_of_documents_exist(document):
    text = (REPO / document).read_text()
    commands = re.findall(r'(?:tools|benchmarks)/\w+\.(?:py|sh)|configs/[\w/+-]+\.py', text)
    links = [link for link in re.findall(r'\]\(([^)#]+)\)', text) if not link.startswith('http')]
    for path in commands:
        assert (REPO / path).exists(), path
    for link in links:
        assert ((REPO / document).parent / link).exists(), link
    for target in re.findall(r'^make (\w+)', text, re.M):
        assert f'\n{target}:' in (REPO / 'Makefile').read_text()

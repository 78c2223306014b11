import sys

import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from peridot.checkpoints import read_checkpoint
from peridot.errors import CheckpointError, ConfigError
from peridot.weights import convert_checkpoint
from torch import nn

pytest.importorskip('mmseg', reason='mmsegmentation is optional')
import peridot.drive_and_segment.segmentor.segmentor  # noqa: F401  (registers the network)

CHANNELS, CLASSES, HEADS, SIDE = 32, 5, 2, 32


class ReleasedDecoder(nn.Module):
    """The released decoder: patches and class tokens through blocks, projected by matrices from the right."""

    def __init__(self) -> None:
        super().__init__()
        self.proj_dec = nn.Linear(CHANNELS, CHANNELS)
        self.blocks = nn.ModuleList([timm.models.vision_transformer.Block(CHANNELS, HEADS, qkv_bias=True)])
        self.cls_emb = nn.Parameter(torch.randn(1, CLASSES, CHANNELS))
        self.proj_patch = nn.Parameter(torch.randn(CHANNELS, CHANNELS))
        self.proj_classes = nn.Parameter(torch.randn(CHANNELS, CHANNELS))
        self.decoder_norm = nn.LayerNorm(CHANNELS)
        self.mask_norm = nn.LayerNorm(CLASSES)

    def forward(self, tokens):
        x = torch.cat([self.proj_dec(tokens), self.cls_emb.expand(len(tokens), -1, -1)], 1)
        for block in self.blocks:
            x = block(x)
        x = self.decoder_norm(x)
        patches, classes = x[:, :-CLASSES] @ self.proj_patch, x[:, -CLASSES:] @ self.proj_classes
        scores = F.normalize(patches, dim=-1) @ F.normalize(classes, dim=-1).transpose(1, 2)
        return self.mask_norm(scores)


class ReleasedSegmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        settings = dict(img_size=SIDE, patch_size=8, embed_dim=CHANNELS, depth=2, num_heads=HEADS, num_classes=0)
        self.encoder = timm.models.VisionTransformer(**settings)
        self.decoder = ReleasedDecoder()

    def forward(self, images):
        scores = self.decoder(self.encoder.forward_features(images)[:, 1:])
        grid = [pixels // 8 for pixels in images.shape[2:]]
        return F.interpolate(scores.transpose(1, 2).unflatten(2, grid), images.shape[2:], mode='bilinear')


@pytest.fixture
def released(tmp_path):
    torch.manual_seed(0)
    model = ReleasedSegmenter().eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    path = tmp_path / 'released.pth'
    torch.save({'model': model.state_dict()}, path)
    return model, path


def ours(repo) -> nn.Module:
    """The project's config at the size of the test."""
    config = Config.fromfile(repo / 'configs/_base_/models/segmenter_vit-s16.py')
    size = dict(embed_dims=CHANNELS, num_heads=HEADS)
    config.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(**size, img_size=(SIDE, SIDE), patch_size=8, num_layers=2),
                decode_head=dict(**size, in_channels=CHANNELS, channels=CHANNELS, num_classes=CLASSES),
            )
        )
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(config.model).eval()


def test_released_weights_give_the_same_scores(released, tmp_path, request):
    model, path = released
    assert convert_checkpoint(path, tmp_path / 'ours.pth') == ('drive-and-segment', [])
    network = ours(request.config.rootpath)
    network.load_state_dict(read_checkpoint(tmp_path / 'ours.pth')['state_dict'])
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        found = network.encode_decode(images, [dict(img_shape=images.shape[2:])] * 2)
        torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-4)


def test_files_of_another_shape(released, tmp_path):
    _, path = released
    state = torch.load(path)['model']
    for name, problem in (
        ('decoder.proj_dec.weight', r'taken for drive-and-segment, but decode_head\.dec_proj\.weight is absent in'),
        ('encoder.pos_embed', r'a Segmenter of another shape: it has no backbone\.pos_embed'),
    ):
        torch.save({'model': {key: value for key, value in state.items() if key != name}}, path)
        with pytest.raises(CheckpointError, match=f'released.pth is not converted: .*{problem}'):
            convert_checkpoint(path, tmp_path / 'ours.pth')


def test_conversion_without_mmsegmentation(released, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    monkeypatch.delitem(sys.modules, 'mmseg.models')
    with pytest.raises(ConfigError, match=r'Segmenter needs the package mmseg.*: pip install mmsegmentation==1\.2\.2'):
        convert_checkpoint(released[1], tmp_path / 'ours.pth')

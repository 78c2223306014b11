from mmdet3d.models import MinkUNetBackbone
from mmdet3d.registry import MODELS


def test_upstream_changes_its_lists(upstream):
    assert upstream['lists'] == [5, 5], 'the lists stay as they are now: delete minkunet_lists.py'


def test_lists_stay_as_they_were():
    config = dict(
        type='MinkUNetBackbone',
        base_channels=4,
        encoder_channels=[4, 8, 8, 8],
        encoder_blocks=[1, 1, 1, 1],
        decoder_channels=[8, 8, 4, 4],
        decoder_blocks=[1, 1, 1, 1],
        sparseconv_backend='spconv',
    )
    first, second = MODELS.build(config), MODELS.build(config)
    assert config['encoder_channels'] == [4, 8, 8, 8]
    assert config['decoder_channels'] == [8, 8, 4, 4]
    shapes = [{name: p.shape for name, p in network.state_dict().items()} for network in (first, second)]
    assert shapes[0] == shapes[1]


def test_default_arguments_stay_as_they_were():
    for _ in range(2):
        network = MinkUNetBackbone(sparseconv_backend='spconv')
    assert network.encoder[-1][-1].conv2.out_channels == 256


def test_positional_lists_and_tuples():
    encoder = (4, 8)
    network = MinkUNetBackbone(4, 4, 2, encoder, (1, 1), (8, 4), (1, 1), sparseconv_backend='spconv')
    assert network.num_stages == 2
    assert encoder == (4, 8)

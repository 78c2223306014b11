"""`torch.compile` of networks: same values, same names, and a way on where it fails."""

import copy
import logging

import pytest
import torch
from peridot.errors import ConfigError
from peridot.models import compiling
from peridot.models.backbones import WaffleIron
from peridot.models.teachers import TimmTeacher
from torch import nn
from torch._dynamo.testing import CompileCounter


@pytest.fixture
def graphs(monkeypatch) -> CompileCounter:
    """Counts graphs, which run as they are, in place of inductor."""
    torch.compiler.reset()
    counter = CompileCounter()
    monkeypatch.setattr('torch._dynamo.lookup_backend', lambda name: counter)
    return counter


def waffleiron(**settings) -> WaffleIron:
    torch.manual_seed(0)
    grid = dict(point_cloud_range=(-4, -4, -2, 4, 4, 2), grid_size=(8, 8, 4))
    return WaffleIron(channels=8, depth=6, num_neighbors=3, **grid, **settings)


def tokens(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    coords = torch.rand(count, 4, generator=generator) * torch.tensor([0, 8, 8, 4]) - torch.tensor([0, 4, 4, 2])
    return torch.randn(count, 5, generator=generator), coords


@pytest.mark.parametrize('checkpointing', [False, True])
def test_waffleiron_has_the_same_values_and_gradients_compiled(checkpointing, graphs):
    plain, compiled = waffleiron(), waffleiron(checkpointing=checkpointing, compile=True)
    for count in (20, 27, 31, 40):
        results = [network(*tokens(count)) for network in (plain, compiled)]
        torch.testing.assert_close(*results)
        for result in results:
            result.square().sum().backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)
    # for one number of tokens, then for any, however many layers and batches there are
    assert 1 <= graphs.frame_count <= 2


@pytest.mark.parametrize('settings', [dict(model='resnet18', output_stride=8), dict(model='vit_tiny_patch16_224')])
def test_a_teacher_has_the_same_values_compiled_as_one_graph(settings, graphs):
    torch.manual_seed(0)
    plain = TimmTeacher(weights=None, **settings)
    torch.manual_seed(0)
    compiled = TimmTeacher(weights=None, compile=True, **settings)
    images = torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8)
    features = compiled(images)
    torch.testing.assert_close(features, plain(images))
    assert not features.requires_grad and graphs.frame_count == 1


def test_names_and_copies_are_those_of_the_plain_network(graphs):
    plain, compiled = waffleiron(), waffleiron(compile=True)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    assert [name for name, _ in plain.named_modules()] == [name for name, _ in compiled.named_modules()]
    # such as an average of the weights, which has its own
    other = copy.deepcopy(compiled)
    with torch.no_grad():
        other.embed.final.weight.zero_()
        other.embed.final.bias.zero_()
        assert not torch.equal(other(*tokens(20)), compiled(*tokens(20)))


def test_without_a_compiler_a_warning_says_so_and_the_network_runs(monkeypatch):
    def no_compiler(graph, inputs):
        raise RuntimeError('Cannot find a working triton installation.\nMore')

    torch.compiler.reset()
    logged = []
    monkeypatch.setattr('torch._dynamo.lookup_backend', lambda name: no_compiler)
    monkeypatch.setattr(compiling, 'print_log', lambda *args: logged.append(args))
    plain, compiled = waffleiron(), waffleiron(compile=True)
    for count in (20, 30):
        torch.testing.assert_close(compiled(*tokens(count)), plain(*tokens(count)))
    ((line, _, level),) = logged
    assert level == logging.WARNING
    assert line == (
        'model.backbone.compile: torch.compile failed, the network runs without it '
        '(Cannot find a working triton installation.)'
    )


def test_another_backend_of_torch_is_taken_by_its_name():
    torch.compiler.reset()
    layer = nn.Linear(3, 2)
    expected = layer(torch.ones(1, 3))
    compiling.compile_calls([layer], 'aot_eager', 'model.backbone.compile')
    torch.testing.assert_close(layer(torch.ones(1, 3)), expected)
    with pytest.raises(ConfigError, match=r"^model\.backbone\.compile='induktor' is no backend of torch\.compile"):
        compiling.compile_calls([layer], 'induktor', 'model.backbone.compile')


def test_nothing_is_compiled_unless_asked(graphs):
    layer = nn.Linear(3, 2)
    compiling.compile_calls([layer], False, 'model.backbone.compile')
    layer(torch.ones(1, 3))
    assert graphs.frame_count == 0

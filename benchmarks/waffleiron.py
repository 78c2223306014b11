#!/usr/bin/env python3
"""WaffleIron against the way of its released code. Time, peak memory, agreement.

Batch of 2 scans of 20,000 points, 256 channels, 12 layers, 16 neighbors, forward and backward, float32, one core; and
the embedding alone. The other way is written from the papers: scans as (B, C, N), all C x 16 x N numbers of
the neighbors, and in each layer a sum over an index that is expanded to all channels. Neighbors and cells are given to
both. Each runs in a process of its own.
"""

import argparse
import multiprocessing
import resource
import time

import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
import torch.nn.functional as F
from peridot.models.backbones import WaffleIron
from peridot.models.backbones.waffleiron import packed_neighbors
from peridot.models.functional.planes import PLANE_AXES, project_to_planes
from torch import Tensor, nn

SCANS, POINTS = 2, 20_000
RANGE, GRID = (-64, -64, -8, 64, 64, 8), (256, 256, 32)


class Released(nn.Module):
    """The straightforward way, with the released names and shapes of weights."""

    def __init__(self, channels: int, depth: int, norm: str = 'layernorm', inputs: int = 5) -> None:
        super().__init__()
        self.embed = nn.ModuleDict(
            dict(
                norm=nn.BatchNorm1d(inputs),
                conv1=nn.Conv1d(inputs, channels, 1),
                conv2=nn.Sequential(
                    nn.BatchNorm2d(inputs),
                    nn.Conv2d(inputs, channels, 1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                    nn.Conv2d(channels, channels, 1, bias=False),
                ),
                final=nn.Conv1d(2 * channels, channels, 1),
            )
        )
        self.waffleiron = nn.ModuleDict(
            dict(
                spatial_mix=nn.ModuleList(self._mix(channels, norm, 'ffn') for _ in range(depth)),
                channel_mix=nn.ModuleList(self._mix(channels, norm, 'mlp') for _ in range(depth)),
            )
        )

    @staticmethod
    def _mix(channels: int, norm: str, kind: str) -> nn.ModuleDict:
        def layer() -> nn.Module:
            if kind == 'mlp':
                return nn.Conv1d(channels, channels, 1)
            return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

        return nn.ModuleDict(
            {
                'norm': nn.BatchNorm1d(channels) if norm == 'batchnorm' else nn.LayerNorm(channels),
                kind: nn.Sequential(layer(), nn.ReLU(), layer()),
                'scale': nn.Conv1d(channels, channels, 1, bias=False, groups=channels),
            }
        )

    def forward(self, features: Tensor, neighbors: Tensor, cells: Tensor, occupied: Tensor) -> Tensor:
        """Features (B, C, N) of (B, I, N), int64 (B, K, N), int64 (B, 3, N) and (B, N), 1 for points, 0 for padding."""
        tokens = self.embedding(features, neighbors)
        for d, (spatial, channel) in enumerate(zip(*self.waffleiron.values())):
            a, b = PLANE_AXES[d % 3]
            tokens = tokens + self._spatial(spatial, tokens, cells[:, d % 3], occupied, (GRID[a], GRID[b]))
            tokens = tokens + channel['scale'](channel['mlp'](self._normalize(channel['norm'], tokens)))
        return tokens

    def embedding(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Tokens (B, C, N)."""
        x = self.embed['norm'](features)
        around = [x.gather(2, rows[:, None].expand(-1, x.shape[1], -1)) for rows in neighbors.unbind(1)]
        response = self.embed['conv2'](torch.stack(around, dim=2) - x[:, :, None]).max(2).values
        return self.embed['final'](torch.cat((self.embed['conv1'](x), response), dim=1))

    def _spatial(self, mix: nn.ModuleDict, tokens: Tensor, cell: Tensor, occupied: Tensor, grid: tuple) -> Tensor:
        scans, channels, _ = tokens.shape
        count = occupied.new_zeros(scans, grid[0] * grid[1]).scatter_add(1, cell, occupied)
        weight = occupied / (count.gather(1, cell) + 1e-6)
        index = cell[:, None].expand(-1, channels, -1)
        means = tokens.new_zeros(scans, channels, grid[0] * grid[1])
        means = means.scatter_add(2, index, self._normalize(mix['norm'], tokens) * weight[:, None])
        means = mix['ffn'](means.view(scans, channels, *grid)).flatten(2)
        return mix['scale'](means.gather(2, index))

    @staticmethod
    def _normalize(norm: nn.Module, tokens: Tensor) -> Tensor:
        return norm(tokens) if isinstance(norm, nn.BatchNorm1d) else norm(tokens.mT).mT


def released_state(network: WaffleIron) -> dict[str, Tensor]:
    """The weights of ours in the released shapes, for `Released`."""
    state = {}
    for name, value in network.state_dict().items():
        added = 0 if value.ndim == 4 or '.norm.' in name or value.ndim < 2 else 2 if 'conv2' in name else 1
        added = 2 if name.endswith('scale.weight') else added
        state[f'waffleiron.{name}' if '_mix.' in name else name] = value[(..., *[None] * added)]
    return state


def make_scan(points: int, seed: int) -> Tensor:
    """Rings of a spinning lidar over a plane with obstacles, (points, 4): x, y, z in meters, intensity."""
    g = torch.Generator().manual_seed(seed)
    azimuth, roughness, intensity, obstacle = torch.rand(4, points, generator=g)
    elevation = torch.deg2rad(torch.randint(-30, 10, (points,), generator=g).float())
    ground = (1.8 / (-elevation).sin().clamp(min=1e-3)).clamp(max=60)
    distance = torch.minimum(ground, 5 + 55 * obstacle) + 0.05 * roughness
    azimuth = 2 * torch.pi * azimuth
    flat = distance * elevation.cos()
    xyz = (flat * azimuth.cos(), flat * azimuth.sin(), (distance * elevation.sin()).clamp(-7, 7))
    return torch.stack((*xyz, 255 * intensity), dim=1)


def make_inputs() -> dict[str, Tensor]:
    """Token features and coordinates, and their neighbors."""
    scans = [make_scan(POINTS, seed) for seed in range(SCANS)]
    coords = torch.cat([F.pad(scan[:, :3], (1, 0), value=number) for number, scan in enumerate(scans)])
    points = torch.cat(scans)
    radius = points[:, :3].norm(dim=1, keepdim=True)
    features = torch.cat(((points[:, 3:] - 18.7) / 22.0, points[:, :3], radius), dim=1)
    return dict(features=features, coords=coords, neighbors=packed_neighbors(coords, 16))


def make_network(depth: int, channels: int = 256) -> WaffleIron:
    """Seeded weights."""
    torch.manual_seed(0)
    return WaffleIron(channels=channels, depth=depth, point_cloud_range=RANGE, grid_size=GRID)


def ours(features: Tensor, coords: Tensor, neighbors: Tensor, depth: int):
    """The network and a call of it."""
    network = make_network(depth)
    planes = project_to_planes(coords, RANGE, GRID)
    return network, lambda: network.encode(features, coords[:, 0].long(), neighbors, planes)


def straightforward(features: Tensor, coords: Tensor, neighbors: Tensor, depth: int):
    """The network and a call of it."""
    network = Released(256, depth)
    network.load_state_dict(released_state(make_network(depth)))
    own = neighbors - torch.arange(SCANS).repeat_interleave(POINTS)[:, None] * POINTS
    planes = project_to_planes(coords, RANGE, GRID, whole=True)
    cells = [plane.cell.view(SCANS, POINTS) % (plane.shape[1] * plane.shape[2]) for plane in planes]
    inputs = [value.unflatten(0, (SCANS, POINTS)).mT.contiguous() for value in (features, own)]
    inputs += [torch.stack(cells, dim=1), torch.ones(SCANS, POINTS)]
    return network, lambda: network(*inputs).mT.flatten(0, 1)


def measure(way, depth: int, repeats: int, results) -> None:
    """Best seconds of processor time, peak memory above the network in MB, and output of one way."""
    torch.set_num_threads(1)
    network, call = way(**make_inputs(), depth=depth)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        network.zero_grad(set_to_none=True)
        start = time.process_time()
        out = call()
        out.square().mean().backward()
        seconds.append(time.process_time() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gradient = next(p.grad for name, p in network.named_parameters() if name == 'embed.conv2.1.weight')
    results.put((min(seconds), peak, out.detach().numpy(), gradient.flatten(1).numpy()))


def compare(name: str, depth: int, repeats: int) -> None:
    """Measure both ways, print times, memory and differences."""
    context = multiprocessing.get_context('spawn')
    found = []
    for way in (straightforward, ours):
        results = context.Queue()
        process = context.Process(target=measure, args=(way, depth, repeats, results))
        process.start()
        found.append(results.get())
        process.join()
    (slow, slow_memory, *slow_out), (fast, fast_memory, *fast_out) = found
    print(f'{name}')
    print(f'  straightforward {slow:7.2f} s, {slow_memory:6.0f} MB above the network and its inputs')
    print(f'  ours            {fast:7.2f} s, {fast_memory:6.0f} MB above the network and its inputs')
    print(f'  {slow / fast:.2f} times faster, {fast_memory / slow_memory:.2f} of the memory')
    worst = [abs(a - b).max() / abs(a).max() for a, b in zip(slow_out, fast_out)]
    print(
        f'  largest difference, relative to the peak: output {worst[0]:.1e}, gradient of embed.conv2.1 {worst[1]:.1e}',
        flush=True,
    )


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--depth', type=int, default=12, help='layers of the network')
    parser.add_argument('--repeats', type=int, default=2, help='runs of each, of which the best counts')
    args = parser.parse_args()
    compare('embedding of 16 neighbors', 0, args.repeats)
    compare(f'network of {args.depth} layers', args.depth, args.repeats)


if __name__ == '__main__':
    main()

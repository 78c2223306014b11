#!/usr/bin/env python3
"""What a teacher costs: size of its map, parameters, peak memory and time of an image on one core of the CPU.

Random weights, float32, one image a call, sides of the image that the patches divide; every teacher in a process of its
own. Time is that of the processor, which other programs hardly change. Memory is what the network and its call add to
that of the program. Prints the table of docs/teachers.md; `--models siglip` measures those with the word in their name
alone.
"""

import argparse
import multiprocessing
import resource
import time

import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
from peridot.models import teachers  # noqa: F401  (registers)
from peridot.registry import MODELS

TIMM, SIGLIP, CLIP = 'peridot.TimmTeacher', 'peridot.SiglipTeacher', 'peridot.MaskClipTeacher'
SIZE, SIZE_OF_14 = (224, 416), (224, 448)
TEACHERS = (
    dict(type=TIMM, model='resnet50', output_stride=4),
    dict(type=TIMM, model='vit_small_patch14_dinov2.lvd142m'),
    dict(type=TIMM, model='vit_base_patch14_dinov2.lvd142m'),
    dict(type=TIMM, model='vit_large_patch14_dinov2.lvd142m'),
    dict(type=TIMM, model='vit_base_patch14_reg4_dinov2.lvd142m'),
    dict(type=TIMM, model='vit_small_patch16_dinov3_qkvb.lvd1689m'),
    dict(type=TIMM, model='vit_small_plus_patch16_dinov3_qkvb.lvd1689m'),
    dict(type=TIMM, model='vit_base_patch16_dinov3_qkvb.lvd1689m'),
    dict(type=TIMM, model='vit_large_patch16_dinov3_qkvb.lvd1689m'),
    dict(type=TIMM, model='convnext_tiny.dinov3_lvd1689m'),
    dict(type=TIMM, model='convnext_base.dinov3_lvd1689m'),
    dict(type=TIMM, model='vit_base_patch16_siglip_gap_224.v2_webli'),
    dict(type=TIMM, model='vit_so400m_patch14_siglip_gap_224.v2_webli'),
    dict(type=SIGLIP, model='vit_base_patch16_siglip_224.v2_webli'),
    dict(type=CLIP, model='vit_base_patch16_clip_quickgelu_224.openai'),
)
REPEATS = 3


@torch.no_grad()
def measure(settings: dict, results: multiprocessing.SimpleQueue) -> None:
    """One row of the table as text."""
    torch.set_num_threads(1)
    size = SIZE_OF_14 if 'patch14' in settings['model'] else SIZE
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    teacher = MODELS.build(dict(settings, weights=None))
    images = torch.randint(256, (1, 3, *size), dtype=torch.uint8)
    times = []
    for _ in range(1 + REPEATS):
        start = time.process_time()
        channels, height, width = teacher(images).shape[1:]
        times.append(time.process_time() - start)
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    millions = sum(parameter.numel() for parameter in teacher.parameters()) / 1e6
    milliseconds = sorted(times[1:])[REPEATS // 2] * 1000
    prefix = getattr(teacher.network, 'num_prefix_tokens', 0)
    tokens = f' + {prefix}' if prefix else ''
    name = f'`{settings["model"]}`' + (f', `{settings["type"]}`' if settings['type'] != TIMM else '')
    results.put(
        f'| {name} | {size[0]} x {size[1]} | {height} x {width}{tokens} | {channels} | {millions:.0f} M '
        f'| {megabytes:.0f} MB | {milliseconds:.0f} |'
    )


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', default='', help='part of the names to measure (default: all)')
    args = parser.parse_args()
    context = multiprocessing.get_context('spawn')
    print('| model | image | tokens | channels | parameters | memory | ms an image |')
    print('| --- | --- | --- | --- | --- | --- | --- |')
    for settings in TEACHERS:
        if args.models in settings['model']:
            results = context.SimpleQueue()
            process = context.Process(target=measure, args=(settings, results))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f'error: {settings["model"]} ended with {process.exitcode}')
            print(results.get(), flush=True)


if __name__ == '__main__':
    main()

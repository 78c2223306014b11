#!/usr/bin/env python3
"""Embed classes as text, see docs/open_vocabulary.md."""

import argparse
from pathlib import Path

from peridot.cli import run
from peridot.text.prompts import TEMPLATES, read_prompts, read_templates


def parse_args() -> argparse.Namespace:
    """Parse prompts, model and output file."""
    parser = argparse.ArgumentParser(description='Embed the words for classes with the text network of a CLIP')
    parser.add_argument('prompts', help='file of lines `class: synonym, ...`, or one of the package, e.g. nuscenes')
    parser.add_argument('--model', required=True, help='folder of a CLIP of transformers, or its name on the hub')
    parser.add_argument('--out', type=Path, required=True, help='file to write (.safetensors)')
    parser.add_argument('--templates', type=Path, help='file of sentences with {} (default: eight about photos)')
    return parser.parse_args()


def main() -> None:
    """Embed the words and write the file."""
    args = parse_args()
    prompts = read_prompts(args.prompts)
    templates = read_templates(args.templates) if args.templates else TEMPLATES
    # imports torch, which takes seconds
    from peridot.text.embeddings import TextEncoder, embed_prompts

    embeddings = embed_prompts(prompts, templates, TextEncoder(args.model), args.model)
    embeddings.save(args.out)
    words, channels = embeddings.vectors.shape
    print(f'{args.out}: {words} words of {len(prompts)} classes, {len(templates)} templates, dimension {channels}')


if __name__ == '__main__':
    run(main)

"""Text embeddings of classes, made once by a text network and kept in a file."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from peridot.errors import CheckpointError, ConfigError, DataError
from peridot.files import atomic_path

FORMAT = 'peridot text embeddings 1'
# in the config of SigLIP and of SigLIP 2 for one image size
SIGLIP = 'siglip'


@dataclass(frozen=True)
class TextEmbeddings:
    """Words for classes, as vectors in a joint space of images and texts.

    Attributes:
        synonyms: Words for every class, in the order of the classes.
        vectors: Float32 (S, F), unit vector of every word, class by class.
        templates: Sentences that the words were inserted into.
        model: Text network that made the vectors.
    """

    synonyms: dict[str, tuple[str, ...]]
    vectors: Tensor
    templates: tuple[str, ...]
    model: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return tuple(self.synonyms)

    def scores(self, features: Tensor) -> Tensor:
        """Score of every class, max over its synonyms of cos(feature, t).

        Args:
            features: Float (N, F), on the device of the vectors.

        Returns:
            Float32 (N, K), in [-1, 1].
        """
        cosine = F.normalize(features.float(), dim=1) @ self.vectors.T
        parts = cosine.split([len(words) for words in self.synonyms.values()], 1)
        return torch.stack([part.amax(1) for part in parts], 1)

    def to(self, device: torch.device) -> 'TextEmbeddings':
        """The same with vectors on a device."""
        return TextEmbeddings(self.synonyms, self.vectors.to(device), self.templates, self.model)

    def query(self, text: str) -> 'TextEmbeddings':
        """A single class: the class of this name with all its synonyms, or a single synonym.

        Raises:
            ConfigError: Neither a class nor a synonym has this name.
        """
        first = 0
        rows: dict[str, list[int]] = {}
        words: dict[str, tuple[str, ...]] = {}
        for name, synonyms in self.synonyms.items():
            indices = list(range(first, first + len(synonyms)))
            for row, synonym in zip(indices, synonyms):
                rows[synonym], words[synonym] = [row], (synonym,)
            rows[name], words[name] = indices, synonyms
            first += len(synonyms)
        if text not in rows:
            raise ConfigError(f'no embedding of {text!r}: give --model for any text, or one of {", ".join(rows)}')
        return TextEmbeddings({text: words[text]}, self.vectors[rows[text]], self.templates, self.model)

    def check_classes(self, classes: Sequence[str], source: str) -> None:
        """Compare with the classes of a dataset, order included.

        Args:
            classes: Names of the dataset's classes.
            source: The embeddings' file, named in the error.

        Raises:
            DataError: They differ.
        """
        if self.classes == tuple(classes):
            return
        remake = 'make it again with tools/embed_text.py from prompts with the classes of this dataset in its order'
        index = next((i for i, (a, b) in enumerate(zip(self.classes, classes)) if a != b), None)
        if index is None:
            raise DataError(f'{source} has {len(self.classes)} classes, the dataset {len(classes)}: {remake}')
        raise DataError(
            f'class {index} of {source} is {self.classes[index]!r}, that of the dataset {classes[index]!r}: {remake}'
        )

    def save(self, path: str | Path) -> None:
        """Write a `.safetensors` file."""
        words = {name: list(synonyms) for name, synonyms in self.synonyms.items()}
        about = dict(format=FORMAT, synonyms=words, templates=list(self.templates), model=self.model)
        with atomic_path(path) as temporary:
            save_file({'vectors': self.vectors.contiguous()}, temporary, {k: json.dumps(v) for k, v in about.items()})

    @classmethod
    def load(cls, path: str | Path) -> 'TextEmbeddings':
        """Read what `save` wrote.

        Raises:
            DataError: The file is absent, damaged or something else.
        """
        make = 'make it with `python tools/embed_text.py PROMPTS --model MODEL --out FILE` (docs/open_vocabulary.md)'
        if not Path(path).is_file():
            raise DataError(f'the text embeddings {path} do not exist: {make}')
        try:
            with safe_open(path, 'pt') as file:
                about = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
                vectors = file.get_tensor('vectors')
            synonyms = {name: tuple(words) for name, words in about['synonyms'].items()}
            if about['format'] != FORMAT or vectors.ndim != 2 or len(vectors) != sum(map(len, synonyms.values())):
                raise ValueError('other content')
            return cls(synonyms, vectors, tuple(about['templates']), about['model'])
        except (SafetensorError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f'{path} holds no text embeddings ({error}): {make}') from error


class TextEncoder:
    """Text network of a CLIP or SigLIP, by `transformers`.

    SigLIP's reads texts as in its training: in lower case, padded to one length, the padding attended to.

    Args:
        model: Folder of a CLIP or SigLIP (config, tokenizer, weights), or its name on the Hugging Face hub.

    Raises:
        CheckpointError: The package, the folder or a file in it is missing.
    """

    def __init__(self, model: str) -> None:
        try:
            from transformers import AutoTokenizer, CLIPTextModelWithProjection, PretrainedConfig, SiglipTextModel
        except ImportError as error:
            raise CheckpointError("texts need transformers: pip install 'peridot-mmdet3d[text]'") from error
        try:
            self.is_siglip = PretrainedConfig.get_config_dict(model)[0].get('model_type') == SIGLIP
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            network = SiglipTextModel if self.is_siglip else CLIPTextModelWithProjection
            self.network, report = network.from_pretrained(model, output_loading_info=True)
        except Exception as error:  # of transformers, of the hub's client or of safetensors
            reason = str(error).strip().split('\n')[0]
            raise CheckpointError(
                f'text model {model} cannot be read: where there is internet, `hf download '
                'openai/clip-vit-base-patch16 --local-dir checkpoints/clip-vit-base-patch16`, put the folder here and '
                f'give it as --model ({reason})'
            ) from error
        if report['missing_keys']:
            raise CheckpointError(
                f'text model {model} has no weights of {sorted(report["missing_keys"])[0]}: give the folder of a CLIP '
                'or SigLIP with text network and projection'
            )
        self.network.eval()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings float32 (T, F) of texts, not normalized."""
        if not self.is_siglip:
            return self.network(**self.tokenizer(list(texts), padding=True, return_tensors='pt')).text_embeds.float()
        length = dict(padding='max_length', max_length=self.network.config.max_position_embeddings, truncation=True)
        tokens = self.tokenizer([text.lower() for text in texts], return_tensors='pt', **length)
        # without the mask of the padding, which training did not have
        return self.network(input_ids=tokens['input_ids']).pooler_output.float()


def embed_prompts(
    prompts: dict[str, tuple[str, ...]],
    templates: Sequence[str],
    encode: Callable[[Sequence[str]], Tensor],
    model: str,
) -> TextEmbeddings:
    """Embed every word as t = normalize(mean over templates of normalize(encode(sentence))).

    Args:
        prompts: Synonyms of every class.
        templates: Sentences with one `{}`.
        encode: Maps T texts to (T, F), e.g. a `TextEncoder`.
        model: Name of the text network, kept beside the vectors.
    """
    vectors = []
    for word in (word for synonyms in prompts.values() for word in synonyms):
        sentences = F.normalize(encode([template.replace('{}', word) for template in templates]), dim=1)
        vectors.append(F.normalize(sentences.mean(0), dim=0))
    return TextEmbeddings(dict(prompts), torch.stack(vectors), tuple(templates), model)

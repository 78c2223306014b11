"""Text for classes: prompts, and their embeddings by the text network of a CLIP."""

from peridot.text.embeddings import TextEmbeddings, TextEncoder, embed_prompts
from peridot.text.image_prototypes import embed_images
from peridot.text.prompts import TEMPLATES, read_prompts, read_templates

__all__ = [
    'TEMPLATES',
    'TextEmbeddings',
    'TextEncoder',
    'embed_images',
    'embed_prompts',
    'read_prompts',
    'read_templates',
]

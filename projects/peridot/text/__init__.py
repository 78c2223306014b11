"""Text for classes: prompts, and their embeddings by the text network of a CLIP."""

import json

import pytest
import torch


@pytest.fixture(scope='session')
def text_model(tmp_path_factory):
    """Folder of a tiny random CLIP text network with a tokenizer that knows bytes alone; joint space of 8."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    folder = tmp_path_factory.mktemp('clip')
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f'{letter}</w>' for letter in letters), '<|startoftext|>', '<|endoftext|>']
    (folder / 'vocab.json').write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    CLIPTokenizer(str(folder / 'vocab.json'), str(folder / 'merges.txt'), model_max_length=77).save_pretrained(folder)
    ends = dict(bos_token_id=len(words) - 2, eos_token_id=len(words) - 1)
    sizes = dict(hidden_size=16, intermediate_size=32, num_attention_heads=2, num_hidden_layers=1, projection_dim=8)
    torch.manual_seed(0)
    network = CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=len(words), **ends, **sizes))
    network.text_model.embeddings.token_embedding.weight.data.normal_()
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope='session')
def siglip_text_model(tmp_path_factory):
    """Folder of a tiny random SigLIP with a tokenizer of words; texts have 6 tokens; joint space of 8."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel

    folder = tmp_path_factory.mktemp('siglip')
    words = {word: i for i, word in enumerate(['<pad>', '<unk>', 'a', 'car', 'red', 'road'])}
    tokenizer = Tokenizer(WordLevel(words, unk_token='<unk>'))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token='<pad>', unk_token='<unk>').save_pretrained(folder)
    sizes = dict(hidden_size=8, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1)
    text = dict(
        vocab_size=len(words), max_position_embeddings=6, pad_token_id=0, bos_token_id=1, eos_token_id=1, **sizes
    )
    torch.manual_seed(0)
    network = SiglipModel(SiglipConfig(text_config=text, vision_config=dict(image_size=16, patch_size=8, **sizes)))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    network.save_pretrained(folder)
    return folder

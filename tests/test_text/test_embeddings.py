import sys
from pathlib import Path

import pytest
import torch
from peridot.errors import CheckpointError, ConfigError, DataError
from peridot.text.embeddings import TextEmbeddings, TextEncoder, embed_prompts
from safetensors.torch import save_file

REPO = Path(__file__).resolve().parents[2]
PROMPTS = {'car': ('sedan', 'van'), 'road': ('street',)}


def unit(values):
    return values / values.norm(dim=-1, keepdim=True)


@pytest.fixture
def embeddings():
    vectors = unit(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
    return TextEmbeddings(PROMPTS, vectors, ('a {}.',), 'some/clip')


def test_score_is_the_best_synonym(embeddings):
    features = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    for row, feature in enumerate(features):
        cosines = [float(feature @ t / feature.norm()) for t in embeddings.vectors]
        expected = [max(cosines[0], cosines[1]), cosines[2]]
        torch.testing.assert_close(embeddings.scores(features)[row], torch.tensor(expected))


def test_word_is_the_mean_of_its_sentences():
    # lengths differ: only normalized sentences weigh the same
    table = {'a sedan': [3.0, 0], 'the sedan': [0, 1.0], 'a van': [0, 5.0], 'the van': [0, 2], 'a street': [1, 0]}
    table['the street'] = [1, 1]
    encode = lambda texts: torch.tensor([table[t] for t in texts], dtype=torch.float32)  # noqa: E731
    made = embed_prompts(PROMPTS, ['a {}', 'the {}'], encode, 'm')
    street = unit(torch.tensor([1 + 0.5**0.5, 0.5**0.5]))
    expected = torch.stack([torch.tensor([0.5, 0.5]).sqrt(), torch.tensor([0.0, 1]), street])
    torch.testing.assert_close(made.vectors, expected)
    assert made.classes == ('car', 'road')


def test_file_returns_what_was_saved(embeddings, tmp_path):
    embeddings.save(tmp_path / 'text.safetensors')
    loaded = TextEmbeddings.load(tmp_path / 'text.safetensors')
    assert torch.equal(loaded.vectors, embeddings.vectors)
    assert (loaded.synonyms, loaded.templates, loaded.model) == (PROMPTS, ('a {}.',), 'some/clip')


def test_bad_files(tmp_path):
    path = tmp_path / 'text.safetensors'
    with pytest.raises(DataError, match=r'do not exist: make it with `python tools/embed_text\.py'):
        TextEmbeddings.load(path)
    save_file({'vectors': torch.zeros(2, 3)}, path)
    for content in (path.read_bytes(), b'', path.read_bytes()[:20]):
        path.write_bytes(content)
        with pytest.raises(DataError, match='holds no text embeddings') as error:
            TextEmbeddings.load(path)
        assert '\n' not in str(error.value)


def test_queries_are_classes_or_synonyms(embeddings):
    features = torch.randn(5, 6)
    assert torch.equal(embeddings.query('car').scores(features)[:, 0], embeddings.scores(features)[:, 0])
    assert torch.equal(embeddings.query('van').vectors, embeddings.vectors[1:2])
    with pytest.raises(
        ConfigError, match=r"'tram': give --model for any text, or one of sedan, van, car, street, road"
    ):
        embeddings.query('tram')


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (('road', 'car'), "class 0 of FILE is 'car', that of the dataset 'road'"),
        (('car', 'road', 'tree'), 'FILE has 2 classes, the dataset 3'),
    ],
)
def test_classes_of_the_dataset(embeddings, classes, message):
    embeddings.check_classes(('car', 'road'), 'FILE')
    with pytest.raises(DataError, match=message):
        embeddings.check_classes(classes, 'FILE')


def test_text_network_of_transformers(text_model):
    encode = TextEncoder(str(text_model))
    together = encode(['a car', 'a much longer sentence'])
    assert together.shape == (2, 8) and not together.requires_grad
    # padding of the shorter text changes nothing, other texts are other vectors
    torch.testing.assert_close(encode(['a car'])[0], together[0], atol=1e-5, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.05


def test_text_network_of_siglip(siglip_text_model):
    """Texts are padded to the length of the training and attend to the padding; the last token is read."""
    from transformers import SiglipModel

    encode = TextEncoder(str(siglip_text_model))
    found = encode(['a Car', 'a red car a red car a red car'])
    network = SiglipModel.from_pretrained(siglip_text_model).eval()
    # a, car and padding; a red car a red car, the rest is cut
    tokens = torch.tensor([[2, 3, 0, 0, 0, 0], [2, 4, 3, 2, 4, 3]])
    with torch.no_grad():
        expected = network.get_text_features(input_ids=tokens)
    assert found.shape == (2, 8) and not found.requires_grad
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encode(['a car'])[0], found[0], atol=1e-5, rtol=1e-4)


def test_tool_writes_embeddings(text_model, tmp_path, run_tool, capsys):
    out = tmp_path / 'nuscenes.safetensors'
    run_tool('embed_text', 'nuscenes', '--model', text_model, '--out', out)
    made = TextEmbeddings.load(out)
    assert f'{len(made.vectors)} words of 16 classes, 8 templates, dimension 8' in capsys.readouterr().out
    assert len(made.classes) == 16 and made.model == str(text_model)
    torch.testing.assert_close(made.vectors.norm(dim=1), torch.ones(len(made.vectors)))


def test_missing_text_model(tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(CheckpointError, match=r'text model .*: where there is internet, `hf download openai/') as error:
        TextEncoder(str(tmp_path / 'absent'))
    assert '\n' not in str(error.value)


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(CheckpointError, match=r"pip install 'peridot-mmdet3d\[text\]'"):
        TextEncoder('anything')


def test_folder_of_an_image_network(text_model, tmp_path):
    """Without the text network's weights transformers would take random ones."""
    for file in text_model.iterdir():
        if file.suffix != '.safetensors':
            (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file({'visual_projection.weight': torch.zeros(2, 2)}, tmp_path / 'model.safetensors', {'format': 'pt'})
    with pytest.raises(CheckpointError, match='has no weights of'):
        TextEncoder(str(tmp_path))

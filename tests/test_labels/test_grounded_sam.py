import json
import sys

import numpy as np
import pytest
import torch
from peridot.errors import CheckpointError, ConfigError
from peridot.labels import GroundedSamGenerator, make_maps
from peridot.labels.grounded_sam import CLASSES, choose_boxes, encode_names
from safetensors.torch import load_file, save_file

NAMES = ['car', 'traffic_cone', 'Road']
PIECES = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '.', 'car', 'traffic', 'cone', 'ro', '##ad']


@pytest.fixture
def tiny_dino(tmp_path):
    """Folder of a Grounding DINO with random weights, as transformers saves it."""
    import transformers

    folder = tmp_path / 'dino'
    folder.mkdir()
    (folder / 'vocab.txt').write_text('\n'.join(PIECES) + '\n')
    swin = transformers.SwinConfig(
        image_size=32,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=4,
        out_features=['stage2', 'stage3', 'stage4'],
    )
    bert = transformers.BertConfig(len(PIECES), 16, 1, 2, 16, max_position_embeddings=256)
    small = {
        f'{part}_{key}': 1 if key == 'layers' else 2
        for part in ('encoder', 'decoder')
        for key in ('layers', 'attention_heads')
    }
    config = transformers.GroundingDinoConfig(
        swin, text_config=bert, num_queries=12, d_model=32, encoder_ffn_dim=16, decoder_ffn_dim=16, **small
    )
    torch.manual_seed(0)
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessor(size={'shortest_edge': 64, 'longest_edge': 128}),
        transformers.BertTokenizerFast(str(folder / 'vocab.txt')),
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def generator(tiny_sam, tiny_dino):
    def make(**options) -> GroundedSamGenerator:
        return GroundedSamGenerator(
            **{'checkpoint': tiny_sam, 'model_type': 'tiny', 'detector': str(tiny_dino), 'classes': NAMES, **options}
        )

    return make


def one_line(error) -> str:
    assert '\n' not in str(error.value)
    return str(error.value)


def chosen_one_by_one(probabilities, spans, box_threshold, text_threshold):
    kept = []
    for box, row in enumerate(probabilities.tolist()):
        score, means = 0.0, []
        for name in spans.tolist():
            pieces = [value for value, inside in zip(row, name) if inside]
            score = max(score, *pieces)
            means.append(sum(value for value in pieces if value > text_threshold) / len(pieces))
        if score > box_threshold and max(means) > 0:
            kept.append((score, box, means.index(max(means))))
    kept.sort(key=lambda item: item[:2])
    return [box for _, box, _ in kept], [value for _, _, value in kept]


@pytest.mark.parametrize('thresholds', [(0.25, 0.25), (0.8, 0.1), (0.1, 0.8), (0.97, 0.5)])
def test_choice_of_boxes_follows_its_rule(thresholds):
    torch.manual_seed(0)
    spans = torch.zeros(4, 11)
    for name, pieces in enumerate([[1], [3, 4], [6, 7, 8], [10]]):
        spans[name, pieces] = 1
    # coarse values, so that some are equal
    probabilities = (torch.rand(60, 11) * 16).round() / 16
    order, classes = choose_boxes(probabilities, spans, *thresholds)
    assert (order.tolist(), classes.tolist()) == chosen_one_by_one(probabilities, spans, *thresholds)


def test_word_pieces_of_names(tiny_dino):
    from transformers import BertTokenizerFast

    text, spans = encode_names(BertTokenizerFast.from_pretrained(tiny_dino), NAMES)
    pieces = [PIECES[index] for index in text['input_ids'][0]]
    assert pieces == ['[CLS]', 'car', '.', 'traffic', 'cone', '.', 'ro', '##ad', '.', '[SEP]']
    assert [np.flatnonzero(row).tolist() for row in spans] == [[1], [3, 4], [6, 7]]


def test_labels_of_an_image_step_by_step(generator):
    """The libraries' own calls, one box at a time."""
    generator = generator(box_threshold=0.6, text_threshold=0.3)
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    processor, detector, predictor, _, spans = generator.network
    inputs = processor(images=image, text='car . traffic cone . road .', return_tensors='pt')
    with torch.no_grad():
        outputs = detector(**inputs)
    found = processor.post_process_grounded_object_detection(outputs, threshold=0.0, target_sizes=[(90, 160)])[0]
    probabilities = outputs.logits[0].sigmoid()[:, : spans.shape[1]]
    order, classes = chosen_one_by_one(probabilities, spans, 0.6, 0.3)
    assert len(order) > 3 and len(set(classes)) > 1
    expected = np.full((90, 160), 255, np.uint8)
    predictor.set_image(image)
    for box, value in zip(order, classes):
        masks, _, _ = predictor.predict(box=found['boxes'][box].numpy(), multimask_output=False)
        expected[masks[0]] = value
    labels = generator(image)
    assert labels.dtype == np.uint8 and len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, expected)


def test_maps_of_a_dataset(generator, job, tiny_dino):
    maps = make_maps(generator(), job('weak_labels/grounded-sam', workers=2))
    manifest = maps.manifest
    assert (manifest.kind, manifest.generator, manifest.classes, manifest.ignore) == (
        'labels',
        'grounded-sam',
        NAMES,
        255,
    )
    assert manifest.parameters == {
        'detector': str(tiny_dino),
        'box_threshold': 0.25,
        'text_threshold': 0.25,
        'model_type': 'tiny',
        'checkpoint': manifest.parameters['checkpoint'],
    }
    values = np.unique([maps.read(source.path, (90, 160)) for source in job('').images])
    assert set(values) <= {0, 1, 2, 255} and len(values) > 1


def test_images_without_boxes_are_listed(generator, job, log):
    maps = make_maps(generator(box_threshold=1.0), job('weak_labels/grounded-sam'))
    assert all((maps.read(source.path, (90, 160)) == 255).all() for source in job('').images)
    assert '8 of 8 labels maps are empty: every pixel is ignored: samples/CAM_BACK/0, ' in log.text


def test_default_classes_are_those_of_olivine(generator):
    assert GroundedSamGenerator('x.pth').classes == list(CLASSES) and len(CLASSES) == 13


@pytest.mark.parametrize(
    ('classes', 'problem'),
    [
        ([], 'the class list is empty'),
        (['car', 'car'], "names 'car' twice"),
        ([f'c{i}' for i in range(256)], 'has 256 names'),
        (['car', 'st. lamp'], "name 'st. lamp' holds a dot"),
    ],
)
def test_class_lists_that_cannot_be(classes, problem):
    with pytest.raises(ConfigError, match=f'grounded-sam: .*{problem}') as error:
        GroundedSamGenerator('x.pth', classes=classes)
    one_line(error)


def test_class_names_the_detector_cannot_take(generator):
    with pytest.raises(ConfigError, match='the 90 class names make 272 word pieces, the detector reads 256') as error:
        generator(classes=['road' + ' ' * i for i in range(90)]).load()
    one_line(error)
    with pytest.raises(ConfigError, match='cannot read the class name') as error:
        generator(classes=['car', '\u200b']).load()
    one_line(error)


def test_detector_absent(generator, tmp_path):
    with pytest.raises(CheckpointError, match=r'detector .*absent cannot be loaded \(.*detector=DIR') as error:
        generator(detector=str(tmp_path / 'absent')).load()
    one_line(error)


def test_detector_of_another_kind(generator, tiny_dino):
    config = tiny_dino / 'config.json'
    config.write_text(json.dumps({'model_type': 'bert', 'hidden_size': 16, 'num_attention_heads': 2}))
    with pytest.raises(CheckpointError, match=r"dino is of type 'bert': give --options detector=DIR") as error:
        generator().load()
    one_line(error)


def test_detector_damaged_or_incomplete(generator, tiny_dino):
    path = tiny_dino / 'model.safetensors'
    state = load_file(path)
    name = next(name for name in state if 'text_backbone' in name)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r'dino cannot be loaded \(') as error:
        generator().load()
    one_line(error)
    save_file({key: value for key, value in state.items() if key != name}, path, {'format': 'pt'})
    with pytest.raises(CheckpointError, match=rf'dino lacks 1 tensors, first .{name}.') as error:
        generator().load()
    one_line(error)


@pytest.mark.parametrize(
    ('package', 'install'), [('transformers', 'transformers==4.57.6'), ('segment_anything', 'segment-anything')]
)
def test_package_missing(generator, monkeypatch, package, install):
    make = generator()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f'grounded-sam needs the package {package}: pip install {install}$'):
        make.load()


def test_sam_checkpoint_absent(generator):
    with pytest.raises(CheckpointError, match=r'Segment Anything checkpoint x\.pth not found: download .*vit_h'):
        generator(checkpoint='x.pth', model_type='vit_h').load()

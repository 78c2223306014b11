import struct
import zlib

import numpy as np
import pytest
from peridot.maps.runs import decode_runs, encode_runs

HEADER = struct.Struct('<4sBIII')


def noise(shape, top, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


def regions(shape=(61, 83), dtype=np.uint16) -> np.ndarray:
    """Nearest of 20 seeds, as superpixels are, in every row that is not the one above it."""
    rng = np.random.default_rng(1)
    seeds = rng.uniform(0, 1, (20, 2)) * shape
    rows, columns = np.arange(shape[0]) // 3 * 3, np.arange(shape[1])
    distance = np.hypot(rows[:, None, None] - seeds[:, 0], columns[:, None] - seeds[:, 1])
    return distance.argmin(2).astype(dtype)


MAPS = dict(
    random=noise((37, 41), 5),
    random16=noise((37, 41), 65536, np.uint16),
    noisy=noise((5, 300), 256),
    constant=np.full((90, 1600), 7, np.uint8),
    ignored=np.full((3, 2), 65535, np.uint16),
    regions=regions(),
    few_ids=regions(dtype=np.uint8),
    repeated=np.repeat(noise((4, 600), 2), [1, 3, 1, 2], 0),
    returning=np.array([[1, 2], [3, 4], [1, 2], [1, 2]], np.uint8),
    row=np.arange(700, dtype=np.uint16)[None],
    column=np.arange(300, dtype=np.uint16)[:, None] // 7,
    pixel=np.array([[0]], np.uint8),
    run_of_255=np.repeat(np.arange(4, dtype=np.uint8), [255, 256, 510, 1])[None],
)


@pytest.mark.parametrize('name', MAPS)
def test_nothing_is_lost(name):
    array = MAPS[name]
    found = decode_runs(encode_runs(array))
    whole = np.asarray(found)
    assert found.shape == array.shape and whole.dtype == (np.uint8 if array.max() < 256 else np.uint16)
    np.testing.assert_array_equal(whole, array)


@pytest.mark.parametrize('name', MAPS)
def test_positions_are_those_of_the_whole_map(name):
    array = MAPS[name]
    found = decode_runs(encode_runs(array))
    rng = np.random.default_rng(2)
    rows, columns = (rng.integers(0, size, 200) for size in array.shape)
    np.testing.assert_array_equal(found[rows, columns], array[rows, columns])
    grid = np.sort(rows[:9])[:, None], columns[:11][::-1]
    np.testing.assert_array_equal(found[grid], array[grid])
    nowhere = np.zeros(0, np.int64)
    assert found[nowhere, nowhere].shape == (0,)


def test_positions_outside_are_an_error():
    found = decode_runs(encode_runs(MAPS['regions']))
    for at in ((np.array([61]), np.array([0])), (np.array([0]), np.array([83]))):
        with pytest.raises(IndexError):
            found[at]


def test_values_are_changed_run_by_run():
    array = MAPS['regions']
    found = decode_runs(encode_runs(array)).map(lambda values: values.astype(np.int32) - 1)
    np.testing.assert_array_equal(np.asarray(found), array.astype(np.int32) - 1)
    assert found[np.array([3]), np.array([4])].dtype == np.int32


def test_equal_rows_are_stored_once():
    found = decode_runs(encode_runs(MAPS['repeated']))
    assert len(found.counts) == 4 and found.stored.tolist() == [0, 1, 1, 1, 2, 3, 3]
    assert len(encode_runs(MAPS['constant'])) < 100


@pytest.mark.parametrize('width', [65535, 65536])
def test_the_widest_map(width):
    array = (np.arange(width) % 2).astype(np.uint8)[None]
    if width > 65535:
        with pytest.raises(ValueError, match='at most 65535 pixels wide, not 65536'):
            encode_runs(array)
    else:
        np.testing.assert_array_equal(np.asarray(decode_runs(encode_runs(array))), array)


@pytest.mark.parametrize('keep', [0, 3, 16, 17, 30, 0.7, 0.95, -1])
def test_a_truncated_map_is_refused(keep):
    data = encode_runs(MAPS['regions'])
    with pytest.raises(ValueError):
        decode_runs(data[: int(keep * len(data)) if isinstance(keep, float) else keep])


def test_a_changed_bit_is_found_or_changes_nothing():
    array = MAPS['regions']
    data = encode_runs(array)
    passed = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x10
        try:
            np.testing.assert_array_equal(np.asarray(decode_runs(bytes(changed))), array)
            passed += 1
        except ValueError:
            continue
    # bits that fill the last byte of compressed data
    assert passed <= 1


def content(counts, lengths, values, shape=(2, 3)) -> bytes:
    """A file of 8-bit values, valid or not, with a right checksum."""
    counts = np.array(counts, int)
    body = bytes([*(counts & 255), *(counts >> 8), *lengths, *values])
    return HEADER.pack(b'RUNS', 1, *shape, len(values)) + zlib.compress(body)


def test_the_format_of_a_file():
    np.testing.assert_array_equal(
        np.asarray(decode_runs(content([2, 1], [2, 1, 3], [5, 6, 7]))), [[5, 5, 6], [7, 7, 7]]
    )
    assert encode_runs(np.array([[5, 5, 6], [7, 7, 7]], np.uint8)) == content([2, 1], [2, 1, 3], [5, 6, 7])


@pytest.mark.parametrize(
    'counts, lengths, values, shape',
    [
        ([0, 1], [3], [5], (2, 3)),
        ([1, 1], [3], [5], (2, 3)),
        ([1, 0], [2], [5], (2, 3)),
        ([2, 1], [1, 1, 4], [5, 6, 7], (2, 3)),
        ([1, 1], [4, 2], [5, 6], (2, 3)),
        ([0, 0], [], [], (2, 3)),
        ([], [], [], (0, 3)),
        ([1, 1], [0, 0], [5, 6], (2, 0)),
    ],
)
def test_runs_that_do_not_fill_their_rows_are_refused(counts, lengths, values, shape):
    with pytest.raises(ValueError, match='damaged'):
        decode_runs(content(counts, lengths, values, shape))


def test_a_file_larger_than_it_says_is_not_unpacked():
    body = zlib.compress(bytes(1 << 20))
    with pytest.raises(ValueError, match='truncated or damaged'):
        decode_runs(HEADER.pack(b'RUNS', 1, 2, 3, 2) + body)
    with pytest.raises(ValueError, match='not a map of runs'):
        decode_runs(b'\x89PNG' + body)

"""Random numbers out of keys."""

import numpy as np

from spacy_bert.pretraining.randomness import generator, stream_key, uniforms, words


def test_words_are_those_of_splitmix64():
    """Catches a constant or a shift that is not SplitMix64's: the reference implementation's first
    numbers for the seed 1234567."""
    found = words(np.array([1234567], dtype=np.uint64), np.arange(5, dtype=np.uint64))
    assert found.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_every_part_of_a_key_counts():
    """Catches a key of which only a part is used, so that two epochs are alike."""
    keys = [(1, 2, 3), (3, 2, 1), (1, 2), (1, 2, 4), (0, 2, 3)]
    assert len({generator(*key).random() for key in keys}) == len(keys)
    assert len({int(stream_key(*key)[0]) for key in keys}) == len(keys)
    assert generator(1, 2, 3).random() == generator(1, 2, 3).random()


def test_uniforms_fill_the_interval():
    """Catches numbers outside [0, 1), and streams of neighbouring keys that are related."""
    keys = words(stream_key(0), np.arange(400, dtype=np.uint64))
    numbers = uniforms(keys[:, None], np.arange(400, dtype=np.uint64)[None])
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
    assert ((counts - 1600) ** 2 / 1600).sum() < 99 + 5 * np.sqrt(2 * 99)
    for axis in (0, 1):
        centred = numbers - 0.5
        pairs = (centred * np.roll(centred, 1, axis)).sum()
        assert abs(pairs) < 5 * np.sqrt(numbers.size) / 12

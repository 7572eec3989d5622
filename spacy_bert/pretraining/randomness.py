"""Random numbers as a pure function of a key: nothing to save, so a resume costs nothing.

Draws for a whole block of documents come from a NumPy generator that is seeded with the key. The
masks of a sequence must not depend on the batch it is in, so these are drawn for each sequence by
itself, of all sequences of a batch at once: SplitMix64 (Steele, Lea, Flood 2014, "Fast Splittable
Pseudorandom Number Generators"), a generator that is a hash of its key and a counter.
"""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = (np.uint64(bits) for bits in (30, 27, 31, 11))
_ONE = np.uint64(1)


def generator(*key: int) -> np.random.Generator:
    """key (int): What the numbers depend on, none negative: a seed, a purpose, an epoch, ...
    RETURNS (np.random.Generator): The same for the same key, independent for any other."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def stream_key(*key: int) -> np.ndarray:
    """key (int): What the numbers depend on, none negative.
    RETURNS (np.ndarray): The key of a SplitMix64 stream, shape (1,), uint64."""
    return np.random.SeedSequence(key).generate_state(1, np.uint64)


def words(keys: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """The numbers at some places of SplitMix64 streams.

    keys (np.ndarray): Keys of the streams, uint64.
    counters (np.ndarray): The places, uint64, of a shape that goes with that of `keys`.
    RETURNS (np.ndarray): 64 random bits each, uint64.
    """
    state = keys + (counters + _ONE) * _GOLDEN  # wraps around, as it should
    state = (state ^ (state >> _30)) * _MIX_1
    state = (state ^ (state >> _27)) * _MIX_2
    return state ^ (state >> _31)


def uniforms(keys: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """keys (np.ndarray): Keys of the streams, uint64.
    counters (np.ndarray): The places, uint64.
    RETURNS (np.ndarray): Random numbers from [0, 1), float64."""
    return (words(keys, counters) >> _11).astype(np.float64) * 2.0**-53

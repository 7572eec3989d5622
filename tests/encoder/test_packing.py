import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_bert.encoder import PackedPieces, pack, pack_rows, unpack
from spacy_bert.encoder.packing import fill

sequences = st.lists(st.lists(st.integers(0, 30000), min_size=1, max_size=9), max_size=6)


@settings(deadline=None)
@given(sequences)
def test_unpack_undoes_pack(batch):
    """Catches rows lost, doubled or given to the neighbouring sequence, for any lengths."""
    pieces = pack([np.array(ids) for ids in batch])
    assert [rows.tolist() for rows in unpack(pieces.ids, pieces)] == batch
    assert pieces.n_seqs == len(batch)


@settings(deadline=None)
@given(sequences)
def test_what_goes_with_the_ids(batch):
    """Catches positions that run on, and boundaries or lengths that disagree with the rows."""
    pieces = pack([np.array(ids) for ids in batch])
    lengths = [len(ids) for ids in batch]
    assert pieces.positions.tolist() == [i for length in lengths for i in range(length)]
    assert pieces.cu_seqlens.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert pieces.max_seqlen == max(lengths, default=0)
    assert list(pieces.lengths) == lengths
    assert pieces.type_ids.tolist() == [0] * sum(lengths)


def test_types():
    """Catches dtypes that embeddings (int64) or attention kernels (int32) refuse on some device."""
    pieces = pack([np.array([5, 6], dtype=np.uint16)], [np.array([0, 1], dtype=np.int8)])
    assert [t.dtype for t in pieces[:3]] == [torch.int64] * 3
    assert pieces.cu_seqlens.dtype == torch.int32
    assert isinstance(pieces.max_seqlen, int)


def test_type_ids_go_along():
    """Catches segment types that are dropped or permuted."""
    pieces = pack([np.array([5, 6, 7]), np.array([8, 9])], [np.array([0, 1, 1]), np.array([1, 0])])
    assert pieces.type_ids.tolist() == [0, 1, 1, 1, 0]


def test_type_ids_of_other_lengths():
    """Catches segment types that move over to the next sequence."""
    ids = [np.array([5, 6, 7]), np.array([8, 9])]
    for lengths in ([2, 3], [3], [3, 3]):
        with pytest.raises(ValueError, match=r"\[3, 2\] pieces.*types are \["):
            pack(ids, [np.zeros(length, dtype=int) for length in lengths])


def test_empty_sequence_is_named():
    """Catches an empty sequence that slips through: it has no [CLS] row, and its neighbour's would
    be taken for it."""
    with pytest.raises(ValueError, match="Sequence 1 of the batch has no pieces"):
        pack([np.array([5]), np.array([], dtype=int), np.array([6])])


def test_pack_rows_is_pack():
    """Catches two ways to the same batch that differ."""
    ids, types = [np.array([5, 6, 7]), np.array([8])], [np.array([0, 0, 1]), np.array([1])]
    rows = pack_rows(np.concatenate(ids), np.concatenate(types), [3, 1])
    for a, b in zip(pack(ids, types), rows, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_pack_rows_copies_no_more_than_it_must():
    """Catches a needless copy of ids that have the right type already."""
    ids = np.arange(4, dtype=np.int64)
    assert pack_rows(ids, None, [4]).ids.data_ptr() == ids.ctypes.data


def test_to_keeps_everything():
    """Catches a field that gets lost or stays behind when a batch moves; `meta` is a device that
    every machine has."""
    pieces = pack([np.array([5, 6, 7]), np.array([8])])
    assert pieces.to(torch.device("cpu")) is pieces
    moved = pieces.to(torch.device("meta"))
    assert isinstance(moved, PackedPieces)
    assert {t.device.type for t in moved[:4]} == {"meta"}
    assert [t.shape for t in moved[:4]] == [t.shape for t in pieces[:4]]
    assert moved[4:] == pieces[4:]


def test_unpack_rows_of_any_width():
    """Catches an `unpack` that works for ids only: it is used on vectors."""
    pieces = pack([np.array([5, 6, 7]), np.array([8])])
    vectors = torch.arange(8.0).view(4, 2)
    first, second = unpack(vectors, pieces)
    assert first.tolist() == [[0, 1], [2, 3], [4, 5]] and second.tolist() == [[6, 7]]


@pytest.mark.parametrize("length, filled", [(3, 3), (15, 15), (16, 16), (17, 18), (99, 100)])
def test_fill_adds_rows_to_the_end(length: int, filled: int) -> None:
    """Catches a batch whose own rows are changed, and small ones of which filling would be the most."""
    batch = pack([np.arange(1, 1 + length)], [np.ones(length, dtype=np.int64)])
    result = fill(batch, 2)
    assert len(result.ids) == len(result.type_ids) == len(result.positions) == filled
    assert result.lengths == (length, *[1] * (filled - length))
    assert result.cu_seqlens.tolist() == np.cumsum([0, *result.lengths]).tolist()
    assert result.cu_seqlens.dtype == batch.cu_seqlens.dtype
    assert result.max_seqlen == batch.max_seqlen
    for name in ("ids", "type_ids", "positions"):
        assert torch.equal(getattr(result, name)[:length], getattr(batch, name)), name
        assert not getattr(result, name)[length:].any(), name

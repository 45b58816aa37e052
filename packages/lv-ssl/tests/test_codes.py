import contextlib
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import Bernoulli, CodeBook, hamming_knn, pack_bits, unpack_bits
from lv_ssl.arrays import read_npy, read_npz, write_npz


def drawn(seed, rows, bits, share=0.5):
    return (np.random.default_rng(seed).random((rows, bits)) < share).astype(np.uint8)


def looped_neighbours(a, b, k, without_self=False):
    """Every distance, then the k smallest with the earlier row first."""
    distances, indices = [], []
    for i, row in enumerate(a):
        each = [(int((row != other).sum()), j) for j, other in enumerate(b)]
        each = sorted(pair for pair in each if not (without_self and pair[1] == i))[:k]
        distances.append([d for d, _ in each])
        indices.append([j for _, j in each])
    return np.array(distances), np.array(indices)


@given(seed=st.integers(0, 2**31), rows=st.integers(0, 5), bits=st.integers(1, 4096))
def test_bits_come_back_as_they_were_packed(seed, rows, bits):
    x = drawn(seed, rows, bits)
    codes = pack_bits(x)
    assert codes.shape == (rows, -(-bits // 8))
    assert codes.dtype == np.uint8
    assert np.array_equal(unpack_bits(codes, bits), x)
    for j in range(min(bits, 20)):
        assert np.array_equal(codes[:, j // 8] >> j % 8 & 1, x[:, j])


def test_a_posteriors_mode_is_packed_as_it_is():
    q = Bernoulli(torch.randn(5, 21, generator=torch.Generator().manual_seed(0)))
    assert np.array_equal(unpack_bits(pack_bits(q.mode), 21), q.mode.numpy())
    assert np.array_equal(pack_bits(q.mode > 0.5), pack_bits(q.mode))


@given(
    seed=st.integers(0, 2**31),
    queries=st.integers(1, 40),
    rows=st.integers(1, 60),
    bits=st.integers(1, 300),
    share=st.sampled_from([0.5, 0.02]),
    threads=st.integers(1, 3),
    data=st.data(),
)
def test_neighbours_are_those_of_the_definition(seed, queries, rows, bits, share, threads, data):
    k = data.draw(st.integers(1, rows))
    a, b = drawn(seed, queries, bits, share), drawn(seed + 1, rows, bits, share)
    got = hamming_knn(pack_bits(a), pack_bits(b), k, threads=threads)
    distances, indices = looped_neighbours(a, b, k)
    assert np.array_equal(got.distances, distances)
    assert np.array_equal(got.indices, indices)


@given(seed=st.integers(0, 2**31), rows=st.integers(2, 60), share=st.sampled_from([0.5, 0.02]))
def test_no_row_is_its_own_neighbour_where_that_is_asked_even_among_equals(seed, rows, share):
    x = drawn(seed, rows, 70, share)
    got = hamming_knn(pack_bits(x), pack_bits(x), rows - 1, leave_out_self=True)
    distances, indices = looped_neighbours(x, x, rows - 1, without_self=True)
    assert np.array_equal(got.distances, distances)
    assert np.array_equal(got.indices, indices)


def test_many_tiles_and_wide_codes_equal_a_matrix_product():
    a, b = drawn(0, 37, 2000), drawn(1, 20_000, 2000)
    d = (a.sum(1)[:, None] + b.sum(1) - 2 * (a.astype(np.float32) @ b.T.astype(np.float32))).astype(
        int
    )
    got = hamming_knn(pack_bits(a), pack_bits(b), 10, threads=2)
    order = np.argsort(d, axis=1, kind="stable")[:, :10]
    assert np.array_equal(got.indices, order)
    assert np.array_equal(got.distances, np.take_along_axis(d, order, 1))


def test_distances_above_65535_bits_do_not_wrap():
    x = np.stack([np.zeros(70_000, np.uint8), np.ones(70_000, np.uint8)])
    codes = pack_bits(x)
    assert hamming_knn(codes[:1], codes, 2).distances.tolist() == [[0, 70_000]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack_bits(np.array([[0.0, 0.5]])), "bits must be 0 or 1"),
        (lambda: pack_bits(np.array([[2]])), "bits must be 0 or 1"),
        (lambda: pack_bits(np.array([[np.nan]])), "bits must be 0 or 1"),
        (lambda: pack_bits(np.zeros(3)), r"bits must be \(N, D\).*\(3,\)"),
        (lambda: unpack_bits(np.zeros((2, 2), np.uint8), 17), "for bits = 17"),
        (lambda: unpack_bits(np.full((2, 1), 255, np.uint8), 5), "0 behind their 5 bits"),
        (lambda: hamming_knn(codes(3, 8), codes(3, 16), 1), "equal bytes, got 1 and 2"),
        (lambda: hamming_knn(codes(3, 8), codes(3, 8), 4), "k must be in 1 to 3, got 4"),
        (
            lambda: hamming_knn(codes(3, 8), codes(3, 8), 3, leave_out_self=True),
            "k must be in 1 to 2, got 3",
        ),
        (
            lambda: hamming_knn(codes(2, 8), codes(3, 8), 1, leave_out_self=True),
            "as many queries as codes, got 2 and 3",
        ),
        (lambda: hamming_knn(codes(3, 8), codes(3, 8), 1, threads=0), "threads must be at least 1"),
    ],
)
def test_says_what_came_and_what_would_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_says_which_dtype_came():
    with pytest.raises(TypeError, match="codes must be a uint8 array, got float64"):
        unpack_bits(np.zeros((2, 2)), 16)
    with pytest.raises(TypeError, match="queries must be a uint8 array, got list"):
        hamming_knn([[1]], codes(2, 8), 1)


def codes(rows, bits):
    return pack_bits(drawn(0, rows, bits))


def book(rows=6, bits=21):
    g = np.random.default_rng(1)
    certain, rate = g.random(rows, np.float32), g.random(bits, np.float32)
    return CodeBook(codes(rows, bits), bits, certain, rate, model="ab12")


def test_a_book_comes_back_from_disk_and_takes_a_bit_a_bit(tmp_path):
    kept = book(1000, 2048)
    kept.save(tmp_path / "codes.npz")
    again = CodeBook.load(tmp_path / "codes.npz")
    for name in ("codes", "uncertainty", "rate"):
        assert np.array_equal(getattr(kept, name), getattr(again, name))
    assert (again.bits, again.model, len(again)) == (2048, "ab12", 1000)
    assert os.path.getsize(tmp_path / "codes.npz") < 1000 * (256 + 4) + 4 * 2048 + 3000
    assert os.listdir(tmp_path) == ["codes.npz"]


def test_equal_books_are_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        book().save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "lv-ssl head"}, "format must be 'lv-ssl codes', got 'lv-ssl head'"),
        ({"version": 2}, "version must be 1, got 2"),
        ({"bitorder": "big"}, "bitorder must be 'little', got 'big'"),
        ({"bits": 29}, "for bits = 29"),
        ({"bits": 20}, "0 behind their 20 bits|rate must be"),
        ({"bits": "21"}, "without bits, rows and model"),
        ({"bits": True}, "without bits, rows and model"),
        ({"rows": 5}, "holds 6 codes, its header says 5"),
        ({"model": None}, "without bits, rows and model"),
    ],
)
def test_a_header_that_lies_is_found_out(tmp_path, change, message):
    book().save(tmp_path / "codes.npz")
    header, arrays = read_npz(tmp_path / "codes.npz")
    write_npz(tmp_path / "codes.npz", header | change, arrays)
    with pytest.raises(ValueError, match=message):
        CodeBook.load(tmp_path / "codes.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"codes": np.zeros((6, 3), np.int64)},
        {"codes": np.zeros((6, 4), np.uint8)},
        {"uncertainty": np.zeros(5, np.float32)},
        {"uncertainty": np.full(6, np.nan, np.float32)},
        {"rate": np.zeros(21)},
        {"more": np.zeros(1)},
    ],
)
def test_arrays_that_do_not_fit_are_found_out(tmp_path, change):
    book().save(tmp_path / "codes.npz")
    header, arrays = read_npz(tmp_path / "codes.npz")
    write_npz(tmp_path / "codes.npz", header, arrays | change)
    with pytest.raises(ValueError, match=r"codes\.npz"):
        CodeBook.load(tmp_path / "codes.npz")


@given(seed=st.integers(0, 2**31), data=st.data())
def test_a_spoilt_file_is_a_value_error_or_the_same_book(tmp_path_factory, seed, data):
    folder = tmp_path_factory.mktemp("spoilt")
    book().save(folder / "codes.npz")
    raw = bytearray((folder / "codes.npz").read_bytes())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        g = np.random.default_rng(seed)
        for _ in range(data.draw(st.integers(1, 8))):
            raw[g.integers(len(raw))] = g.integers(256)
    (folder / "codes.npz").write_bytes(raw)
    with contextlib.suppress(ValueError):
        assert np.array_equal(CodeBook.load(folder / "codes.npz").codes, book().codes)


def test_files_with_objects_huge_shapes_or_compression_are_refused(tmp_path):
    path = tmp_path / "z.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="must hold numbers, got object"):
        read_npy(path)
    np.save(path, np.zeros(4))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"(4,)", b"(9999999999999,)"))
    with pytest.raises(ValueError, match=r"is no .npy array|does not hold"):
        read_npy(path)
    path.write_bytes(raw.replace(b"(4,), }         ", b"(4000000000,), }"))
    with pytest.raises(ValueError, match=r"does not hold the \(4000000000,\) float64"):
        read_npy(path)
    path.write_bytes(raw.replace(b"(4,), }    ", b"(-1, -4), }"))
    with pytest.raises(ValueError, match="does not hold"):
        read_npy(path)
    path.write_bytes(raw + b"more")
    with pytest.raises(ValueError, match="does not hold"):
        read_npy(path)
    np.savez_compressed(tmp_path / "z.npz", codes=np.zeros(10**6))
    with pytest.raises(ValueError, match="compressed"):
        read_npz(tmp_path / "z.npz")
    np.savez(tmp_path / "z.npz", codes=np.zeros(3))
    with pytest.raises(ValueError, match="no JSON header"):
        read_npz(tmp_path / "z.npz")
    write_npz(tmp_path / "z.npz", [1], {})
    with pytest.raises(ValueError, match="header that is no object, got list"):
        read_npz(tmp_path / "z.npz")


def test_arrays_of_every_order_come_back(tmp_path):
    for x in (np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.zeros((0, 3)), np.float32(2.5)):
        np.save(tmp_path / "z.npy", x)
        assert np.array_equal(read_npy(tmp_path / "z.npy"), x)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    book().save(tmp_path / "codes.npz")
    before = (tmp_path / "codes.npz").read_bytes()
    with pytest.raises(TypeError):
        write_npz(tmp_path / "codes.npz", {"x": object()}, {})
    with pytest.raises(ValueError, match="Object arrays"):
        write_npz(tmp_path / "codes.npz", {}, {"x": np.array([None])})
    assert (tmp_path / "codes.npz").read_bytes() == before
    assert os.listdir(tmp_path) == ["codes.npz"]


@pytest.mark.parametrize("header", [b"{'descr': '<f4', 'shape': (6, \n(", b"(" * 90, b"{" * 90])
def test_a_header_that_is_no_python_is_refused(tmp_path, header):
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117) + b"\n")
    with pytest.raises(ValueError, match=r"is no \.npy array"):
        read_npy(path)

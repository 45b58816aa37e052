import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from randaug_study.keys import fold, fresh_key, gammas, normals, uniforms

MASK = (1 << 64) - 1


def splitmix(word: int) -> int:
    """The published finaliser, in Python's integers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


@given(key=st.integers(0, 2**70), row=st.integers(0, 2**62), stream=st.integers(0, 2**45))
def test_a_tensor_of_words_is_mixed_as_one_integer_is(key, row, stream):
    inner = splitmix((row * 0x9E3779B97F4A7C15 + fold(key)) & MASK)
    word = splitmix(((inner ^ 0x94D049BB133111EB) + stream * 0xBF58476D1CE4E5B9) & MASK)
    got = uniforms(key, torch.tensor([row]), stream)
    assert float(got) == (word >> 11) * 2.0**-53


def test_splitmix_gives_the_published_sequence_of_seed_zero():
    states = [(n * 0x9E3779B97F4A7C15) & MASK for n in (1, 2, 3)]
    want = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [splitmix(state) for state in states] == want


def test_keys_differ_by_value_order_and_length():
    keys = [0, 1, -1, (0, 0), (0, 1), (1, 0), (0, 0, 0), (2**64 - 2,), 10**9]
    assert len({fold(key) for key in keys}) == len(keys)
    assert fold(3) == fold((3,)) == fold(torch.tensor(3))


@pytest.mark.parametrize("key", ["a", 1.0, (1, 2.0), None, True, [1, 2]])
def test_other_keys_are_refused(key):
    with pytest.raises(TypeError, match="integer or a tuple"):
        fold(key)


def test_neighbours_in_rows_streams_and_keys_are_uncorrelated():
    n = 100_000  # bound: 5 standard errors of a correlation
    ids = torch.arange(n)
    u = uniforms(0, ids, 0)
    others = [
        uniforms(0, ids + 1, 0),
        uniforms(0, ids, 1),
        uniforms(1, ids, 0),
        uniforms((0, 0), ids, 0),
    ]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([u, other]))[0, 1])) < 5 / n**0.5
    assert abs(float(torch.corrcoef(torch.stack([u, u]))[0, 1])) > 0.9  # it can fail


def test_uniforms_have_the_moments_of_the_uniform():
    u = uniforms(7, torch.arange(200_000), 3)
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    assert float(u.mean()) == pytest.approx(0.5, abs=5 * 12**-0.5 / 200_000**0.5)
    assert float(u.var()) == pytest.approx(1 / 12, rel=0.01)


def test_normals_have_the_moments_of_the_normal():
    z = normals(7, torch.arange(200_000), torch.tensor(0))
    assert float(z.mean()) == pytest.approx(0, abs=0.012)
    assert float(z.var()) == pytest.approx(1, rel=0.02)
    assert float((z**4).mean()) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("shape", [0.3, 1.0, 2.5])
def test_gammas_have_the_moments_of_the_gamma(shape):
    drawn = gammas(1, torch.arange(50_000), torch.tensor(0), shape)
    assert float(drawn.mean()) == pytest.approx(shape, abs=5 * (shape / 50_000) ** 0.5)
    assert float(drawn.var()) == pytest.approx(shape, rel=0.06)


def test_a_fresh_key_is_new_each_time_and_moves_no_generator():
    before = torch.get_rng_state()
    first, second = fresh_key(), fresh_key()
    assert first != second
    assert first[0] == torch.initial_seed()
    assert torch.equal(before, torch.get_rng_state())

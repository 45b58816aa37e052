import math
from itertools import pairwise

import pytest
import torch
from deeppcr.blocks import ScaledRows
from deeppcr.jacobian import structured
from deeppcr.newton import Newton, newton
from deeppcr.problem import make_problem
from deeppcr_chains import looped, tanh_chain, tanh_step
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("either")

EXACT = Newton(max_iter=200, atol=1e-13, rtol=0)


def random_guess(problem, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(problem.length, *problem.z0.shape, generator=g, dtype=problem.z0.dtype)


@given(
    length=st.integers(1, 40),
    d=st.integers(1, 5),
    batch=st.sampled_from([(), (3,), (2, 2)]),
    seed=st.integers(0, 2**31),
)
def test_an_affine_chain_takes_one_iteration_from_any_guess(length, d, batch, seed):  # P11
    z0, xs, w = tanh_chain(length, d, gain=0.8, batch=batch, seed=seed)

    def step(z, x, w):
        return z @ w.mT + x

    problem = make_problem(step, z0, xs, w)
    solution = newton(problem, random_guess(problem, seed), Newton())
    assert solution.reason == ("exact" if length == 1 else "residual")
    assert solution.iterations == 1
    torch.testing.assert_close(solution.states, looped(step, z0, xs, w), rtol=0, atol=1e-12)


@given(
    iterations=st.integers(0, 9),
    structure=st.sampled_from(["auto", "diag", "scalar", "identity", "zero"]),
    anderson=st.sampled_from([0, 3]),
    seed=st.integers(0, 2**31),
)
def test_k_iterations_make_k_states_exact_for_any_jacobian(
    iterations, structure, anderson, seed
):  # P12
    z0, xs, w = tanh_chain(24, 3, batch=(2,), seed=seed)
    problem = make_problem(tanh_step, z0, xs, w)
    settings = Newton(max_iter=iterations, atol=0, rtol=0, anderson=anderson)
    states = newton(problem, random_guess(problem, seed), settings, structure=structure).states
    wanted = looped(tanh_step, z0, xs, w)
    torch.testing.assert_close(states[:iterations], wanted[:iterations], rtol=0, atol=1e-11)


def test_three_iterations_make_three_states_exact_and_not_ten():  # check 8
    z0, xs, w = tanh_chain(200, 4)
    problem = make_problem(tanh_step, z0, xs, w)
    states = newton(problem, 3 * random_guess(problem, 1), Newton(max_iter=3)).states
    error = (states - looped(tanh_step, z0, xs, w)).abs().amax(-1)
    assert error[:3].max() < 1e-12
    assert error[10:].max() > 1e-6


@pytest.mark.parametrize("structure", ["auto", "diag", "scalar", "identity", "zero"])
@pytest.mark.parametrize("anderson", [0, 3])
def test_no_chain_takes_more_iterations_than_it_has_steps(structure, anderson):  # P12
    z0, xs, w = tanh_chain(12, 3, batch=(2,))
    problem = make_problem(tanh_step, z0, xs, w)
    settings = Newton(max_iter=12, atol=1e-10, anderson=anderson)
    solution = newton(problem, random_guess(problem, 5), settings, structure=structure)
    assert solution.converged
    torch.testing.assert_close(solution.states, looped(tanh_step, z0, xs, w), rtol=0, atol=1e-9)


def test_the_true_trajectory_takes_no_iteration_and_stays():  # P13
    z0, xs, w = tanh_chain(60, 4, batch=(3,))
    wanted = looped(tanh_step, z0, xs, w)
    solution = newton(make_problem(tanh_step, z0, xs, w), wanted, Newton())
    assert (solution.reason, solution.iterations) == ("residual", 0)
    torch.testing.assert_close(solution.states, wanted, rtol=0, atol=1e-14)


def test_the_residual_falls_quadratically_near_the_solution():  # P14
    z0, xs, w = tanh_chain(100, 4, gain=0.7)
    problem = make_problem(tanh_step, z0, xs, w)
    start = looped(tanh_step, z0, xs, w) + 1e-2
    r = newton(problem, start, Newton(atol=1e-13, rtol=0)).residuals
    assert len(r) >= 3
    for before, after in pairwise(r):
        assert after <= 5 * before**2 + 1e-15
    slow = newton(
        problem, start, Newton(atol=1e-13, rtol=0, max_iter=4), structure="zero"
    ).residuals
    assert slow[2] > 5 * slow[1] ** 2  # Jacobi's does not


def test_picard_is_the_running_sum_of_the_residuals_and_jacobi_the_steps_themselves():  # P19
    z0, xs, w = tanh_chain(20, 3)
    problem = make_problem(tanh_step, z0, xs, w)
    guess = random_guess(problem, 2)
    once = Newton(max_iter=1, atol=0, rtol=0)
    prev = torch.cat([z0[None], guess[:-1]])
    applied = torch.stack([tanh_step(p, x, w) for p, x in zip(prev, xs, strict=True)])
    picard = newton(problem, guess, once, structure="identity").states
    torch.testing.assert_close(picard, z0 + (applied - prev).cumsum(0))
    jacobi = newton(problem, guess, once, structure="zero").states
    torch.testing.assert_close(jacobi, applied)


def test_the_first_block_never_enters():
    z0, xs, w = tanh_chain(15, 3)

    class Poisoned:
        def __call__(self, z, x, w):
            return tanh_step(z, x, w)

        def linearize(self, before, after, xs, w):
            blocks = (1 - after**2).unsqueeze(-1) * w
            return torch.cat([torch.full_like(blocks[:1], 1e9), blocks[1:]]), None

    problem = make_problem(Poisoned(), z0, xs, w)
    states = newton(problem, torch.zeros_like(xs), EXACT).states
    torch.testing.assert_close(states, looped(tanh_step, z0, xs, w), rtol=0, atol=1e-12)


def test_damping_scales_each_correction():
    z0, xs, w = tanh_chain(20, 3)
    problem = make_problem(tanh_step, z0, xs, w)
    guess = random_guess(problem, 2)
    full = newton(problem, guess, Newton(max_iter=1)).states - guess
    half = newton(problem, guess, Newton(max_iter=1, damping=0.5)).states - guess
    torch.testing.assert_close(half, full / 2)
    damped = newton(problem, guess, Newton(max_iter=100, damping=0.5))
    assert damped.converged
    assert damped.iterations > newton(problem, guess, Newton()).iterations


@pytest.mark.parametrize("gain", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("window", [1, 3, 16])
def test_windows_end_at_the_same_states(window, gain):
    z0, xs, w = tanh_chain(70, 3, gain=gain, batch=(2,))
    problem = make_problem(tanh_step, z0, xs, w)
    solution = newton(problem, random_guess(problem, 2), Newton(window=window))
    assert solution.converged
    assert solution.exact_prefix == 70
    torch.testing.assert_close(solution.states, looped(tanh_step, z0, xs, w), rtol=0, atol=1e-7)


def test_windows_solve_a_chain_where_all_steps_at_once_overflow():
    z0, xs, w = tanh_chain(400, 8, gain=1.5, dtype=torch.float32)
    problem = make_problem(tanh_step, z0, xs, w)
    guess = problem.at_once(torch.zeros_like(xs))
    assert not newton(problem, guess, Newton()).converged
    windows = newton(problem, guess, Newton(window=8))
    assert windows.converged
    rest = windows.states - problem.at_once(problem.previous(windows.states))
    assert rest.abs().max() < 1e-4


def test_andersons_mixing_saves_picards_iterations():
    g = torch.Generator().manual_seed(0)
    xs = torch.randn(60, 4, generator=g, dtype=torch.float64)

    def step(z, x, params):
        return z - 0.05 * torch.sin(z + x)

    problem = make_problem(step, torch.zeros(4, dtype=torch.float64), xs)
    guess = torch.zeros(60, 4, dtype=torch.float64)
    plain = newton(problem, guess, Newton(max_iter=60), structure="identity")
    mixed = newton(problem, guess, Newton(max_iter=60, anderson=4), structure="identity")
    assert plain.converged
    assert mixed.converged
    assert mixed.iterations < plain.iterations
    torch.testing.assert_close(mixed.states, looped(step, problem.z0, xs), rtol=0, atol=1e-8)


def test_each_sample_stops_when_it_is_done():
    z0, xs, w = tanh_chain(80, 4, batch=(2,))
    guess = torch.zeros_like(xs)
    guess[:, 0] = looped(tanh_step, z0, xs, w)[:, 0]
    problem = make_problem(tanh_step, z0, xs, w)
    solution = newton(problem, guess, Newton())
    assert solution.sample_iterations.tolist()[0] == 0
    assert solution.sample_iterations.tolist()[1] == solution.iterations > 1
    torch.testing.assert_close(solution.states[:, 0], guess[:, 0], rtol=0, atol=1e-13)


def test_a_sample_that_is_done_is_not_touched_by_the_others():
    g = torch.Generator().manual_seed(0)
    xs = torch.randn(200, 2, 3, generator=g, dtype=torch.float64)

    def step(z, x, params):
        return torch.sin(0.9 * z + x)

    z0 = torch.zeros(2, 3, dtype=torch.float64)
    guess = torch.zeros_like(xs)
    guess[:, 0] = looped(step, z0, xs)[:, 0] + 1e-12
    both = newton(make_problem(step, z0, xs), guess, Newton())
    alone = newton(make_problem(step, z0[:1], xs[:, :1]), guess[:, :1], Newton())
    assert both.iterations > alone.iterations == 0
    assert torch.equal(both.states[:, :1], alone.states)


def test_a_nan_is_reported_and_never_replaced():
    z0, xs, w = tanh_chain(30, 3, batch=(2,))
    xs[17, 1, 0] = math.nan
    problem = make_problem(tanh_step, z0, xs, w)
    for window in (None, 4):
        solution = newton(problem, torch.zeros_like(xs), Newton(window=window))
        assert solution.reason == "nonfinite"
        assert not solution.converged
        assert solution.exact_prefix <= 17
        assert len(solution.step_norms) < len(solution.residuals)  # nothing is solved with a NaN
    assert math.isnan(newton(problem, torch.zeros_like(xs), Newton()).residuals[-1])


def test_a_convergence_on_the_last_iteration_counts():
    z0, xs, w = tanh_chain(50, 3)
    problem = make_problem(tanh_step, z0, xs, w)
    needed = newton(problem, torch.zeros_like(xs), Newton()).iterations
    assert newton(problem, torch.zeros_like(xs), Newton(max_iter=needed)).reason == "residual"
    assert newton(problem, torch.zeros_like(xs), Newton(max_iter=needed - 1)).reason == "max_iter"


def test_the_last_step_is_the_error_where_the_residual_alone_misleads():
    z0, xs, _ = tanh_chain(1000, 1)
    keep = torch.tensor([[0.999]], dtype=torch.float64)

    def step(z, x, w):
        return z @ w + 1e-4 * torch.sin(z) + x

    problem = make_problem(step, z0, xs, keep)
    wanted = looped(step, z0, xs, keep)
    tolerance = Newton(atol=1e-6, rtol=0)
    drift = torch.linspace(0, 5e-4, 1000, dtype=torch.float64)[:, None]
    solution = newton(problem, wanted + drift, tolerance)
    assert solution.residuals[0] < 1e-6 < solution.step_norms[0]
    assert solution.iterations == 1
    assert (solution.states - wanted).abs().max() < 1e-6


def test_a_small_step_does_not_stand_for_a_small_residual():
    xs = torch.linspace(-1, 1, 2, dtype=torch.float64)[:, None]
    z0 = torch.zeros(1, dtype=torch.float64)
    rate = torch.tensor([[-9.0]], dtype=torch.float64)

    def step(z, x, w):
        return z @ w + x

    problem = make_problem(step, z0, xs, rate)
    wanted = looped(step, z0, xs, rate)
    guess = wanted.clone()
    guess[0] -= 5e-7  # the second residual is nine times that, and the second step is zero
    solution = newton(problem, guess, Newton(atol=1e-6, rtol=0))
    assert solution.step_norms[0] < 1e-6 < solution.residuals[0]
    assert solution.iterations == 1


def test_a_budget_ends_an_iteration_that_grows_or_crawls():
    z0, xs, w = tanh_chain(200, 6, gain=1.2)
    problem = make_problem(tanh_step, z0, xs, w)
    guess = problem.at_once(torch.zeros_like(xs))
    assert newton(problem, guess, Newton(), budget=5).reason == "diverged"
    z0, xs, w = tanh_chain(200, 6, gain=0.95)
    problem = make_problem(tanh_step, z0, xs, w)
    crawl = newton(problem, guess, Newton(max_iter=200), structure="zero", budget=5)
    assert (crawl.reason, crawl.iterations) == ("budget", 5)
    assert newton(problem, guess, Newton(), budget=3).reason == "residual"  # fast ones go on


def test_steps_at_rounding_above_the_tolerance_are_called_stalled():
    z0, xs, w = tanh_chain(50, 3, dtype=torch.float32)
    problem = make_problem(tanh_step, z0, xs, w)
    solution = newton(problem, torch.zeros_like(xs), Newton(atol=0, rtol=0))
    assert solution.reason in ("stalled", "residual", "max_iter")
    assert (solution.states - looped(tanh_step, z0, xs, w)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"max_iter": -1}, "max_iter must be >= 0, got -1"),
        ({"damping": 0.0}, r"damping must be in \(0, 1\], got 0.0"),
        ({"window": 0}, "window must be >= 1 or None, got 0"),
        ({"anderson": -2}, "anderson must be >= 0, got -2"),
        ({"rtol": math.nan}, "rtol must be >= 0 or None, got nan"),
    ],
)
def test_says_which_setting_does_not_do(settings, text):
    with pytest.raises(ValueError, match=text):
        Newton(**settings)


def test_a_structure_keeps_its_part_of_the_blocks():
    blocks = torch.arange(18.0).view(2, 3, 3)
    states = torch.zeros(2, 3)
    assert structured(blocks, states, "dense") is blocks
    assert structured(blocks, states, "diag").tolist() == [[0, 4, 8], [9, 13, 17]]
    assert structured(blocks, states, "scalar").tolist() == [[4], [13]]
    diagonal = blocks.diagonal(dim1=-2, dim2=-1)
    assert structured(diagonal, states, "scalar").tolist() == [[4], [13]]
    rows = ScaledRows(torch.tensor([[1.0, 2, 3], [4, 5, 6]]), blocks)
    assert structured(rows, states, "diag").tolist() == [[0, 8, 24], [36, 65, 102]]

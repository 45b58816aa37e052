import math
import warnings

import deeppcr as dp
import pytest
import torch
from deeppcr import choice
from deeppcr.choice import BUDGET
from deeppcr.problem import make_problem
from deeppcr_chains import dense_layer, looped, orthogonal, tanh_chain, tanh_step
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("either")

TIGHT = dp.Newton(max_iter=60, atol=1e-13, rtol=0)


def relative(got, want):
    return float((got - want).abs().max() / want.abs().max())


@given(
    length=st.integers(1, 60),
    d=st.integers(1, 4),
    batch=st.sampled_from([(), (1,), (3,), (2, 2)]),
    guess=st.sampled_from(["step0", "zeros", "hold"]),
    seed=st.integers(0, 2**31),
)
def test_newton_gives_the_states_of_the_loop(length, d, batch, guess, seed):
    z0, xs, w = tanh_chain(length, d, batch=batch, seed=seed)
    run = dp.parallel_forward(
        tanh_step, z0, xs, w, method="newton", guess=guess, on_failure="raise"
    )
    torch.testing.assert_close(run.states, looped(tanh_step, z0, xs, w), rtol=0, atol=1e-9)
    assert run.final.equal(run.states[-1])
    assert run.report.converged
    assert not run.report.fell_back
    assert run.report.exact_prefix == length


@pytest.mark.parametrize("method", ["newton", "sequential", "auto"])
@pytest.mark.parametrize("length", [30, 1500])
def test_gradients_are_those_of_autograd_through_the_loop(method, length):  # P15
    z0, xs, w = tanh_chain(length, 4, batch=(2,))
    cotangent = torch.randn(length, 2, 4, generator=torch.Generator().manual_seed(1)).double()

    def gradients(states_of):
        leaves = [t.clone().requires_grad_() for t in (z0, xs, w)]
        return torch.autograd.grad((states_of(*leaves) * cotangent).sum(), leaves)

    def ours(z0, xs, w):
        return dp.parallel_forward(
            tanh_step, z0, xs, w, method=method, solver=TIGHT, backward="implicit"
        ).states

    for got, want in zip(
        gradients(ours), gradients(lambda *leaves: looped(tanh_step, *leaves)), strict=True
    ):
        assert relative(got, want) < 1e-9


def test_a_thousand_layers_have_the_gradients_of_the_loop():  # check 4
    g = torch.Generator().manual_seed(0)
    weight = torch.stack([0.9 * orthogonal(4, g) for _ in range(1024)])
    bias = 0.1 * torch.randn(1024, 4, generator=g, dtype=torch.float64)
    x = torch.randn(3, 4, generator=g, dtype=torch.float64)

    def gradients(final_of):
        leaves = [t.clone().requires_grad_() for t in (weight, bias, x)]
        return torch.autograd.grad(final_of(*leaves).sin().sum(), leaves)

    reports = []

    def ours(weight, bias, x):
        run = dp.parallel_forward(
            dense_layer, x, None, (weight, bias), per_layer_params=True, method="newton",
            solver=dp.Newton(atol=1e-12, rtol=0),
        )  # fmt: skip
        reports.append(run.report)
        return run.final

    def loop(weight, bias, x):
        return looped(dense_layer, x, None, (weight, bias), length=1024, per_layer_params=True)[-1]

    for got, want in zip(gradients(ours), gradients(loop), strict=True):
        assert relative(got, want) < 1e-9
    assert reports[0].converged
    assert reports[0].iterations <= 8


def test_the_gradient_of_an_analytic_jacobian_is_the_same():
    z0, xs, w = tanh_chain(40, 3, batch=(2,))

    def jacobian(z, x, w):
        return (1 - tanh_step(z, x, w) ** 2).unsqueeze(-1) * w

    results = []
    for form in (jacobian, "auto"):
        leaves = [t.clone().requires_grad_() for t in (z0, xs, w)]
        run = dp.parallel_forward(tanh_step, *leaves, jacobian=form, method="newton", solver=TIGHT)
        first = torch.autograd.grad(run.states.pow(3).sum(), leaves, create_graph=True)
        results.append((*first, *torch.autograd.grad(sum(t.sin().sum() for t in first), leaves)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_second_derivatives_are_those_of_the_loop():
    z0, xs, w = tanh_chain(6, 2)

    def ours(z0, xs, w):
        return dp.parallel_forward(tanh_step, z0, xs, w, method="newton", solver=TIGHT).states

    leaves = [t.clone().requires_grad_() for t in (z0, xs, w)]
    assert torch.autograd.gradcheck(ours, leaves)
    assert torch.autograd.gradgradcheck(ours, leaves)


def test_a_diagonal_jacobian_is_used_as_one():
    g = torch.Generator().manual_seed(0)
    xs, w = torch.randn(50, 2, 6, generator=g).double(), torch.rand(6, generator=g).double()

    def step(z, x, w):
        return torch.tanh(w * z + x)

    seen = []

    def jacobian(z, x, w):
        seen.append(z.shape)
        return (1 - step(z, x, w) ** 2) * w

    leaves = [xs.clone().requires_grad_(), w.clone().requires_grad_()]
    z0 = torch.zeros(2, 6).double()
    run = dp.parallel_forward(step, z0, *leaves, jacobian=jacobian, method="newton", solver=TIGHT)
    got = torch.autograd.grad(run.states.sin().sum(), leaves)
    want = torch.autograd.grad(looped(step, z0, *leaves).sin().sum(), leaves)
    assert seen
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_complex_states_are_solved():
    g = torch.Generator().manual_seed(0)
    w = 0.8 * torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.complex128))[0]
    xs = 0.1 * torch.randn(40, 3, generator=g, dtype=torch.complex128)

    def step(z, x, w):
        return z @ w.mT + 0.1 * torch.sin(z) + x

    z0 = torch.zeros(3, dtype=torch.complex128)
    run = dp.parallel_forward(step, z0, xs, w, method="newton", on_failure="raise")
    torch.testing.assert_close(run.states, looped(step, z0, xs, w))


def test_states_inputs_and_parameters_may_be_trees():
    g = torch.Generator().manual_seed(0)
    state = {"h": torch.zeros(2, 3).double(), "c": (torch.ones(2, 1).double(),)}
    xs = (torch.randn(30, 2, 3, generator=g).double(), torch.randn(30, 2, 1, generator=g).double())
    params = {"w": torch.rand(3, generator=g).double().requires_grad_()}

    def step(z, x, params):
        h = torch.tanh(params["w"] * z["h"] + x[0] + z["c"][0])
        return {"h": h, "c": (0.5 * z["c"][0] + x[1] + h.mean(-1, keepdim=True),)}

    def loop():
        z, states = state, []
        for row in zip(*xs, strict=True):
            z = step(z, row, params)
            states.append(z)
        return torch.stack([z["h"] for z in states]), torch.stack([z["c"][0] for z in states])

    for method in ("newton", "sequential"):
        run = dp.parallel_forward(step, state, xs, params, method=method, solver=TIGHT)
        h, c = loop()
        torch.testing.assert_close(run.states["h"], h)
        torch.testing.assert_close(run.states["c"][0], c)
        assert run.final["c"][0].shape == (2, 1)
        (got,) = torch.autograd.grad(run.states["h"].sum() + run.states["c"][0].sum(), params["w"])
        (want,) = torch.autograd.grad(h.sum() + c.sum(), params["w"])
        torch.testing.assert_close(got, want)


def test_unequal_lengths_hold_the_last_state():
    z0, xs, w = tanh_chain(25, 3, batch=(4,))
    lengths = torch.tensor([25, 7, 0, 1])
    leaf = w.clone().requires_grad_()
    for method in ("newton", "sequential"):
        run = dp.parallel_forward(
            tanh_step, z0, xs, leaf, lengths=lengths, method=method, solver=TIGHT
        )
        for b, length in enumerate(lengths.tolist()):
            alone = looped(tanh_step, z0[b], xs[:length, b], w) if length else z0[b : b + 1]
            torch.testing.assert_close(run.states[:length, b], alone[:length])
            torch.testing.assert_close(run.final[b], alone[-1])
        (got,) = torch.autograd.grad(run.final.sum(), leaf)
        total = sum(
            looped(tanh_step, z0[b], xs[:n, b], leaf)[-1].sum()
            for b, n in [(0, 25), (1, 7), (3, 1)]
        )
        torch.testing.assert_close(got, torch.autograd.grad(total, leaf)[0])


def test_unequal_lengths_work_with_an_analytic_jacobian():
    z0, xs, w = tanh_chain(25, 3, batch=(2,))

    def jacobian(z, x, w):
        return (1 - tanh_step(z, x, w) ** 2).unsqueeze(-1) * w

    both = [
        dp.parallel_forward(
            tanh_step, z0, xs, w, lengths=torch.tensor([25, 7]), jacobian=j, method="newton",
            on_failure="raise",
        )
        for j in ("auto", jacobian)
    ]  # fmt: skip
    torch.testing.assert_close(both[0].states, both[1].states)


def test_unequal_lengths_work_with_a_step_that_knows_its_derivative():
    z0, xs, w = tanh_chain(25, 3, batch=(2,))
    lengths, results = torch.tensor([25, 7]), []
    for step, options in ((dp.DenseStep(), {"vectorized": True}), (tanh_step, {})):
        leaf = w.clone().requires_grad_()
        run = dp.parallel_forward(
            step, z0, xs, leaf, lengths=lengths, method="newton", solver=TIGHT, **options
        )
        results.append((run.states, torch.autograd.grad(run.states.sin().sum(), leaf)[0]))
        assert run.report.iterations <= 5
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("gain", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("length", [1024, 4096])
def test_unstable_chains_fall_back_to_the_bits_of_the_loop(gain, length):  # check 7
    z0, xs, w = tanh_chain(length, 8, gain=gain, dtype=torch.float32)
    run = dp.parallel_forward(tanh_step, z0, xs, w)
    assert torch.equal(run.states, looped(tanh_step, z0, xs, w))
    assert run.report.fell_back
    assert run.report.method == "sequential"
    assert run.report.reason in ("nonfinite", "diverged", "budget", "sequential")
    with pytest.raises(dp.ConvergenceError) as error:
        dp.parallel_forward(tanh_step, z0, xs, w, method="newton", on_failure="raise")
    assert math.isfinite(error.value.report.residuals[0])
    assert not error.value.report.converged


def test_auto_gives_up_within_its_budget(monkeypatch):
    monkeypatch.setattr(choice, "MARGIN", 100)  # it tries Newton at any price
    z0, xs, w = tanh_chain(1024, 4, gain=1.1)
    step = dp.DenseStep()
    run = dp.parallel_forward(step, z0, xs, w)
    assert run.report.fell_back
    assert run.report.reason in ("diverged", "budget")
    assert 1 <= run.report.iterations <= BUDGET
    assert torch.equal(run.states, looped(step, z0, xs, w))
    assert dp.parallel_forward(step, z0, xs, w, method="newton").report.iterations > BUDGET


def test_the_loop_is_bitwise_the_plain_loop():  # P20
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        z0, xs, w = (t.to(dtype) for t in tanh_chain(20, 3, batch=(2,)))
        run = dp.parallel_forward(tanh_step, z0, xs, w, method="sequential")
        assert torch.equal(run.states, looped(tanh_step, z0, xs, w))
        assert (run.report.reason, run.report.fell_back) == ("sequential", True)


def test_a_failure_can_warn_and_keep_the_last_iterate():
    z0, xs, w = tanh_chain(300, 4)
    once = dp.Newton(max_iter=1)
    with pytest.warns(dp.ConvergenceWarning, match="after max_iter iterations"):
        run = dp.parallel_forward(
            tanh_step, z0, xs, w, method="newton", solver=once, on_failure="warn"
        )
    assert (run.report.fell_back, run.report.converged) == (False, False)
    back = dp.parallel_forward(tanh_step, z0, xs, w, method="newton", solver=once)
    assert (back.report.reason, back.report.fell_back) == ("max_iter", True)
    assert torch.equal(back.states, looped(tanh_step, z0, xs, w))


def test_the_same_input_gives_the_same_bytes():  # P20
    z0, xs, w = tanh_chain(2048, 2, dtype=torch.float32)
    runs = [dp.parallel_forward(tanh_step, z0, xs, w) for _ in range(3)]
    assert runs[0].report == runs[1].report == runs[2].report
    assert torch.equal(runs[0].states, runs[1].states)
    assert torch.equal(runs[0].states, runs[2].states)


def test_a_nan_comes_out_where_it_went_in():
    z0, xs, w = tanh_chain(40, 2, batch=(2,))
    xs[20, 1] = math.nan
    for method in ("newton", "auto", "sequential"):
        run = dp.parallel_forward(tanh_step, z0, xs, w, method=method)
        assert run.states[20:, 1].isnan().all()
        assert not run.states[:, 0].isnan().any()
        assert run.report.fell_back


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):  # check 11
    z0, xs, w = (t.to(dtype) for t in tanh_chain(300, 4, batch=(2,)))
    leaf = w.clone().requires_grad_()
    run = dp.parallel_forward(tanh_step, z0, xs, leaf, method="newton", on_failure="raise")
    exact = looped(tanh_step, z0.double(), xs.double(), w.double())
    loop = looped(tanh_step, z0, xs, w)
    assert run.states.dtype == dtype
    assert (run.states - exact).abs().max() <= 1.5 * (loop - exact).abs().max()
    run.states.sum().backward()
    assert leaf.grad.dtype == dtype


def test_permuting_the_batch_permutes_the_states():  # P16
    z0, xs, w = tanh_chain(50, 3, batch=(4,))
    order = torch.tensor([2, 0, 3, 1])

    def states(z0, xs):
        return dp.parallel_forward(tanh_step, z0, xs, w, method="newton").states

    torch.testing.assert_close(states(z0[order], xs[:, order]), states(z0, xs)[:, order])
    torch.testing.assert_close(states(z0[0], xs[:, 0]), states(z0, xs)[:, 0])


def test_a_guess_may_be_states_or_a_function():
    z0, xs, w = tanh_chain(30, 3)
    first = dp.parallel_forward(tanh_step, z0, xs, w, method="newton")
    again = dp.parallel_forward(tanh_step, z0, xs, w, method="newton", guess=first.states)
    assert again.report.iterations == 0
    made = dp.parallel_forward(
        tanh_step, z0, xs, w, method="newton", guess=lambda z0, xs, w: first.states
    )
    assert made.report.iterations == 0


def test_the_backward_after_the_loop_is_the_cheaper_one():
    for length, width, batch, implicit in ((2000, 2, 1, True), (40, 64, 64, False)):
        z0, xs, w = tanh_chain(length, width, batch=(batch,), dtype=torch.float32)
        leaf = w.clone().requires_grad_()
        with dp.explain() as log:
            run = dp.parallel_forward(tanh_step, z0, xs, leaf, method="sequential")
        assert (run.states.grad_fn.name() == "_SolvedBackward") == implicit
        assert log.decisions[-1].method == ("implicit" if implicit else "autograd")
        (got,) = torch.autograd.grad(run.final.sum(), leaf)
        (want,) = torch.autograd.grad(looped(tanh_step, z0, xs, leaf)[-1].sum(), leaf)
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_blocks_that_are_not_written_cost_less(either):
    class Written(dp.DenseStep):
        block_type = None

    work = choice.Work(3, 64, 24)
    for width, less in ((8, either == "kernel"), (65, False)):
        z0, xs, w = tanh_chain(1000, width, dtype=torch.float32)
        costs = [
            choice.newton_iteration(make_problem(step, z0, xs, w), work, "auto")
            for step in (dp.DenseStep(), Written())
        ]
        assert (costs[0] < costs[1]) == less


def test_blocks_that_would_not_fit_are_never_formed(monkeypatch):
    z0, xs, w = tanh_chain(2000, 4, dtype=torch.float32)
    problem = make_problem(dp.DenseStep(), z0, xs, w)
    assert choice.choose(problem, "auto").method == "newton"
    assert choice.choose_backward(problem) == "implicit"
    monkeypatch.setattr(choice, "MEMORY", 4 * 2000 * 4 * 4 - 1)  # bytes, one too few
    assert choice.choose(problem, "auto").method == "sequential"
    assert choice.choose_backward(problem) == "autograd"


def test_a_wide_chain_is_left_to_the_loop():
    z0, xs, w = tanh_chain(1200, 16, batch=(8,), dtype=torch.float32)
    with torch.no_grad(), dp.explain() as log:
        report = dp.parallel_forward(tanh_step, z0, xs, w).report
    assert (report.reason, report.fell_back) == ("sequential", True)
    predicted = log.decisions[0].predicted
    assert predicted["newton"] > predicted["sequential"]


def test_a_chain_without_steps_has_no_states():
    z0, xs, w = tanh_chain(1, 3)
    for method in ("auto", "newton"):
        run = dp.parallel_forward(tanh_step, z0, xs[:0], w, method=method)
        assert run.states.shape == (0, 3)
        assert torch.equal(run.final, z0)


def test_autograd_through_the_loop_is_an_option():
    z0, xs, w = tanh_chain(10, 3)
    leaf = w.clone().requires_grad_()
    run = dp.parallel_forward(tanh_step, z0, xs, leaf, backward="autograd")
    want = torch.autograd.grad(looped(tanh_step, z0, xs, leaf).sum(), leaf)[0]
    assert torch.equal(torch.autograd.grad(run.states.sum(), leaf)[0], want)
    with pytest.raises(ValueError, match='use method="auto"'):
        dp.parallel_forward(tanh_step, z0, xs, leaf, backward="autograd", method="newton")


def branching(z, x, params):
    return z * 2 if z.sum() > 0 else z + x


def drawing(z, x, params):
    return z + torch.rand_like(z)


@pytest.mark.parametrize("step", [branching, drawing])
def test_a_step_that_cannot_be_batched_names_the_remedy_and_auto_runs_the_loop(step):
    z0, xs = torch.zeros(2), 0.0 * torch.ones(3000, 2)
    with torch.no_grad():
        with pytest.raises(dp.StepError, match="vectorized=True"):
            dp.parallel_forward(step, z0, xs, method="newton")
        run = dp.parallel_forward(step, z0, xs)
    assert run.report.fell_back


def test_hidden_parameters_are_refused():
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(dp.StepError, match="params"):
        dp.parallel_forward(lambda z, x, p: w * z + x, torch.zeros(2), torch.ones(5, 2))


def test_check_finds_noise_and_mixed_samples():
    xs = torch.zeros(5, 3, 2)
    with pytest.raises(dp.StepError, match="differ: draw its noise"):
        dp.parallel_forward(drawing, torch.ones(3, 2), xs, check=True)

    def mixing(z, x, params):
        return z - z.mean(0) + x

    with pytest.raises(dp.StepError, match="mixes the samples"):
        dp.parallel_forward(mixing, torch.ones(3, 2), xs, check=True)
    z0, xs, w = tanh_chain(5, 2, batch=(3,))
    dp.parallel_forward(tanh_step, z0, xs, w, check=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "fast"}, "method must be one of auto, newton, sequential, got 'fast'"),
        ({"on_failure": "ignore"}, "on_failure must be one of"),
        ({"backward": "none"}, "backward must be one of"),
        ({"jacobian": "sparse"}, "jacobian must be callable or one of"),
        ({"guess": "random", "method": "newton"}, "guess must be"),
        ({"guess": torch.zeros(3, 3), "method": "newton"}, r"trajectory \(10, 3\), got \(3, 3\)"),
        ({"lengths": torch.zeros(2)}, "lengths must be integers"),
        (
            {"jacobian": lambda *a: torch.zeros(2), "method": "newton"},
            r"jacobian must give \(\*B, 3, 3\) or \(\*B, 3\), got \(2,\)",
        ),
    ],
)
def test_says_which_argument_does_not_do(options, text):
    z0, xs, w = tanh_chain(10, 3)
    with pytest.raises(ValueError, match=text):
        dp.parallel_forward(tanh_step, z0, xs, w, **options)


def test_a_step_must_keep_the_form_of_the_state():
    for method in ("newton", "sequential"):
        with pytest.raises(dp.StepError, match="step must return a state"):
            dp.parallel_forward(
                lambda z, x, p: z[..., :2], torch.zeros(3), torch.zeros(4, 3), method=method
            )


def test_a_report_reads_as_a_line_and_as_columns():
    z0, xs, w = tanh_chain(40, 3, batch=(2,))
    report = dp.parallel_forward(tanh_step, z0, xs, w, method="newton").report
    assert str(report).startswith(
        f"newton: residual and last step within the tolerance after {report.iterations}"
    )
    table = report.to_table()
    assert [len(column) for column in table.values()] == [len(report.residuals)] * 3
    assert report.to_dict()["sample_iterations"] == list(report.sample_iterations)
    assert len(report.sample_iterations) == 2
    chosen = dp.parallel_forward(tanh_step, z0, xs, w).report
    assert "the loop was chosen" in str(chosen)
    assert "ms" in chosen.explanation


def test_nothing_warns_by_default():
    z0, xs, w = tanh_chain(3000, 2, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dp.parallel_forward(tanh_step, z0, xs, w).report.method == "newton"

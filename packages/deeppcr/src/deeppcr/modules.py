"""RNN, GRU and LSTM with torch's weights, their states solved together."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeppcr.cells import GruStep, LstmStep
from deeppcr.newton import Newton
from deeppcr.recurrence import parallel_forward
from deeppcr.report import Report
from deeppcr.steps import DenseStep


class Recurrent(nn.Module):
    """What RNN, GRU and LSTM share: torch's parameters, layer after layer.

    Args:
        input_size: features of an input.
        hidden_size: features of a hidden state.
        num_layers: recurrent layers, each on the outputs of the one before.
        bias: whether there are biases.
        batch_first: inputs and outputs are ``(B, L, features)`` instead of ``(L, B, features)``.
        method: as in ``parallel_forward``.
        solver: as in ``parallel_forward``.
        generator: source of the initial weights; None for torch's default one, as in ``torch.nn``.
        device: where the weights are.
        dtype: type of the weights.

    Attributes:
        last_reports: the reports of the last forward, one a layer.
    """

    torch_class: ClassVar[type[nn.RNNBase]]
    gates: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        method: str = "auto",
        solver: Newton | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first = bias, batch_first
        self.method, self.solver = method, solver
        self.last_reports: tuple[Report, ...] = ()
        bound = 1 / math.sqrt(hidden_size)
        gates = self.gates * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size
            shapes = {"weight_ih": (gates, width), "weight_hh": (gates, hidden_size)}
            if bias:
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
            for name, shape in shapes.items():
                value = torch.empty(shape, device=device, dtype=dtype)
                value.uniform_(-bound, bound, generator=generator)
                self.register_parameter(f"{name}_l{layer}", nn.Parameter(value))

    def cell(self) -> Any:
        """The step of this kind of layer."""
        raise NotImplementedError

    @property
    def last_report(self) -> Report | None:
        """The report of the last layer in the last forward, None before the first."""
        return self.last_reports[-1] if self.last_reports else None

    @classmethod
    def from_torch(cls, module: nn.RNNBase, **options: Any) -> Any:
        """This kind of module with a copy of the weights of its namesake in ``torch.nn``.

        Args:
            module: a ``torch.nn`` RNN, GRU or LSTM: one direction, no dropout, no projection.
            **options: ``method`` and ``solver`` of the new module.

        Raises:
            TypeError: for a module of another kind.
            ValueError: for dropout, two directions or projections.
        """
        if not isinstance(module, cls.torch_class):
            want = f"torch.nn.{cls.torch_class.__name__}"
            raise TypeError(f"module must be a {want}, got {type(module).__name__}")
        unfit = {"dropout": 0.0, "bidirectional": False, "proj_size": 0}
        for name, usual in unfit.items():
            if getattr(module, name) != usual:
                raise ValueError(f"{name} must be {usual}, got {getattr(module, name)}")
        if getattr(module, "nonlinearity", None) == "relu":
            options["nonlinearity"] = "relu"
        weight = next(module.parameters())
        made = cls(
            module.input_size,
            module.hidden_size,
            module.num_layers,
            bias=module.bias,
            batch_first=module.batch_first,
            device=weight.device,
            dtype=weight.dtype,
            generator=torch.Generator(weight.device),
            **options,
        )
        made.load_state_dict(module.state_dict())
        return made.train(module.training)

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Outputs of the last layer and the final states of all, as ``torch.nn`` returns them.

        Args:
            input: ``(L, B, input_size)``, ``(B, L, input_size)`` with ``batch_first``, or
                ``(L, input_size)``.
            hx: initial hidden states ``(num_layers, B, hidden_size)``, of an LSTM a pair of such;
                zeros if None.

        Returns:
            Outputs with ``hidden_size`` features, and the final states in the shape of ``hx``.

        Raises:
            ValueError: where the input or the initial states have another shape.
        """
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            want = f"(L, B, {self.input_size}) or (L, {self.input_size})"
            raise ValueError(f"input must be {want}, got {tuple(input.shape)}")
        swap = self.batch_first and input.ndim == 3
        out = input.transpose(0, 1) if swap else input
        starts = self.initial(hx, out)
        finals: list[Tensor] = []
        reports: list[Report] = []
        for layer in range(self.num_layers):
            out, final, report = self.run_layer(layer, out, starts[layer])
            finals.append(final)
            reports.append(report)
        self.last_reports = tuple(reports)
        return out.transpose(0, 1) if swap else out, self.finals(torch.stack(finals))

    def run_layer(self, layer: int, out: Tensor, z0: Tensor) -> tuple[Tensor, Tensor, Report]:
        """Hidden states ``(L, *B, h)`` of one layer, its final state, its report."""
        names = ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
        held: list[Any] = [getattr(self, f"{name}_l{layer}", None) for name in names]
        w_ih, b_ih, w_hh, b_hh = held
        run = parallel_forward(
            self.cell(),
            z0,
            F.linear(out, w_ih, b_ih),
            self.weights(w_hh, b_hh),
            method=self.method,
            solver=self.solver,
            vectorized=True,
        )
        return run.states[..., : self.hidden_size], run.final, run.report

    def weights(self, weight: Any, bias: Any) -> Any:
        """The step's parameters."""
        return (weight,) if bias is None else (weight, bias)

    def initial(self, hx: Any, out: Tensor) -> Tensor:
        """The state that each layer starts from, ``(num_layers, *B, state)``."""
        shape = (self.num_layers, *out.shape[1:-1], self.hidden_size)
        if hx is None:
            return out.new_zeros(shape)
        if tuple(hx.shape) != shape:
            raise ValueError(f"hx must be {shape}, got {tuple(hx.shape)}")
        return hx

    def finals(self, states: Tensor) -> Any:
        """The final states ``(num_layers, *B, state)`` in the shape of ``hx``."""
        return states

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"


class RNN(Recurrent):
    """``torch.nn.RNN`` whose states are solved together; weights of the same names and shapes.

    Args:
        *args: as in ``Recurrent``.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        **options: as in ``Recurrent``.

    Example:
        >>> peer = torch.nn.RNN(3, 4)
        >>> x = torch.randn(50, 2, 3)
        >>> torch.allclose(RNN.from_torch(peer)(x)[0], peer(x)[0], atol=1e-4)
        True
    """

    torch_class = nn.RNN

    def __init__(self, *args: Any, nonlinearity: str = "tanh", **options: Any) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity = nonlinearity
        super().__init__(*args, **options)

    def cell(self) -> DenseStep:
        """The tanh or relu step."""
        return DenseStep(self.nonlinearity)

    def weights(self, weight: Any, bias: Any) -> Any:
        """The weight alone where there is no bias."""
        return weight if bias is None else (weight, bias)


class GRU(Recurrent):
    """``torch.nn.GRU`` whose states are solved together; weights of the same names and shapes.

    Example:
        >>> peer = torch.nn.GRU(3, 4, num_layers=2, batch_first=True)
        >>> x = torch.randn(2, 50, 3)
        >>> torch.allclose(GRU.from_torch(peer)(x)[0], peer(x)[0], atol=1e-4)
        True
    """

    torch_class = nn.GRU
    gates = 3

    def cell(self) -> GruStep:
        """The GRU's step."""
        return GruStep()


class LSTM(Recurrent):
    """``torch.nn.LSTM`` whose states are solved together; weights of the same names and shapes.

    Example:
        >>> peer = torch.nn.LSTM(3, 4)
        >>> x = torch.randn(50, 2, 3)
        >>> torch.allclose(LSTM.from_torch(peer)(x)[0], peer(x)[0], atol=1e-4)
        True
    """

    torch_class = nn.LSTM
    gates = 4

    def cell(self) -> LstmStep:
        """The LSTM's step."""
        return LstmStep()

    def initial(self, hx: Any, out: Tensor) -> Tensor:
        """Hidden and cell states side by side, ``(num_layers, *B, 2 h)``."""
        if hx is None:
            zeros = super().initial(None, out)
            return torch.cat([zeros, zeros], dim=-1)
        if not isinstance(hx, tuple) or len(hx) != 2:
            raise ValueError(f"hx must be a pair (h_0, c_0), got {type(hx).__name__}")
        return torch.cat([super(LSTM, self).initial(part, out) for part in hx], dim=-1)

    def finals(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The pair ``(h_n, c_n)``."""
        h, c = states.chunk(2, dim=-1)
        return h.contiguous(), c.contiguous()

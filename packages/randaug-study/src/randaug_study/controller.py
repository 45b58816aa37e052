"""The recurrent policy of Adversarial AutoAugment, trained by REINFORCE to raise the loss.

A policy is Q sub-policies of two (operation, magnitude) pairs, chosen one after another by an
LSTM. With the defaults that is 20 choices, of 15 operations and 10 magnitudes in turn: a policy
drawn uniformly has entropy ``10 ln 15 + 10 ln 10 = 50.1`` nats, the most there is. How far a
controller is from random is therefore ``KL(policy || uniform) = H_max - H``.
"""

import base64
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from randaug_study.keys import Key, uniforms

FORMAT, VERSION = "randaug-study controller", 1
_SPOILT = (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)
EPSILON = 1e-5  # added to the standard deviation of the losses


@dataclass(frozen=True)
class ControllerConfig:
    """Shape of a controller, and of what it learns with; the defaults are AdvAA's.

    Attributes:
        ops: operations to choose from.
        bins: magnitudes to choose from.
        subpolicies: Q, sub-policies in a policy.
        length: operations in a sub-policy.
        hidden: width of the LSTM.
        embedding: width of what a choice is fed back as.
        restart: start every sub-policy from a zero state, which makes the Q sub-policies
            independent draws of one distribution; a public re-implementation does so. Default:
            the state carries over.
        lr: learning rate of Adam (our choice where the paper's abstract says nothing).
        entropy_weight: what a nat of entropy is worth, in the objective.
    """

    ops: int = 15
    bins: int = 10
    subpolicies: int = 5
    length: int = 2
    hidden: int = 100
    embedding: int = 32
    restart: bool = False
    lr: float = 3.5e-4
    entropy_weight: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("ops", "bins", "subpolicies", "length", "hidden", "embedding"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")

    @property
    def max_entropy(self) -> float:
        """Entropy of a uniform policy, in nats."""
        return self.subpolicies * self.length * (math.log(self.ops) + math.log(self.bins))


@dataclass(frozen=True)
class Policies:
    """M policies: numbers of operations and magnitudes, each int64 ``(M, Q, length)``."""

    ops: Tensor
    bins: Tensor

    def __len__(self) -> int:
        return len(self.ops)

    def choices(self) -> Tensor:
        """The choices in the order in which the controller makes them, ``(M, 2 Q length)``."""
        return torch.stack([self.ops, self.bins], dim=-1).flatten(1)

    @classmethod
    def from_choices(cls, choices: Tensor, config: ControllerConfig) -> "Policies":
        """The inverse of `choices`."""
        pairs = choices.view(-1, config.subpolicies, config.length, 2)
        return cls(pairs[..., 0], pairs[..., 1])

    @classmethod
    def uniform(cls, count: int, config: ControllerConfig, key: Key) -> "Policies":
        """``count`` policies with every choice uniform: what a controller is compared to."""
        ids, steps = torch.arange(count), 2 * config.subpolicies * config.length
        sizes = [config.bins if step % 2 else config.ops for step in range(steps)]
        drawn = [(uniforms(key, ids, i) * n).long() for i, n in enumerate(sizes)]
        return cls.from_choices(torch.stack(drawn, dim=1), config)


class Controller(nn.Module):
    """An LSTM cell, embeddings of choices, and a linear head for operations and for magnitudes.

    All weights start uniform in (-.1, .1), all biases at 0, from a generator of its own.

    Args:
        config: sizes and learning rate.
        seed: of the first weights.

    Source:
        Zhang et al. 2020, "Adversarial AutoAugment": the controller and its update.

    Example:
        >>> controller = Controller(ControllerConfig(ops=14), seed=0)
        >>> policies = controller.sample(8, key=(0, 1))
        >>> policies.ops.shape
        torch.Size([8, 5, 2])
    """

    def __init__(self, config: ControllerConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = ControllerConfig() if config is None else config
        with torch.random.fork_rng(devices=[]):  # layers fill themselves from the global generator
            self.cell = nn.LSTMCell(config.embedding, config.hidden)
            self.embed_op = nn.Embedding(config.ops, config.embedding)
            self.embed_bin = nn.Embedding(config.bins, config.embedding)
            self.op_head = nn.Linear(config.hidden, config.ops)
            self.bin_head = nn.Linear(config.hidden, config.bins)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                weight.zero_() if "bias" in name else weight.uniform_(
                    -0.1, 0.1, generator=generator
                )
        self.optimizer = torch.optim.Adam(self.parameters(), lr=config.lr)

    @torch.no_grad()
    def sample(self, count: int, key: Key) -> Policies:
        """``count`` policies; the m-th depends on the weights, the key and m alone.

        Raises:
            ValueError: if ``count`` is below 1.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1 policy, got {count}")
        ids = torch.arange(count)

        def draw(step: int, log_probs: Tensor) -> Tensor:
            """Invert the distribution function at a keyed uniform number."""
            u = uniforms(key, ids, step)[:, None].to(log_probs.device)
            below = log_probs.double().exp().cumsum(1)[:, :-1] <= u
            return below.sum(1)

        choices, _, _ = self._unroll(count, draw)
        return Policies.from_choices(choices, self.config)

    def evaluate(self, policies: Policies) -> tuple[Tensor, Tensor]:
        """Log-probability of each policy, and the entropy of the choices along its path.

        The log-probability is the sum over the choices. The mean of the path entropies over
        policies sampled from the controller estimates its entropy without bias.

        Returns:
            Two tensors ``(M,)``, in nats, with gradients.

        Raises:
            ValueError: if the policies do not have the controller's Q and length.
        """
        want = (len(policies), self.config.subpolicies, self.config.length)
        if policies.ops.shape != want or policies.bins.shape != want:
            raise ValueError(f"policies must be (M, Q, length) = {want}, got {policies.ops.shape}")
        given = policies.choices()
        _, log_probs, entropies = self._unroll(len(policies), lambda step, _: given[:, step])
        return log_probs.sum(1), entropies.sum(1)

    def _unroll(
        self, count: int, choose: Callable[[int, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choices, their log-probabilities and step entropies, each ``(count, steps)``."""
        config = self.config
        like = self.op_head.weight
        state = (like.new_zeros(count, config.hidden), like.new_zeros(count, config.hidden))
        fed = like.new_zeros(count, config.embedding)
        choices: list[Tensor] = []
        log_probs: list[Tensor] = []
        entropies: list[Tensor] = []
        for step in range(2 * config.subpolicies * config.length):
            if config.restart and step % (2 * config.length) == 0:
                state, fed = (state[0] * 0, state[1] * 0), fed * 0
            state = self.cell(fed, state)
            head, embed = (
                (self.bin_head, self.embed_bin) if step % 2 else (self.op_head, self.embed_op)
            )
            step_log_probs = head(state[0]).log_softmax(1)  # (count, ops or bins)
            choice = choose(step, step_log_probs).to(like.device)
            choices.append(choice)
            log_probs.append(step_log_probs.gather(1, choice[:, None])[:, 0])
            entropies.append(-(step_log_probs.exp() * step_log_probs).sum(1))
            fed = embed(choice)
        return torch.stack(choices, 1), torch.stack(log_probs, 1), torch.stack(entropies, 1)

    def update(self, policies: Policies, losses: Tensor) -> Tensor:
        """One step of Adam towards policies with a higher loss; returns the advantages ``(M,)``.

        Args:
            policies: what was trained on.
            losses: mean training loss under each policy, ``(M,)``, in nats.

        Raises:
            ValueError: if there is not one finite loss a policy.
        """
        if losses.shape != (len(policies),) or not bool(losses.isfinite().all()):
            raise ValueError(
                f"losses must be one finite number for each of {len(policies)} policies, "
                f"got {losses.tolist()}"
            )
        scaled = advantages(losses).to(self.op_head.weight)
        log_probs, entropies = self.evaluate(policies)
        objective = reinforce(log_probs, scaled) + self.config.entropy_weight * entropies.mean()
        self.optimizer.zero_grad()
        (-objective).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return scaled

    @torch.no_grad()
    def entropy(self, key: Key, *, samples: int = 256) -> float:
        """Entropy of the policy distribution, in nats, estimated from ``samples`` policies."""
        _, entropies = self.evaluate(self.sample(samples, key))
        return float(entropies.mean())

    def kl_to_uniform(self, key: Key, *, samples: int = 256) -> float:
        """KL divergence from the uniform distribution over policies, in nats."""
        return self.config.max_entropy - self.entropy(key, samples=samples)

    def save(self, path: str | os.PathLike[str], extra: dict[str, Any] | None = None) -> None:
        """Weights and Adam's state as one JSON file, written whole or not at all."""
        moments = {}
        for name, weight in self.named_parameters():
            state = self.optimizer.state.get(weight)
            moments[name] = state and {
                "step": float(state["step"]),
                "exp_avg": _packed(state["exp_avg"]),
                "exp_avg_sq": _packed(state["exp_avg_sq"]),
            }
        content = {
            "format": FORMAT,
            "version": VERSION,
            "config": asdict(self.config),
            "weights": {name: _packed(weight) for name, weight in self.named_parameters()},
            "adam": moments,
            "extra": extra or {},
        }
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(content))
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> tuple["Controller", dict[str, Any]]:
        """The controller of a file, which samples and learns on as the saved one; and ``extra``.

        Raises:
            ValueError: if the file is no checkpoint of a controller, or of another version.
        """
        text = Path(path).read_bytes()
        try:
            content = json.loads(text)
            found = content["format"], content["version"]
            if found != (FORMAT, VERSION):
                raise ValueError(f"it must be {FORMAT!r} version {VERSION}, got {found}")
            config = ControllerConfig(**content["config"])
            choices, width = config.ops + config.bins, config.hidden + config.embedding
            if config.hidden * width + width * choices > len(text):
                raise ValueError(f"its weights are fewer than {config} needs")
            return cls._parse(config, content), dict(content["extra"])
        except _SPOILT as error:
            raise ValueError(f"{path} is not a checkpoint of a controller: {error}") from error

    @classmethod
    def _parse(cls, config: ControllerConfig, content: dict[str, Any]) -> "Controller":
        controller = cls(config)
        with torch.no_grad():
            for name, weight in controller.named_parameters():
                weight.copy_(_unpacked(content["weights"][name], weight))
                moments = content["adam"][name]
                if moments:
                    controller.optimizer.state[weight] = {
                        "step": torch.tensor(moments["step"]),
                        "exp_avg": _unpacked(moments["exp_avg"], weight),
                        "exp_avg_sq": _unpacked(moments["exp_avg_sq"], weight),
                    }
        return controller


def advantages(losses: Tensor) -> Tensor:
    """Losses less their mean, over their standard deviation: 0 where all are equal.

    Args:
        losses: ``(M,)``.

    Returns:
        ``(losses - mean) / (sd + 1e-5)``, float64, sd over M (not M - 1), so a single policy
        gives 0.

    Example:
        >>> advantages(torch.tensor([2.0, 2.0]))
        tensor([0., 0.], dtype=torch.float64)
    """
    shifted = (losses - losses[0]).double()  # equal losses leave exact zeros, no rounding
    centred = shifted - shifted.mean()
    return centred / (centred.square().mean().sqrt() + EPSILON)


def reinforce(log_probs: Tensor, weights: Tensor) -> Tensor:
    """A scalar whose gradient estimates the gradient of the expected weight: their mean product.

    Args:
        log_probs: of what was sampled, ``(M,)``, with gradients.
        weights: losses or advantages, ``(M,)``, without.

    Source:
        Williams 1992, REINFORCE; here ascended, since the controller is the adversary.
    """
    return (log_probs * weights.detach()).mean()


def _packed(tensor: Tensor) -> str:
    """Little-endian float32, base64."""
    values = tensor.detach().cpu().float().contiguous().view(torch.uint8).flatten()
    return base64.b64encode(bytes(values.tolist())).decode()


def _unpacked(text: str, like: Tensor) -> Tensor:
    raw = bytearray(base64.b64decode(text, validate=True))
    values = torch.frombuffer(raw, dtype=torch.float32)
    if values.numel() != like.numel():
        raise ValueError(
            f"a weight must hold {like.numel()} numbers, the file has {values.numel()}"
        )
    return values.view(like.shape).to(like.device)

"""Which outputs of a model to steer: presets, patterns, and the order in which they run."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from act_steer.errors import NoModuleMatched
from act_steer.hooks import part
from act_steer.sites import Site

_BLOCK = r"(?:.*\.)?(?:h|layers?|blocks?|block|transformer_blocks|single_transformer_blocks)\.\d+"
_ATTENTION = r"(?:self_attn|self_attention|attn|attention|attn1|attn2)"
_NORM_OUTPUT = r"(?:post_attention_layernorm|post_self_attn_layernorm)"
_SECOND_OUTPUT = r"(?:post_feedforward_layernorm|post_mlp_layernorm)"

PRESETS: dict[str, str] = {
    "norms": r".*\d\..*(?<!q_)(?<!k_)(?:norm|norm\d|layernorm|layer_norm|ln_\d)",
    "pre_ln": rf"{_BLOCK}\.(?:input_layernorm|pre_feedforward_layernorm|ln_[12]|norm[12]"
    r"|self_attn_layer_norm|final_layer_norm|post_attention_layernorm)",
    "post_ln": rf"{_BLOCK}\.(?:{_NORM_OUTPUT}|{_SECOND_OUTPUT})",
    "attention": rf".*\.{_ATTENTION}\.(?:o_proj|out_proj|c_proj|dense|proj|to_out\.0)",
    "mlp": r".*\d\.(?:mlp\.(?:down_proj|c_proj|dense_4h_to_h|fc2)|fc2|ff\.net\.2)",
    "blocks": rf"{_BLOCK}",
}


def select(model: nn.Module, modules: str | Sequence[str]) -> list[str]:
    """Names of the outputs that a preset, a pattern or a list of both asks for.

    Args:
        model: what to look in.
        modules: a preset: ``"norms"``, all norms inside the blocks; ``"pre_ln"``, those before
            attention and MLP; ``"post_ln"``, those on their outputs; ``"attention"`` and
            ``"mlp"``, the last projections of either; ``"blocks"``, the residual stream after each
            block. Or a regular expression for the whole name; or a list of names and expressions.
            ``"name:1"`` is the second element of an output that is a tuple.

    Returns:
        Names in the order of the model's definition.

    Raises:
        NoModuleMatched: if one matches nothing, or a preset would steer what it does not mean.

    Source:
        Rodriguez et al. 2024, section 4 (which modules are steered).

    Example:
        >>> net = nn.ModuleDict({"0": nn.ModuleDict({"norm": nn.LayerNorm(2)})})
        >>> select(net, ["0.norm", r".*norm"]), select(net, "norms")
        (['0.norm'], ['0.norm'])
    """
    names = [name for name, _ in model.named_modules() if name]
    wanted = [modules] if isinstance(modules, str) else list(modules)
    if not wanted:
        raise NoModuleMatched("modules is empty: name a preset, a pattern or modules")
    found: set[str] = set()
    for pattern in wanted:
        found.update(_matches(names, pattern))
    places = {name: place for place, name in enumerate(names)}
    return sorted(found, key=lambda output: (places[Site.parse(output).path], output))


def _matches(names: list[str], pattern: str) -> list[str]:
    base, _, index = pattern.rpartition(":")
    if not (base and index.isdigit()):
        base, index = pattern, ""
    if base in names:
        return [pattern]
    if base in PRESETS:
        if base in ("post_ln", "pre_ln"):
            return [name + (f":{index}" if index else "") for name in _around(names, base)]
        expression = PRESETS[base]
    else:
        expression = base
    try:
        found = [name for name in names if re.fullmatch(expression, name)]
    except re.error as error:
        raise NoModuleMatched(
            f"{pattern!r} is no name and no regular expression: {error}"
        ) from None
    if not found:
        raise NoModuleMatched(_advice(names, pattern, base))
    return [f"{name}:{index}" if index else name for name in found]


def _around(names: list[str], preset: str) -> list[str]:
    """Norms before or after attention and MLP, block by block.

    ``post_attention_layernorm`` is the norm of attention's output in Gemma 2, and the norm before
    the MLP in Llama; which of the two is seen by the norm of the MLP's output beside it.
    """
    found = [name for name in names if re.fullmatch(PRESETS[preset], name)]
    beside = set(names)

    def has_post(name: str) -> bool:
        block = name.rpartition(".")[0]
        second = ("post_feedforward_layernorm", "post_mlp_layernorm")
        return any(f"{block}.{last}" in beside for last in second)

    if preset == "pre_ln":
        found = [n for n in found if not (n.endswith("post_attention_layernorm") and has_post(n))]
    elif found:
        real = [name for name in found if has_post(name)]
        if not real:
            raise NoModuleMatched(
                f"{found[0]} is the norm before the MLP, not a norm of an output: this model has no"
                " 'post_ln'; use 'attention', 'norms' or 'pre_ln'"
            )
        found = real
    if not found:
        raise NoModuleMatched(_advice(names, preset, preset))
    return found


def _advice(names: list[str], pattern: str, base: str) -> str:
    close = difflib.get_close_matches(base, [*PRESETS, *names], n=3, cutoff=0.4)
    hint = f"; close are {', '.join(close)}" if close else f"; it has {', '.join(names[:5])}, ..."
    presets = ", ".join(PRESETS)
    return f"no module matches {pattern!r}{hint}. Presets are {presets}"


class StopForward(Exception):
    """Ends a forward pass that has given all that was asked for."""


def execution_order(
    run: Callable[[], object], model: nn.Module, outputs: Sequence[str], *, unpack: bool = False
) -> list[str]:
    """The outputs in the order in which a dry run gives them.

    Args:
        run: calls the model once.
        model: the model.
        outputs: names, as `select` gives them.
        unpack: name the first element where an output without an index is a tuple.

    Raises:
        NoModuleMatched: if a module is not called, or more than once.
        TypeError: if an output is no tensor; the message says what it is.
    """
    order: list[str] = []
    by_path = by_module(outputs)

    def note(path: str, output: Any) -> None:
        if not isinstance(output, Tensor) and unpack and by_path[path] == [path]:
            by_path[path] = [f"{path}:0"]
        for name in by_path[path]:
            output_part(output, name)
            if name in order:
                raise NoModuleMatched(
                    f"{path} is called more than once in a forward pass, and which call is meant"
                    " cannot be said: name other modules"
                )
            order.append(name)

    handles = []
    for path in by_path:

        def hook(_module: nn.Module, _: Any, output: Any, path: str = path) -> None:
            note(path, output)

        handles.append(model.get_submodule(path).register_forward_hook(hook))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    missing = [path for path, names in by_path.items() if names[0] not in order]
    if missing:
        raise NoModuleMatched(f"{', '.join(missing[:3])} gave nothing: the model does not call it")
    return order


def by_module(outputs: Sequence[str]) -> dict[str, list[str]]:
    """Outputs grouped by the module that gives them."""
    grouped: dict[str, list[str]] = {}
    for name in outputs:
        grouped.setdefault(Site.parse(name).path, []).append(name)
    return grouped


def output_part(output: Any, name: str) -> Tensor:
    """The tensor that a name means of a module's output.

    Raises:
        TypeError: if there is none; the message says what there is.
    """
    return part(output, Site.parse(name).index, name)

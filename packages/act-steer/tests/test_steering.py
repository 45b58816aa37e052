"""Steering as a whole: choosing neurons, inverting, composing, and files."""

import json
import struct

import pytest
import torch
from act_steer import (
    AffineTransport,
    AurA,
    ChainTransport,
    FullGaussianTransport,
    GaussianTransport,
    LinearTransport,
    MeanTransport,
    QuantileTransport,
    Steering,
    SteeringFileError,
    load,
)
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from safetensors.torch import save as to_bytes
from torch import nn

KINDS = [
    LinearTransport,
    MeanTransport,
    GaussianTransport,
    AurA,
    QuantileTransport,
    FullGaussianTransport,
]


def samples(seed, dim=5, shift=1.0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(20, dim, generator=g), 2 * torch.randn(30, dim, generator=g) + shift


def linear(seed=0, dim=5, **options):
    return LinearTransport.fit(*samples(seed, dim), **options)


def every_kind():
    maps = {f"m.{kind.method}": kind.fit(*samples(1)) for kind in KINDS}
    maps["m.clamp"] = LinearTransport.fit(*samples(2), support="clamp")
    maps["m.chain:1"] = ChainTransport.of(maps["m.linear"], maps["m.quantile"], maps["m.mean"])
    maps["m.plain@0.5"] = linear(3).inverse()
    return Steering(maps, {"order": "causal", "levels": [0.1, 0.9], "note": None, "n": 3})


def test_a_file_brings_everything_back_and_is_always_the_same(tmp_path):
    steering = every_kind()
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    steering.save(first)
    again = load(first)
    again.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]
    assert list(again) == list(steering)
    assert again.metadata == steering.metadata
    z = 3 * torch.randn(50, 5)
    for name in steering:
        assert type(again[name]) is type(steering[name])
        for strength in (0.3, 1.0):
            assert torch.equal(again[name](z, strength), steering[name](z, strength))
        moments = steering[name].moments
        assert (again[name].moments is None) == (moments is None)
        if moments is not None:
            assert again[name].moments.n == 20
            assert again[name].moments.m == 30
            assert torch.equal(again[name].w2(), steering[name].w2())


def test_a_file_without_moments_is_less_than_half_and_steers_alike(tmp_path):
    steering = Steering({str(i): linear(i, dim=576) for i in range(4)})
    full, bare = tmp_path / "full", tmp_path / "bare"
    steering.save(full)
    steering.save(bare, moments=False)
    assert bare.stat().st_size < full.stat().st_size / 2
    assert bare.stat().st_size < 4 * 4 * 576 * 4 + 2000
    z = torch.randn(3, 576)
    assert torch.equal(load(bare)["2"](z), steering["2"](z))
    with pytest.raises(ValueError, match="no moments"):
        load(bare).report()


def rewritten(path, change_header=None, change_tensors=None):
    """Write a file anew with its header or tensors changed."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    outer = json.loads(raw[8 : 8 + size])
    header = json.loads(outer["__metadata__"]["act-steer"])
    tensors = load_file(path)
    if change_header:
        change_header(header)
    if change_tensors:
        change_tensors(tensors)
    save_file(tensors, path, metadata={"act-steer": json.dumps(header)})


def set_(table, key, value):
    table[key] = value


HEADERS = {
    "version": lambda h: set_(h, "version", 2),
    "format": lambda h: set_(h, "format", "other"),
    "no format": lambda h: h.pop("format"),
    "no modules": lambda h: set_(h, "modules", []),
    "modules no list": lambda h: set_(h, "modules", 3),
    "module twice": lambda h: h["modules"].append(h["modules"][0]),
    "module no name": lambda h: set_(h["modules"][0], "module", 3),
    "module missing": lambda h: h["modules"].pop(0),
    "module unknown": lambda h: set_(h["modules"][0], "module", "other"),
    "kind": lambda h: set_(h["modules"][0], "kind", "os.system"),
    "kind of chain": lambda h: set_(h["modules"][0], "kind", "chain"),
    "clamp": lambda h: set_(h["modules"][0], "clamp", "yes"),
    "count": lambda h: set_(h["modules"][0], "n", -1),
    "count no number": lambda h: set_(h["modules"][0], "n", "20"),
    "no count": lambda h: h["modules"][0].pop("n"),
    "metadata": lambda h: set_(h, "metadata", [1]),
    "parts": lambda h: set_(chain_entry(h), "parts", chain_entry(h)["parts"][:2]),
    "part kind": lambda h: set_(chain_entry(h)["parts"][0], "kind", "x"),
}


def chain_entry(header):
    return next(entry for entry in header["modules"] if entry["kind"] == "chain")


TENSORS = {
    "nan": lambda t: t["m.linear|scale"].fill_(torch.nan),
    "nan end": lambda t: t["m.linear|low"].fill_(torch.nan),
    "nan end of a quantile map": lambda t: t["m.quantile|low"].fill_(torch.nan),
    "infinite": lambda t: t["m.linear|shift"].fill_(torch.inf),
    "nan moment": lambda t: t["m.linear|moments.rho"].fill_(torch.nan),
    "infinite moment": lambda t: t["m.linear|moments.std_a"].fill_(torch.inf),
    "shape": lambda t: set_(t, "m.linear|scale", torch.ones(4)),
    "all shapes": lambda t: [set_(t, f"m.linear|{k}", torch.ones(4)) for k in MAPS],
    "axes": lambda t: set_(t, "m.linear|scale", torch.ones(5, 1)),
    "missing": lambda t: t.pop("m.linear|scale"),
    "extra": lambda t: set_(t, "m.linear|more", torch.ones(5)),
    "stray": lambda t: set_(t, "stray", torch.ones(5)),
    "integers": lambda t: set_(t, "m.linear|scale", torch.ones(5, dtype=torch.int64)),
    "half": lambda t: set_(t, "m.linear|scale", torch.ones(5).half()),
    "knots": lambda t: set_(t, "m.quantile|source", t["m.quantile|source"].flip(1).contiguous()),
    "part": lambda t: set_(t, "m.chain:1|0.more", torch.ones(5)),
    "matrix": lambda t: set_(t, "m.full_gaussian|matrix", torch.ones(5, 4)),
}
MAPS = ("scale", "shift", "low", "high")


@pytest.mark.parametrize("what", HEADERS)
def test_a_tampered_header_is_refused(what, tmp_path):
    path = tmp_path / "maps"
    every_kind().save(path)
    rewritten(path, change_header=HEADERS[what])
    with pytest.raises(SteeringFileError, match=str(path)):
        load(path)


@pytest.mark.parametrize("what", TENSORS)
def test_tampered_tensors_are_refused(what, tmp_path):
    path = tmp_path / "maps"
    every_kind().save(path)
    rewritten(path, change_tensors=TENSORS[what])
    with pytest.raises(SteeringFileError, match=str(path)):
        load(path)


def test_a_file_rewritten_without_a_change_is_taken(tmp_path):
    path = tmp_path / "maps"
    every_kind().save(path)
    rewritten(path)
    assert len(load(path)) == len(every_kind())


@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(share, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps"
    Steering({"a": linear()}).save(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(SteeringFileError, match="not a whole safetensors file"):
        load(path)


@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_gives_maps_that_are_finite(place, value, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps"
    Steering({"a": linear()}).save(path)
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] = value
    path.write_bytes(bytes(raw))
    try:
        steering = load(path)
    except SteeringFileError:
        return
    assert all(torch.isfinite(t.scale).all() for t in steering.values())


def test_a_pickle_and_a_stranger_are_refused_and_a_missing_file_is_the_systems_error(tmp_path):
    path = tmp_path / "maps"
    torch.save({"scale": torch.ones(3)}, path)
    with pytest.raises(SteeringFileError, match="not a whole safetensors file"):
        load(path)
    path.write_bytes(to_bytes({"scale": torch.ones(3)}))
    with pytest.raises(SteeringFileError, match="no 'act-steer' header"):
        load(path)
    path.write_bytes(to_bytes({"scale": torch.ones(3)}, metadata={"act-steer": "[[[" * 99}))
    with pytest.raises(SteeringFileError, match="damaged header"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_a_map_that_cannot_be_read_back_is_not_written(tmp_path):
    class Own(AffineTransport):
        pass

    t = linear()
    own = Own(t.scale, t.shift, t.low, t.high)
    with pytest.raises(TypeError, match="a Own cannot be saved"):
        Steering({"a": own}).save(tmp_path / "maps")
    with pytest.raises(ValueError, match="JSON"):
        Steering({"a": t}, {"x": float("nan")}).save(tmp_path / "maps")
    assert list(tmp_path.iterdir()) == []


def test_restrict_keeps_the_neurons_that_gain_most_over_all_modules():
    a, b = samples(0, dim=6)
    strong = LinearTransport.fit(a, b * torch.tensor([1, 1, 1, 1, 1, 1.0]) + 9)
    weak = LinearTransport.fit(a, a + 0.01 * torch.arange(6))
    steering = Steering({"strong": strong, "weak": weak})
    kept = steering.restrict(top=6)
    assert torch.equal(kept["strong"].scale, strong.scale)
    assert torch.equal(kept["weak"].scale, torch.ones(6))
    assert torch.equal(kept["weak"].shift, torch.zeros(6))
    half = steering.restrict(top=0.5)
    assert torch.equal(half["strong"].shift, strong.shift)
    assert half.metadata["restricted"] == 6
    assert torch.equal(steering.restrict(top=1.0)["weak"].shift, weak.shift)
    assert kept.report().rows[1].after == pytest.approx(kept.report().rows[1].before)


def test_what_restrict_keeps_does_not_depend_on_the_scale_of_a_module():
    a, b = samples(0, dim=6)
    steering = Steering({"x": LinearTransport.fit(a, b), "y": LinearTransport.fit(*samples(1, 6))})
    scaled = Steering({"x": LinearTransport.fit(64 * a, 64 * b), "y": steering["y"]})
    one, other = steering.restrict(top=4), scaled.restrict(top=4)
    for name in ("x", "y"):
        assert torch.equal(one[name].scale == 1, other[name].scale == 1)


@pytest.mark.parametrize("kind", KINDS[:-1])
@given(strength=st.floats(0, 1), picked=st.lists(st.booleans(), min_size=5, max_size=5))
def test_kept_neurons_move_as_before_and_the_others_not_at_all(kind, strength, picked):
    t, picked = kind.fit(*samples(4)), torch.tensor(picked)
    z = 2 * torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    some = t.keep(picked)
    assert torch.equal(some(z, strength)[:, picked], t(z, strength)[:, picked])
    assert torch.allclose(some(z, strength)[:, ~picked], z[:, ~picked], atol=1e-6)
    assert torch.allclose(some.w2(strength)[~picked], t.w2(0.0)[~picked], atol=1e-6)
    assert torch.equal(some.w2(strength)[picked], t.w2(strength)[picked])


@pytest.mark.parametrize("top", [0, 11, 0.0, 1.5, -1])
def test_restrict_says_what_can_be_asked_for(top):
    with pytest.raises(ValueError, match="1 to 10 neurons"):
        Steering({"a": linear(), "b": linear(1)}).restrict(top=top)


def test_negation_brings_back_what_was_moved():
    a, _ = samples(0)
    steering = Steering({"a": linear(), "b": MeanTransport.fit(*samples(1))})
    back = steering.negate()
    assert torch.allclose(back["a"](steering["a"](a)), a, atol=1e-5)
    z, _ = samples(1)
    assert torch.allclose(back["b"](steering["b"](z)), z, atol=1e-5)
    with pytest.raises(TypeError, match="a quantile map has no closed form"):
        Steering({"a": QuantileTransport.fit(*samples(0))}).negate()


def test_negation_is_neither_a_negative_strength_nor_the_fit_exchanged():
    a, b = samples(0)
    t = LinearTransport.fit(a, b, support="all")
    moved = t(a)
    inverse = t.inverse()(moved)
    with_minus = t(moved, -1.0)
    exchanged = LinearTransport.fit(b, a, support="all")(moved)
    assert torch.allclose(inverse, a, atol=1e-5)
    assert (with_minus - a).abs().max() > 0.1
    assert (exchanged - a).abs().max() > 0.1


@given(strength=st.floats(0, 1))
def test_composition_moves_by_the_first_then_by_the_second(strength):
    one, two = linear(0), linear(1)
    both = Steering({"a": one, "b": one}).then(Steering({"a": two, "c": two}))
    assert list(both) == ["a", "b", "c"]
    z = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(both["a"](z, strength), two(one(z, strength), strength))
    assert torch.equal(both["b"](z, strength), one(z, strength))
    assert torch.equal(both["c"](z, strength), two(z, strength))
    with pytest.raises(ValueError, match="a chain map without moments"):
        both.restrict(top=1)


def test_the_order_of_composition_matters_and_chains_are_flat():
    one, two = linear(0, support="all"), linear(1, support="all")
    z = torch.randn(9, 5)
    there, back = ChainTransport.of(one, two), ChainTransport.of(two, one)
    assert (there(z) - back(z)).abs().max() > 0.1
    longer = ChainTransport.of(there, one)
    assert longer.parts == (one, two, one)
    assert torch.equal(there.inside(z), one.inside(z))
    with pytest.raises(ValueError, match=r"widths \[5, 4\]"):
        ChainTransport.of(one, linear(0, dim=4))


def test_a_composition_steers_as_two_blocks_do():
    net = nn.Sequential(nn.Linear(5, 5))
    one, two = (Steering({"0": linear(seed)}) for seed in (0, 1))
    x = torch.randn(7, 5)
    with one.apply(net, strength=0.7), two.apply(net, strength=0.7):
        want = net(x)
    with one.then(two).apply(net, strength=0.7):
        assert torch.allclose(net(x), want, atol=1e-6)


def test_scaling_multiplies_the_strength():
    net = nn.Sequential(nn.Linear(5, 5))
    steering = Steering({"0": linear()})
    x = torch.randn(7, 5)
    with steering.apply(net, strength=0.35):
        want = net(x)
    handle = steering.scaled(0.5).attach(net, strength=0.7)
    assert torch.allclose(net(x), want, atol=1e-6)
    handle.remove()


def test_the_report_adds_up_neurons_and_names_the_best():
    a, b = samples(0)
    b[:, 3] += 50
    t = LinearTransport.fit(a, b)
    report = Steering({"a.very.long.name": t}).report()
    row = report.rows[0]
    assert row.before == pytest.approx(float(t.w2(0.0).norm()))
    assert row.after == pytest.approx(float(t.w2(1.0).norm()))
    assert row.top[0] == 3
    assert (row.n, row.m, row.neurons, row.degenerate, row.coverage) == (20, 30, 5, 0, 1.0)
    assert "a.very.long.name" in str(report)
    table = report.to_table()
    assert {len(column) for column in table.values()} == {1}
    assert table["top"][0].startswith("3 ")
    assert Steering({"a": t}).to_table()["module"] == ["a"]


def test_a_steering_is_a_mapping_that_cannot_be_changed():
    steering = Steering({"a": linear(), "b": linear(1)})
    assert list(steering) == steering.modules == ["a", "b"]
    assert "a" in steering
    assert str(steering) == "linear maps of 2 modules, 10 neurons"
    with pytest.raises(TypeError):
        steering.maps["c"] = linear()
    with pytest.raises(KeyError, match="no map for 'c'; there are a, b"):
        steering["c"]
    with pytest.raises(ValueError, match="at least one map"):
        Steering({})
    assert steering.to("cpu")["a"].scale.device.type == "cpu"
    assert hash(steering) == hash(steering)

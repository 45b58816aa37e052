import pytest
import torch
from act_steer import LinearTransport, NoModuleMatched, load
from act_steer.apply import apply
from act_steer.diffusion import fit_denoiser, fit_pipeline, tensors_of
from act_steer.move import Move
from act_steer_models import hooks_on
from torch import nn

diffusers = pytest.importorskip("diffusers")
# diffusers on a newer numpy (November 2026)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
TIMES = (9, 5, 1)


class Net(nn.Module):
    """Two norms in a row; what the second sees depends on the first and on the timestep."""

    def __init__(self):
        super().__init__()
        self.one, self.mix, self.two = nn.GroupNorm(1, 4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)

    def forward(self, x, timestep, return_dict=True):
        shift = torch.as_tensor(timestep).reshape(-1, 1, 1, 1) / 9
        return x + self.two(self.mix(self.one(x)) * shift)


def sampler(net, x, seen=None):
    def run():
        z = x
        for t in TIMES:
            z = z - 0.3 * net(z, t)
        if seen is not None:
            seen.append(z)
        return z

    return run


def batches(n=12, m=9):
    x, y = torch.randn(n, 4, 3, 3), 2 * torch.randn(m, 4, 3, 3) + 1
    return x, y


def brute_force(net, x, y, order, target_path, first=False, spatial="pooled"):
    """The definition: one map after the other, all samplers run anew for each."""
    maps = {}
    for t in TIMES:
        for name in ("one", "two"):
            pooled = []
            for side, start in (("source", x), ("target", y)):
                z = start
                for step in TIMES:
                    z, kept = steered_step(
                        net, z, step, name, maps, order, side, target_path, spatial
                    )
                    if step == t:
                        pooled.append(kept.mean((2, 3)))
            maps[f"{name}@{t}"] = LinearTransport.fit(*pooled)
        if first:
            return {key.partition("@")[0]: value for key, value in maps.items()}
    return maps


def steered_step(net, x, t, wanted, maps, order, side, target_path, spatial):
    def moved(name, z):
        steered = order == "causal" and (side == "source" or target_path == "steered")
        if name == wanted:
            kept.append(z)
        if steered and f"{name}@{t}" in maps:
            return Move([maps[f"{name}@{t}"]], 1.0, spatial=spatial)(z)
        return z

    kept = []
    h = moved("one", net.one(x))
    h = moved("two", net.two(net.mix(h) * t / 9))
    return x - 0.3 * (x + h), kept[0]


def assert_same(got, want, atol=1e-5):
    assert list(got) == list(want)
    for key in want:
        for part in ("scale", "shift", "low", "high"):
            torch.testing.assert_close(
                getattr(got[key], part), getattr(want[key], part), atol=atol, rtol=1e-4
            )


@pytest.mark.parametrize("order", ["causal", "simultaneous"])
@pytest.mark.parametrize("target_path", ["clean", "steered"])
@pytest.mark.parametrize("spatial", ["pooled", "pointwise"])
def test_maps_equal_the_definition_one_after_the_other(order, target_path, spatial):
    net = Net().requires_grad_(False)
    x, y = batches()
    steering = fit_denoiser(
        net, sampler(net, x), sampler(net, y), modules=["one", "two"], order=order,
        target_path=target_path, spatial=spatial,
    )  # fmt: skip
    assert_same(steering, brute_force(net, x, y, order, target_path, spatial=spatial))
    assert hooks_on(net) == 0
    assert steering.metadata["steps"] == "each"


def test_batches_that_go_side_by_side_change_nothing():
    net = Net().requires_grad_(False)
    x, y = batches()
    whole = fit_denoiser(net, sampler(net, x), sampler(net, y), modules=["one", "two"])
    parts = [[sampler(net, part) for part in z.split(5)] for z in (x, y)]
    assert_same(fit_denoiser(net, *parts, modules=["one", "two"]), whole)


def test_the_first_step_alone_is_the_scheme_of_the_release():
    net = Net().requires_grad_(False)
    x, y = batches()
    seen = []
    steering = fit_denoiser(
        net, sampler(net, x, seen), sampler(net, y, seen), modules=["one", "two"], steps="first"
    )
    assert_same(steering, brute_force(net, x, y, "causal", "clean", first=True))
    assert not seen  # it ends after one step


def test_at_strength_1_the_fitted_rows_go_where_they_went_in_the_fit():
    net = Net().requires_grad_(False)
    x, y = batches()
    seen = []
    steering = fit_denoiser(net, sampler(net, x, seen), sampler(net, y), modules=["one", "two"])
    with apply(steering, net):
        again = sampler(net, x)()
    torch.testing.assert_close(again, seen[-1], atol=1e-5, rtol=1e-5)
    assert (again - sampler(net, x)()).abs().max() > 0.05


def test_a_file_keeps_the_timesteps(tmp_path):
    net = Net().requires_grad_(False)
    x, y = batches()
    options = {"modules": ["one", "two"], "spatial": "pointwise"}
    steering = fit_denoiser(net, sampler(net, x), sampler(net, y), **options)
    steering.save(tmp_path / "maps")
    again = load(tmp_path / "maps")
    outputs = []
    for maps in (steering, again):
        with apply(maps, net, strength=0.5):
            outputs.append(sampler(net, x)())
    assert torch.equal(*outputs)


def test_one_call_with_many_timesteps_equals_the_calls_one_by_one():
    net = Net().requires_grad_(False)
    x, y = batches()
    steering = fit_denoiser(net, sampler(net, x), sampler(net, y), modules=["one", "two"])
    times = torch.tensor([9, 1, 5, 5, 2])
    with apply(steering, net, strength=0.7):
        together = net(x[:5], times)
        rows = torch.cat([net(x[n : n + 1], t) for n, t in enumerate(times)])
        other_order = torch.cat([net(x[n : n + 1], times[n]) for n in (4, 3, 2, 1, 0)]).flip(0)
    torch.testing.assert_close(together, rows)
    torch.testing.assert_close(other_order, rows)


def doubled(net, x, conditional):
    """Classifier-free guidance: half of the batch has other content."""

    def run():
        z = x
        for t in TIMES:
            both = [z, -z] if conditional == "first" else [-z, z]
            first, second = net(torch.cat(both), t).chunk(2)
            z = z - 0.3 * (first if conditional == "first" else second)

    return run


@pytest.mark.parametrize("conditional", ["first", "last"])
def test_guidance_is_fitted_on_its_conditional_half(conditional):
    net = Net().requires_grad_(False)
    x, y = batches()
    plain = fit_denoiser(net, sampler(net, x), sampler(net, y), modules=["one", "two"])
    sides = [doubled(net, z, conditional) for z in (x, y)]
    options = {"modules": ["one", "two"], "conditional": conditional}
    steering = fit_denoiser(net, *sides, **options)
    assert_same(steering, plain)
    z = torch.randn(3, 4, 3, 3)
    batch = torch.cat([z, -z] if conditional == "first" else [-z, z])
    with apply(plain, net):
        want = net(z, 5)
    with apply(steering, net, cfg="cond"):
        got = net(batch, 5).chunk(2)
    own, other = got if conditional == "first" else got[::-1]
    torch.testing.assert_close(own, want, atol=1e-5, rtol=1e-5)
    assert torch.equal(other, net(-z, 5))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"modules": "no_such"}, NoModuleMatched, "no module matches 'no_such'"),
        ({"steps": "all"}, ValueError, 'steps must be "each" or "first"'),
        ({"spatial": "x"}, ValueError, "spatial must be"),
        ({"order": "x"}, ValueError, "order must be one of causal, simultaneous"),
        ({"method": "x"}, ValueError, "method must be one of linear"),
        ({"conditional": "x"}, ValueError, 'conditional must be "last" or "first"'),
    ],
)
def test_what_is_not_known_is_refused(options, error, message):
    net = Net()
    x, y = batches()
    with pytest.raises(error, match=message):
        fit_denoiser(net, sampler(net, x), sampler(net, y), **{"modules": ["one"], **options})
    assert hooks_on(net) == 0


def test_a_call_that_mixes_timesteps_is_refused_in_a_fit():
    net, x = Net(), torch.randn(4, 4, 3, 3)

    def mixed():
        return net(x, torch.tensor([1, 2, 3, 4]))

    with pytest.raises(ValueError, match=r"must have one timestep, got \[1, 2, 3, 4\]"):
        fit_denoiser(net, mixed, mixed, modules=["one"])
    assert hooks_on(net) == 0


def tiny_unet():
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
        block_out_channels=(8, 16), norm_num_groups=4, num_class_embeds=4, attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def tiny_conditional():
    return diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
        block_out_channels=(8, 16), norm_num_groups=4, cross_attention_dim=8,
        attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip


def tiny_dit():
    return diffusers.DiTTransformer2DModel(
        sample_size=8, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2,
        attention_head_dim=8, patch_size=2, num_embeds_ada_norm=1000, norm_num_groups=4,
    )  # fmt: skip


def tiny_flux():
    return diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=8, pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8), guidance_embeds=False,
    )  # fmt: skip


def call(kind, net, seed, t):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=g) + seed

    rows = 10
    if kind == "unet":
        return net(draw(rows, 1, 8, 8), t, class_labels=torch.arange(rows) % 4).sample
    if kind == "conditional":
        return net(draw(rows, 1, 8, 8), t, encoder_hidden_states=draw(rows, 3, 8)).sample
    if kind == "dit":
        labels = torch.arange(rows) % 4
        times = torch.full((rows,), t)
        return net(draw(rows, 4, 8, 8), timestep=times, class_labels=labels).sample
    return net(
        hidden_states=draw(rows, 6, 4), encoder_hidden_states=draw(rows, 3, 8),
        pooled_projections=draw(rows, 8), timestep=torch.full((rows,), t / 1000),
        img_ids=torch.zeros(6, 3), txt_ids=torch.zeros(3, 3),
    ).sample  # fmt: skip


KINDS = {
    "unet": (tiny_unet, "norms", "mid_block.attentions.0.group_norm", 8),
    "conditional": (tiny_conditional, "norms", "mid_block.attentions.0.norm", 8),
    "dit": (tiny_dit, "blocks", "transformer_blocks.1", 2),
    "flux": (tiny_flux, "blocks", "transformer_blocks.0:1", 6),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_denoisers_of_diffusers_are_fitted_steered_and_left_as_they_were(kind):
    make, modules, name, least = KINDS[kind]
    net = make().eval().requires_grad_(False)
    for p in net.parameters():
        p.add_(0.05 * torch.randn_like(p))  # DiT's blocks begin as the identity
    times = (800, 200)
    keys = [f"{t / 1000:.9g}" if kind == "flux" else str(t) for t in times]

    def run(seed):
        return lambda: [call(kind, net, seed, t) for t in times]

    steering = fit_denoiser(net, run(0), run(1), modules=modules)
    outputs = {key.partition("@")[0] for key in steering}
    assert name in outputs
    assert len(outputs) >= least
    assert set(steering) == {f"{output}@{key}" for output in outputs for key in keys}
    plain, target = call(kind, net, 0, 200), call(kind, net, 1, 200)
    strength = {}
    for lam in (0.0, 0.5, 1.0):
        with apply(steering, net, strength=lam):
            strength[lam] = call(kind, net, 0, 200)
    assert torch.equal(strength[0.0], plain)
    assert strength[1.0].isfinite().all()
    assert (strength[1.0] - plain).abs().max() > 1e-3
    assert (strength[0.5] - plain).abs().max() > 1e-3
    assert hooks_on(net) == 0
    assert torch.equal(call(kind, net, 1, 200), target)


def test_flux_blocks_are_named_with_both_their_streams():
    net = tiny_flux().eval()
    outputs = ["transformer_blocks.0", "transformer_blocks.1:1", "single_transformer_blocks.1"]
    found = tensors_of(net, outputs, lambda: call("flux", net, 0, 200))
    assert found[:3] == [
        "transformer_blocks.0:0",
        "transformer_blocks.0:1",
        "transformer_blocks.1:1",
    ]
    assert found[3].startswith("single_transformer_blocks.1")


def dit_pipeline():
    vae = diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(4,),
        norm_num_groups=2, sample_size=8,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler()
    pipe = diffusers.DiTPipeline(transformer=tiny_dit(), vae=vae, scheduler=scheduler)
    for p in pipe.transformer.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    pipe.set_progress_bar_config(disable=True)
    pipe.transformer.eval()  # as from_pretrained has it
    return pipe


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_pipeline_is_fitted_and_steered(guidance):
    pipe = dit_pipeline()
    options = {"num_inference_steps": 3, "guidance_scale": guidance, "output_type": "np"}
    names = {"modules": "blocks", "argument": "class_labels", "call": options}
    source, target = [1] * 4 + [2] * 4, [5] * 7
    steering = fit_pipeline(pipe, source, target, batch_size=8, **names)
    assert len(steering) == 2 * 3
    parts = fit_pipeline(pipe, source, target, batch_size=3, **names)
    assert_same(parts, steering, atol=1e-4)

    def images(maps=None, **cfg):
        seeds = [torch.Generator().manual_seed(n) for n in range(2)]
        if maps is None:
            return pipe([1, 2], generator=seeds, **options).images
        with apply(maps, pipe, **cfg):
            return pipe([1, 2], generator=seeds, **options).images

    plain = images()
    assert (images(steering, strength=0.0) == plain).all()
    assert abs(images(steering) - plain).max() > 1e-3
    if guidance > 1:
        assert abs(images(steering, cfg="cond") - images(steering)).max() > 1e-4
    assert (images() == plain).all()
    assert hooks_on(pipe.transformer) == 0


def test_the_fit_is_of_the_model_in_eval_mode_which_it_leaves_as_it_was():
    net = nn.Sequential(Net().requires_grad_(False), nn.Dropout(0.9))
    net.forward = lambda x, timestep: net[1](net[0](x, timestep))
    x, y = batches()
    steering = fit_denoiser(net, sampler(net, x), sampler(net, y), modules=["0.one", "0.two"])
    assert net.training
    assert net[1].training
    net.eval()
    again = fit_denoiser(net, sampler(net, x), sampler(net, y), modules=["0.one", "0.two"])
    assert_same(again, steering)


def test_a_pipeline_needs_prompts_and_a_denoiser():
    with pytest.raises(ValueError, match="got 0 and 1 prompts"):
        fit_pipeline(object(), [], ["a"])
    with pytest.raises(TypeError, match="with a unet or a transformer, got object"):
        fit_pipeline(object(), ["b"], ["a"])

import numpy as np
import pytest
import torch
from act_steer import MeanTransport, Steering
from act_steer.control_vector import export_gguf
from act_steer_models import affine

gguf = pytest.importorskip("gguf")


@pytest.mark.parametrize("width", [8, 13])
def test_the_readers_of_gguf_read_what_was_written(width, tmp_path):
    a = torch.randn(9, width)
    maps = {f"model.layers.{n}": MeanTransport.fit(a, a + n, support="all") for n in (11, 2, 1)}
    path = tmp_path / "vector.gguf"
    export_gguf(Steering(maps), path, model_hint="llama", strength=0.5)
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "llama"
    assert fields["controlvector.layer_count"] == 3
    assert fields["GGUF.version"] == 3
    assert [t.name for t in reader.tensors] == ["direction.1", "direction.2", "direction.11"]
    for tensor in reader.tensors:
        layer = tensor.name.partition(".")[2]
        want = 0.5 * maps[f"model.layers.{layer}"].shift.numpy()
        assert tensor.data.dtype == np.float32
        assert np.array_equal(tensor.data, want.astype(np.float32))
        assert tensor.data_offset % 32 == 0
    assert [p.name for p in tmp_path.iterdir()] == ["vector.gguf"]


def test_the_bytes_are_those_of_the_gguf_package(tmp_path):
    vector = torch.randn(8)
    shift = MeanTransport.fit(torch.zeros(3, 8), torch.zeros(3, 8) + vector, support="all")
    export_gguf({"h.1:0": shift}, tmp_path / "ours", model_hint="gpt2")
    writer = gguf.GGUFWriter(tmp_path / "theirs", "controlvector")
    writer.add_string("controlvector.model_hint", "gpt2")
    writer.add_uint32("controlvector.layer_count", 1)
    writer.add_tensor("direction.1", shift.shift.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize(
    ("key", "map_", "message"),
    [
        ("layers.1", affine(4), "scales: a control vector only shifts"),
        ("layers.1", torch.tanh, "scales: a control vector only shifts"),
        ("layers.1", affine(4, scaled=False, bounded=True), 'use support="all"'),
        ("layers.0", affine(4, scaled=False), "leave layers.0 out"),
        ("layers.1.mlp", affine(4, scaled=False), "outputs of blocks, as layers.7; got layers.1.m"),
        ("layers.1:1", affine(4, scaled=False), "outputs of blocks"),
        ("layers.1@3", affine(4, scaled=False), "outputs of blocks"),
    ],
)
def test_what_a_control_vector_cannot_hold_is_refused(key, map_, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_gguf({key: map_}, tmp_path / "vector.gguf")
    with pytest.raises(ValueError, match="no map"):
        export_gguf({}, tmp_path / "vector.gguf")
    assert not list(tmp_path.iterdir())

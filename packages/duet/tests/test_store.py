import json
import pickle

import pytest
import torch
from duet.store import fill, read_tensors, write_tensors, write_whole
from safetensors import safe_open
from safetensors.torch import save_file


def test_tensors_and_header_come_back_bit_for_bit(tmp_path):
    tensors = {"a": torch.randn(3, 4).T, "b": torch.tensor([7]), "c": torch.zeros(0)}
    write_tensors(tmp_path / "deep" / "x.safetensors", tensors, format="f", bins=8)
    read, header = read_tensors(tmp_path / "deep" / "x.safetensors", format="f")
    assert header == {"bins": 8}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_any_safetensors_reader_opens_it_and_sees_format_and_version(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(2)}, format="f")
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["duet"])
    assert header == {"format": "f", "version": 1}


@pytest.mark.parametrize("kind", ["torch", "torch, old", "pickle"])
def test_a_pickle_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "x.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"a": 1}))
    else:
        torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(ValueError, match=r"x\.pt is a pickle"):
        read_tensors(path, format="f")


def test_a_header_that_begins_like_a_pickle_is_none(tmp_path):
    path = tmp_path / "x"
    for length in range(0, 300, 8):
        write_tensors(path, {"a": torch.ones(2)}, format="f", note="n" * length)
        if path.read_bytes()[:1] == b"\x80":
            break
    assert path.read_bytes()[:1] == b"\x80"  # the low byte of the header's length
    assert read_tensors(path, format="f")[1] == {"note": "n" * length}


def test_what_is_not_ours_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="no safetensors file"):
        read_tensors(path, format="f")
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="no header of ours"):
        read_tensors(path, format="f")
    save_file({"a": torch.ones(1)}, path, metadata={"duet": "[]"})
    with pytest.raises(ValueError, match="no header of ours"):
        read_tensors(path, format="f")
    save_file({}, path, metadata={"duet": '{"format": "f", "version": 9}'})
    with pytest.raises(ValueError, match="version must be 1, got 9"):
        read_tensors(path, format="f")
    write_tensors(path, {}, format="another")
    with pytest.raises(ValueError, match="format must be 'f', got 'another'"):
        read_tensors(path, format="f")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"x\.safetensors"):
        read_tensors(path, format="f")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("before")

    def half(temporary):
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_whole(path, half)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_do_not_fit_are_refused():
    net = torch.nn.Linear(2, 2)
    good = {name: torch.ones_like(x) for name, x in net.state_dict().items()}
    fill(net, good, "here")
    assert torch.equal(net.weight, torch.ones(2, 2))
    with pytest.raises(ValueError, match="here holds values that are not finite, in bias"):
        fill(net, good | {"bias": torch.tensor([1.0, torch.nan])}, "here")
    with pytest.raises(ValueError, match="here does not fit the module"):
        fill(net, good | {"bias": torch.ones(3)}, "here")
    with pytest.raises(ValueError, match="Missing key"):
        fill(net, {"weight": good["weight"]}, "here")

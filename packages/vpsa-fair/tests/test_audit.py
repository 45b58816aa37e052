import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from vpsa_fair import sweep
from vpsa_fair.audit import Audit
from vpsa_fair.data import Faces
from vpsa_fair.errors import DataError, ModelError
from vpsa_fair.models import Precomputed
from vpsa_fair.perturb import exposure, gaussian_blur, gaussian_noise
from vpsa_fair.ranking import ForcedChoice
from vpsa_fair.store import Store, read_journal
from vpsa_fair.sweep import perturbed
from vpsa_fair.verification import Verification

LEVELS = [gaussian_blur([1, 2]), gaussian_noise([10, 20, 40]), exposure("down", [1])]


def small_data(n=24, seed=0):
    generator = np.random.default_rng(seed)
    base = np.repeat(generator.integers(0, 256, (n // 3, 8, 8, 3)), 3, 0)
    images = np.clip(base + generator.normal(0, 20, base.shape), 0, 255).astype(np.uint8)
    people = np.arange(n) // 3
    return Faces.from_arrays(
        images, people, {"tone": ["dark" if p % 2 else "light" for p in people]}
    )


class Counting:
    """A model that counts its images."""

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        assert not images.flags.writeable
        self.seen += len(images)
        return images.reshape(len(images), -1) / 255 - 0.5


def audit(embed, cache=None, **options):
    options = {"protocol": Verification("accuracy"), **options}
    return Audit(embed, options.pop("data", small_data()), LEVELS, cache=cache, **options)


def saved(result, folder):
    result.counts.save(folder / "counts.npz")
    return (folder / "counts.npz").read_bytes(), json.dumps(result.meta)


def test_every_image_at_every_level_goes_through_the_model_once_ever(tmp_path):
    embed = Counting()
    first = audit(embed, tmp_path / "run", selftest=False)
    one = saved(first.run(), tmp_path)
    assert embed.seen == first.images == 24 * (1 + 2 + 3 + 1)
    assert first.spent.sweep == embed.seen
    again = audit(embed, tmp_path / "run")
    assert saved(again.run(), tmp_path) == one
    assert embed.seen == 24 * 7
    assert (again.spent.sweep, again.spent.selftest) == (0, 0)


def test_the_self_test_is_counted_apart_and_is_at_most_64_images(tmp_path):
    embed = Counting()
    run = audit(embed, tmp_path, data=small_data(120))
    run.run()
    assert run.spent.selftest == 64
    assert run.spent.sweep == 120 * 7
    assert embed.seen == 120 * 7 + 64
    events = read_journal(tmp_path / "journal.jsonl")
    assert sum(e["images"] for e in events if e["event"] == "embedded") == 120 * 7
    assert sum(e["images"] for e in events if e["event"] == "selftest") == 64
    assert str(run.spent) == "840 in the sweep, 64 in self-tests, 0 in bounding"


def test_folder_memory_and_batch_size_give_the_same_result(tmp_path):
    results = [
        saved(audit(Counting(), cache, batch=batch).run(), tmp_path)
        for cache, batch in ((None, 64), (tmp_path / "a", 64), (tmp_path / "b", 7))
    ]
    assert results[0] == results[1] == results[2]


def test_many_files_a_step_give_the_same_result_and_only_what_changed_is_embedded_anew(
    tmp_path, monkeypatch
):
    whole = saved(audit(Counting(), None).run(), tmp_path)
    monkeypatch.setattr(sweep, "SHARD", 10)
    folder = tmp_path / "run"
    assert saved(audit(Counting(), folder, batch=4).run(), tmp_path) == whole
    assert len(list((folder / "embeddings").glob("*.npy"))) == 3 * 7 + 1  # and the self-test
    data = small_data()
    data.pixels[-1, 0, 0, 0] ^= 255
    embed = Counting()
    audit(embed, folder, data=data, selftest=False).run()
    assert embed.seen == 4 * 7  # the last file of each step, of images 20 to 23


def test_the_counts_are_those_of_the_protocol_at_every_level():
    result = audit(Counting()).run()
    data = small_data()
    frozen = Verification("accuracy").freeze(
        Counting()(frozen_view(data.pixels)), audit(Counting()).population, ["tone"]
    )
    assert [c.perturbation for c in result.counts.cells[:4]] == [
        "",
        *["gaussian_blur"] * 2,
        "gaussian_noise",
    ]
    images = gaussian_noise([10, 20, 40])(data.pixels, 20.0, seed=0)
    tally = frozen.count(Counting()(frozen_view(images)))
    for name, (hits, trials) in tally.items():
        np.testing.assert_array_equal(result.counts.hits[name][:, 4], hits)
        np.testing.assert_array_equal(result.counts.trials[name][:, 4], trials)
    assert set(result.counts.hits) == {"genuine", "impostor", "impostor@tone"}
    assert result.meta["embedded"] == 24 * 7


def frozen_view(images):
    view = images.view()
    view.flags.writeable = False
    return view


def test_the_report_gets_the_images_of_one_example():
    result = audit(Counting(), example=3).run()
    assert result.examples["gaussian_noise"].shape == (4, 8, 8, 3)
    assert (result.examples["gaussian_blur"][0] == small_data().pixels[3]).all()
    assert audit(Counting(), example=None).run().examples == {}
    with pytest.raises(DataError, match="example 24 is none of 24 images"):
        audit(Counting(), example=24).run()


SLOW = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[2])
from test_audit import Counting, audit
class Slow(Counting):
    def __call__(self, images):
        time.sleep(0.05)
        return super().__call__(images)
run = audit(Slow(), sys.argv[1], batch=4, selftest=False)
result = run.run()
print(run.spent.sweep)
"""


def start(folder):
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", SLOW, str(folder), here]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for_files(folder, count):
    until = time.time() + 60
    while len(list((folder / "embeddings").glob("*.npy"))) < count:
        assert time.time() < until
        time.sleep(0.01)


def test_after_kill_nine_the_result_is_that_of_an_undisturbed_run_to_the_last_byte(tmp_path):
    whole = saved(audit(Counting(), tmp_path / "whole").run(), tmp_path)
    folder = tmp_path / "cut"
    (folder / "embeddings").mkdir(parents=True)
    for files in (2, 4):
        process = start(folder)
        wait_for_files(folder, files)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    there = len(list((folder / "embeddings").glob("*.npy")))
    assert 4 <= there < 7
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"event": "embed')  # a line cut short
    embed = Counting()
    rest = audit(embed, folder, selftest=False)
    assert saved(rest.run(), tmp_path) == whole
    assert embed.seen == 24 * (7 - there)
    assert not list((folder / "claims").iterdir())


def test_two_processes_share_the_work_of_one_folder(tmp_path):
    both = [start(tmp_path / "run") for _ in range(2)]
    spent = [int(process.communicate(timeout=60)[0]) for process in both]
    assert sum(spent) == 24 * 7
    assert min(spent) > 0
    whole = saved(audit(Counting(), tmp_path / "alone").run(), tmp_path)
    embed = Counting()
    assert saved(audit(embed, tmp_path / "run").run(), tmp_path) == whole
    assert embed.seen == 0


def test_a_claim_of_another_host_is_respected_until_it_is_stale(tmp_path):
    store = Store(tmp_path, stale=0.5)
    claim = tmp_path / "claims" / "x"
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    with store.claim("x") as ours:
        assert not ours
    assert claim.exists()
    os.utime(claim, (time.time() - 10,) * 2)
    with store.claim("x") as ours:
        assert ours
        with Store(tmp_path).claim("x") as second:
            assert not second
    assert not claim.exists()


def test_of_many_who_see_a_void_claim_one_takes_it(tmp_path):
    claim = tmp_path / "claims" / "x"
    taken = []

    def take():
        with Store(tmp_path, stale=5).claim("x") as ours:
            if ours:
                taken.append(1)
                time.sleep(0.3)

    Store(tmp_path)
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    os.utime(claim, (time.time() - 100,) * 2)
    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert not list(claim.parent.iterdir())


def test_who_comes_late_to_a_void_claim_gives_a_fresh_one_back(tmp_path):
    store, claim = Store(tmp_path, stale=5), tmp_path / "claims" / "x"
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    os.utime(claim, (time.time() - 100,) * 2)
    looks = []

    def late(path, seen):  # between looking and taking away, somebody else takes over
        void = Store._is_void(store, path, seen)
        if not looks:
            looks.append(void)
            fresh.append(first.__enter__())
        return void

    fresh, first = [], Store(tmp_path, stale=5).claim("x")
    store._is_void = late
    with store.claim("x") as ours:
        assert (looks, fresh, ours) == ([True], [True], False)
        with Store(tmp_path).claim("x") as third:
            assert not third
    first.__exit__(None, None, None)
    assert not list(claim.parent.iterdir())


def test_a_claim_that_another_took_over_is_not_taken_from_it(tmp_path):
    store, claim = Store(tmp_path, stale=5), tmp_path / "claims" / "x"
    other = json.dumps({"host": "elsewhere", "pid": 1, "mark": "theirs"})
    with store.claim("x") as ours:
        assert ours
        claim.write_text(other)
    assert claim.read_text() == other


def test_a_sign_of_life_for_a_claim_that_is_gone_is_no_error(tmp_path, monkeypatch):
    store, claim = Store(tmp_path), tmp_path / "claims" / "x"
    utime = os.utime

    def too_late(path):
        claim.unlink()  # another host, at the worst moment
        utime(path)

    with store.claim("x"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "utime", too_late)
            store.alive("x")
        store.alive("x")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "7", '{"host": "HERE"}', '{"host": "HERE", "pid": "x"}']
)
def test_a_claim_that_cannot_be_read_is_void_once_it_is_stale(tmp_path, text):
    store, claim = Store(tmp_path, stale=5), tmp_path / "claims" / "x"
    claim.write_text(text.replace("HERE", os.uname().nodename))
    with store.claim("x") as ours:
        assert not ours
    os.utime(claim, (time.time() - 100,) * 2)
    with store.claim("x") as ours:
        assert ours


def owner_of_a_claim(store):
    with store.claim("of-ours"):
        return json.loads((store.root / "claims" / "of-ours").read_text())


def dead_process():
    command = [sys.executable, "-c", "import os; print(os.getpid())"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_claim_of_an_earlier_process_of_our_number_is_void_at_once(tmp_path):
    store = Store(tmp_path)
    left = owner_of_a_claim(store) | {"mark": "of a process that was killed"}
    (tmp_path / "claims" / "x").write_text(json.dumps(left))
    with store.claim("x") as ours:
        assert ours


def test_a_claim_of_a_dead_process_of_this_host_is_void_at_once(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "claims" / "x").write_text(
        json.dumps(owner_of_a_claim(store) | {"pid": dead_process()})
    )
    with store.claim("x") as ours:
        assert ours


def test_a_process_of_another_container_is_not_taken_for_dead(tmp_path):
    store = Store(tmp_path)
    elsewhere = owner_of_a_claim(store) | {"pid": dead_process(), "space": "pid:[1]"}
    (tmp_path / "claims" / "x").write_text(json.dumps(elsewhere))
    with store.claim("x") as ours:
        assert not ours


def test_an_interrupt_right_after_claiming_leaves_no_claim(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", interrupted)
        with pytest.raises(KeyboardInterrupt), store.claim("x"):
            pass
    with store.claim("x") as ours:
        assert ours


def test_an_event_after_a_line_cut_short_is_kept(tmp_path):
    store = Store(tmp_path)
    store.note(event="first")
    with store.journal.open("a") as journal:
        journal.write('{"event": "embed')
    store.note(event="second")
    store.note(event="third")
    assert [e["event"] for e in read_journal(store.journal)] == ["first", "second", "third"]
    assert len(store.journal.read_text().splitlines()) == 4


def test_of_two_first_self_tests_with_other_models_one_is_refused(tmp_path, monkeypatch):
    load, loads = Store.load, []

    def both_find_nothing(self, name, count):
        loads.append(name)
        return load(self, name, count) if len(loads) > 2 else None

    monkeypatch.setattr(Store, "load", both_find_nothing)
    audit(Counting(), tmp_path).sweep.test_model()
    with pytest.raises(ModelError, match="embeddings of another model under the name 'model'"):
        audit(lambda x: -Counting()(x), tmp_path).sweep.test_model()


@pytest.mark.parametrize("linked", [True, False])
def test_what_was_settled_first_stays_unless_it_is_broken(tmp_path, monkeypatch, linked):
    def no_links(*_):
        raise PermissionError

    if not linked:
        monkeypatch.setattr(os, "link", no_links)
    store, one = Store(tmp_path), np.ones((2, 3), np.float32)
    assert (store.settle("x", one) == 1).all()
    assert (store.settle("x", 2 * one) == 1).all()
    store.path("x").write_bytes(b"broken")
    assert (store.settle("x", 3 * one) == 3).all()
    assert (store.load("x", 2) == 3).all()
    assert [path.name for path in (tmp_path / "embeddings").iterdir()] == ["x.npy"]


@pytest.mark.parametrize("damage", ["zip", "cut header", "archive", "count"])
def test_no_damage_to_a_file_ends_a_run(tmp_path, damage):
    store, one = Store(tmp_path), np.ones((2, 3), np.float32)
    store.save("x", one)
    np.savez(tmp_path / "x.npz", one)
    path, whole = store.path("x"), store.path("x").read_bytes()
    path.write_bytes({
        "zip": b"PK\x03\x04" + whole[4:],
        "cut header": whole.replace(b"(2, 3)", b"((((((", 1),
        "archive": (tmp_path / "x.npz").read_bytes(),
        "count": whole.replace(b"(2, 3), }           ", b"(2, 99999999999), } ", 1),
    }[damage])  # fmt: skip
    assert path.read_bytes() != whole
    assert store.load("x", 2) is None
    assert not store.has("x", 2)


def test_a_broken_file_is_embedded_anew(tmp_path):
    first = saved(audit(Counting(), tmp_path / "run").run(), tmp_path)
    files = sorted((tmp_path / "run" / "embeddings").glob("*.npy"))
    for path in files:
        path.write_bytes(path.read_bytes()[:-9])
    embed = Counting()
    assert saved(audit(embed, tmp_path / "run", selftest=False).run(), tmp_path) == first
    assert embed.seen == 24 * 7


def test_another_model_of_the_same_name_is_found_out(tmp_path):
    audit(Counting(), tmp_path).run()
    other = Audit(
        lambda x: np.tanh(x.reshape(len(x), -1) / 30.0 - 4), small_data(), [gaussian_blur([5])],
        Verification("accuracy"), cache=tmp_path,
    )  # fmt: skip
    with pytest.raises(ModelError, match="embeddings of another model under the name 'model'"):
        other.run()
    audit(Counting(), tmp_path, model="other").run()


def test_seed_data_and_model_name_tell_the_files_apart(tmp_path):
    embed = Counting()
    for options in ({}, {"seed": 1}, {"data": small_data(seed=1)}, {"model": "b"}):
        before = embed.seen
        audit(embed, tmp_path, selftest=False, **options).run()
        assert embed.seen - before >= 24 * 6, options


def test_not_to_resume_refuses_a_folder_that_is_in_use(tmp_path):
    audit(Counting(), tmp_path).run(resume=False)
    with pytest.raises(DataError, match="holds embeddings: use resume=True, or another folder"):
        audit(Counting(), tmp_path).run(resume=False)


def test_embeddings_made_elsewhere_give_the_same_result(tmp_path):
    cells = {}
    for name, level, _, images in perturbed(small_data(), LEVELS, batch=10):
        cells.setdefault(Precomputed.name(name, level), []).append(Counting()(frozen_view(images)))
    for name, parts in cells.items():
        np.save(tmp_path / f"{name}.npy", np.concatenate(parts))
    theirs = audit(Precomputed(tmp_path))
    assert saved(theirs.run(), tmp_path) == saved(audit(Counting()).run(), tmp_path)
    assert theirs.spent.sweep == 0
    with pytest.raises(DataError, match=r"'gaussian_blur@1\.0' must have 24 embeddings, got 3"):
        audit(
            Precomputed(
                {"clean": np.concatenate(cells["clean"]), "gaussian_blur@1.0": np.ones((3, 192))}
            )
        ).run()
    with pytest.raises(DataError, match=r"no embeddings 'gaussian_blur@1\.0'"):
        audit(Precomputed({"clean": np.concatenate(cells["clean"])})).run()
    with pytest.raises(DataError, match="cannot be read as embeddings"):
        audit(Precomputed(tmp_path / "nowhere")).run()


@pytest.mark.parametrize(
    ("embed", "text"),
    [
        (lambda x: np.ones(len(x)), r"must return \(8, d\) for a batch, got \(8,\)"),
        (lambda x: np.ones((len(x) - 1, 2)), r"must return \(8, d\) for a batch, got \(7, 2\)"),
        (lambda x: np.ones((len(x), 2), int), "floating point numbers, got int64"),
        (lambda x: np.where(np.arange(len(x))[:, None] == 2, np.nan, 1.0), "image 2 holds NaN"),
        (lambda x: np.where(np.arange(len(x))[:, None] == 2, 0.0, 1.0), "image 2 is zero"),
        (lambda x: np.full((len(x), 1), 1e300), "image 0 holds NaN or infinity"),
        (lambda x: np.ones((len(x), 2 + (len(x) < 8))), "returned 3 numbers for 0, and 2 before"),
        (lambda x: x.reshape(len(x), -1) - x.mean() * 1.0, "in training mode"),
    ],
)
def test_says_what_is_wrong_with_the_models_answer(embed, text):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (8, 4, 4, 3)) * np.linspace(0, 1, 8)[:, None, None, None]
    data = Faces.from_arrays(images.astype(np.uint8), list("aabbccdd"), {"tone": list("xxxxyyyy")})
    with pytest.raises(ModelError, match=text):
        audit(embed, data=data).run()


def test_a_model_cannot_write_to_its_input():
    def careless(images):
        images[:] = 0
        return Counting()(images)

    with pytest.raises(ValueError, match="read-only"):
        audit(careless).run()


def test_says_what_an_audit_lacks():
    with pytest.raises(DataError, match="needs a perturbation"):
        Audit(Counting(), small_data(), [])
    with pytest.raises(DataError, match="two perturbations are called 'gaussian_blur'"):
        Audit(Counting(), small_data(), [gaussian_blur([1]), gaussian_blur([2])])
    with pytest.raises(DataError, match=r"no attribute 'age'; there are \['tone'\]"):
        Audit(Counting(), small_data(), LEVELS, groups=["age"])
    with pytest.raises(DataError, match="must have an attribute to group by"):
        Audit(Counting(), Faces.from_arrays(np.zeros((2, 2, 2), np.uint8)), LEVELS)


def test_forced_choice_runs_through_the_same_doors():
    result = audit(Counting(), protocol=ForcedChoice(k=3, impostors="within")).run()
    assert set(result.counts.hits) == {"3-AFC", "3-AFC@tone"}
    assert result.counts.rate("3-AFC", np.ones(8, bool))[0] > 0.9

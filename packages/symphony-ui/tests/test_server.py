"""The live page: who is let in, what is served, what may be changed."""

import json
import socket
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import symphony_ui as sui
from starlette.testclient import TestClient
from symphony_ui.errors import SymphonyError
from symphony_ui.server import App, is_local
from symphony_ui.state import State

HOST = {"host": "127.0.0.1:8000"}
ORIGIN = {"origin": "http://127.0.0.1:8000"}


class Violin(sui.Component):
    esm = "export default { render() {} }"


@pytest.fixture
def page():
    rng = np.random.default_rng(0)
    table = {"image": list(rng.integers(0, 255, (4, 5, 5)).astype(np.uint8)), "x": [1.0, 2, 3, 4]}
    return sui.Page(table, [sui.Table(), Violin()])


@pytest.fixture
def client(page):
    app = App(page, "secret", 8000, {"127.0.0.1", "localhost"})
    made = TestClient(app.asgi, base_url="http://127.0.0.1:8000", headers=HOST)
    made.cookies.set("symphony-8000", "secret")
    return made


def post(client, path, body, **headers):
    return client.post(path, json=body, headers={**HOST, **ORIGIN, **headers})


def test_the_token_becomes_a_cookie_and_leaves_the_address(client):
    client.cookies.clear()
    answer = client.get("/?token=secret", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("path", ["/", "/spec", "/symphony.js", "/block/data", "/m/0/0", "/events"])
def test_without_the_token_nothing_is_served(client, path):
    client.cookies.clear()
    assert client.get(path).status_code == 403
    assert client.get(f"{path}?token=wrong").status_code == 403
    client.cookies.set("symphony-8000", "wrong")
    assert client.get(path).status_code == 403


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:8000", "127.0.0.1", "127.0.0.1:81", ""]
)
def test_another_host_is_refused_even_with_the_cookie(client, host):
    assert client.get("/spec", headers={"host": host}).status_code in (400, 403)


@pytest.mark.parametrize("origin", [None, "null", "http://example.org", "https://127.0.0.1:8000"])
def test_only_the_page_itself_may_change_anything(client, page, origin):
    body = {"state": State(group_by=("x",)).to_json(), "origin": "b", "seq": 1}
    headers = dict(HOST) if origin is None else {**HOST, "origin": origin}
    for path in ("/state", "/query", "/annotations"):
        assert client.post(path, json=body, headers=headers).status_code == 403
    assert page.state == State()


def test_bodies_of_another_kind_or_size_are_refused(client):
    plain = {**HOST, **ORIGIN, "content-type": "text/plain"}
    assert client.post("/state", content="{}", headers=plain).status_code == 415
    assert post(client, "/state", {"x": "a" * 2_000_000}).status_code == 413
    assert client.put("/state", headers={**HOST, **ORIGIN}).status_code == 405
    for raw in (b"{", b"[" * 100_000, b"\xff"):
        answer = client.post(
            "/state", content=raw, headers={**HOST, **ORIGIN, "content-type": "application/json"}
        )
        assert answer.status_code == 400


def test_the_page_its_blocks_and_its_modules_are_served_with_strict_headers(client, page):
    spec = client.get("/spec")
    assert spec.json()["host"] == "live"
    assert spec.json()["custom"] == {"violin": {}}
    assert client.get("/block/data").content == page.block("data")
    assert client.get("/block/media:image").content == page.block("media:image")
    assert client.get("/custom/violin.js").text == Violin.esm
    assert client.get("/symphony.js").headers["content-type"].startswith("text/javascript")
    for path in ("/", "/spec", "/block/data", "/nothing", "/m/9/9"):
        headers = client.get(path).headers
        if path != "/nothing":
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    ["/block/nope", "/custom/nope.js", "/m/1/0", "/m/9/0", "/m/0/9", "/m/-1/0",
     "/m/0/..%2f..%2fetc%2fpasswd", "/static/symphony.js", "/m/0/99999999999999999999"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client, path):
    assert client.get(path).status_code == 404


def test_media_come_whole_or_in_a_range(client, page):
    mime, raw = page.table.media["image"].item(2)
    whole = client.get("/m/0/2")
    assert (whole.content, whole.headers["content-type"]) == (raw, mime)
    for wanted, status, content in (
        ("bytes=2-5", 206, raw[2:6]),
        ("bytes=-3", 206, raw[-3:]),
        ("bytes=10-", 206, raw[10:]),
        ("bytes=0-99999", 206, raw),
        ("bytes=99999-", 416, b""),
        ("bytes=1-2,4-5", 200, raw),
        ("bytes=a-b", 200, raw),
    ):
        answer = client.get("/m/0/2", headers={**HOST, "range": wanted})
        assert (answer.status_code, answer.content) == (status, content), wanted
    assert client.head("/m/0/2").headers["content-length"] == str(len(raw))


def test_states_queries_and_annotations_are_taken(client, page):
    state = State.from_json({"v": 1, "filter": [">", "x", 1.5]})
    assert post(client, "/state", {"state": state.to_json(), "origin": "b", "seq": 1}).json() == {}
    assert page.visible.tolist() == [False, True, True, True]
    asked = {"state": state.to_json(), "queries": [{"kind": "count"}]}
    assert post(client, "/query", asked).json() == {"results": [{"all": 4, "visible": 3}]}
    assert (
        post(client, "/annotations", {"row": [1], "label": ["a"], "note": [""]}).status_code == 200
    )
    assert page.annotations["row"] == [1]
    for path, body in (
        ("/state", {"state": {"v": 3}, "origin": "b", "seq": 9}),
        ("/query", {"state": {"v": 1}, "queries": [{"kind": "nope"}]}),
        ("/query", []),
        ("/annotations", {"row": [77], "label": ["a"], "note": [""]}),
    ):
        answer = post(client, path, body)
        assert answer.status_code == 400
        assert answer.text


def test_a_real_server_tells_every_client_of_every_change(page):
    with page.serve() as server:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert b"symphony-page" in opener.open(server.url).read()
        streams = [opener.open(f"{server.address}events") for _ in range(3)]

        def message(stream):
            kind = stream.readline().decode().strip()
            data = json.loads(stream.readline().decode().removeprefix("data: "))
            stream.readline()
            return kind, data

        assert [message(stream)[1]["origin"] for stream in streams] == ["server"] * 3
        page.filter = "x > 2"
        for stream in streams:
            kind, data = message(stream)
            assert kind == "event: state"
            assert data["state"]["filter"] == [">", "x", 2]
        page.annotate(0, "good")
        assert message(streams[0]) == (
            "event: annotations", {"row": [0], "label": ["good"], "note": [""]},
        )  # fmt: skip
        errors = []

        def many():
            try:
                for _ in range(5):
                    opener.open(f"{server.address}block/data").read()
            except OSError as error:
                errors.append(error)

        threads = [threading.Thread(target=many) for _ in range(10)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not errors
        [stream.close() for stream in streams]
        address = server.address
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(address, timeout=2)


def test_it_listens_on_this_machine_only_and_frees_its_port(page):
    server = page.serve()
    assert server._socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(SymphonyError, match="cannot listen"):
        page.serve(port=server.port)
    server.close()
    again = page.serve(port=server.port)
    assert again.token != server.token
    again.close()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", server.port))
    assert is_local("::1")
    assert not is_local("0.0.0.0")

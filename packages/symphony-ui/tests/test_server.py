"""The live page: who is let in, what is answered, who hears of a change."""

import asyncio
import json
import os
import socket
import threading
import time

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from symphony_ui import routes, server
from symphony_ui.components import Component, Scatter, Table
from symphony_ui.errors import SymphonyError
from symphony_ui.media import Audio, Image
from symphony_ui.page import Page
from symphony_ui.responses import ranged
from symphony_ui.routes import App

PORT, TOKEN = 5005, "t" * 43
BASE = f"http://127.0.0.1:{PORT}"
SECURE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Violin(Component):
    esm = "export default { render() {} }"
    column: str


def make_page(n=6, **options):
    rng = np.random.default_rng(0)
    data = {
        "x": np.arange(n) / 10,
        "label": ["a", "b"] * (n // 2),
        "p": list(rng.integers(0, 255, (n, 4, 4), dtype=np.uint8)),
    }
    return Page(data, [[Scatter("x", "x"), Violin("x"), Table()]], title="Live", **options)


@pytest.fixture
def page():
    return make_page()


def client(page, base=BASE, names=("127.0.0.1", "localhost", "[::1]"), cookie=TOKEN, **options):
    app = App(page, TOKEN, PORT, set(names))
    cookies = {} if cookie is None else {f"symphony-{PORT}": cookie}
    return TestClient(app.asgi, base_url=base, cookies=cookies, follow_redirects=False, **options)


@pytest.fixture
def web(page):
    return client(page)


def post(web, path, body, **headers):
    headers = {"Origin": BASE, "Content-Type": "application/json", **headers}
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return web.post(path, content=content, headers=headers)


def message(seq=1, origin="view-1", **changes):
    return {"state": {"v": 1, **changes}, "origin": origin, "seq": seq}


READ = ("/", "/spec", "/symphony.js", "/symphony.css", "/block/data", "/m/2/0", "/custom/violin.js")
WRITTEN = ("/state", "/query", "/annotations")


# who is let in


@pytest.mark.parametrize("path", [*READ, "/events", "/nowhere"])
@pytest.mark.parametrize("cookie", [None, "", "wrong", TOKEN[:-1], TOKEN + "t", TOKEN.upper()])
def test_without_the_token_nothing_is_shown(page, path, cookie):
    answer = client(page, cookie=cookie).get(path)
    assert answer.status_code == 403
    assert "token" in answer.text


@pytest.mark.parametrize("path", WRITTEN)
def test_without_the_token_nothing_is_changed(page, path):
    assert post(client(page, cookie=None), path, message()).status_code == 403


def test_the_token_of_the_address_becomes_a_cookie_and_leaves_it(page):
    web = client(page, cookie=None)
    answer = web.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"symphony-{PORT}={TOKEN}")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert web.get("/").status_code == 200


def test_a_wrong_token_in_the_address_is_refused_even_with_the_cookie(web):
    assert web.get("/", params={"token": "wrong"}).status_code == 403
    assert web.get("/spec", params={"token": "é"}).status_code == 403


def test_a_redirect_leads_nowhere_but_to_the_page(page):
    answer = client(page, cookie=None).get("//evil.example/a", params={"token": TOKEN})
    assert answer.headers["location"] == "/"


HOSTS = ("evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", "",
         f"127.0.0.1.x:{PORT}", f"[::2]:{PORT}", f"localhost:{PORT}.evil", f"localhost:{PORT + 1}",
         f"@localhost:{PORT}")  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_under_another_host_nothing_is_shown_even_with_the_cookie(web, host):
    assert web.get("/spec", headers={"Host": host}).status_code == 403
    assert post(web, "/state", message(), Host=host).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_names_of_this_machine_are_let_in(page, host):
    web = client(page, base=f"http://{host}:{PORT}")
    cookie = {"Cookie": f"symphony-{PORT}={TOKEN}"}
    assert web.get("/spec", headers=cookie).status_code == 200
    headers = {**cookie, "Origin": f"http://{host}:{PORT}", "Content-Type": "application/json"}
    assert web.post("/state", content=json.dumps(message()), headers=headers).status_code == 200


def test_a_host_that_was_named_is_let_in(page):
    web = client(page, names={"127.0.0.1", "Lab.Example"})
    assert web.get("/spec", headers={"Host": f"lab.example:{PORT}"}).status_code == 200
    assert web.get("/spec", headers={"Host": f"localhost:{PORT}"}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", f"https://127.0.0.1:{PORT}", "http://127.0.0.1",
               f"http://127.0.0.1:{PORT + 1}", f"http://127.0.0.1:{PORT}.evil", f"{BASE}/", "file://"]
)  # fmt: skip
@pytest.mark.parametrize("path", WRITTEN)
def test_only_the_page_itself_may_change_it(page, web, origin, path):
    assert post(web, path, message(filter=["all"]), Origin=origin).status_code == 403
    assert page.filter is None


def test_a_post_without_an_origin_is_refused(web):
    answer = web.post("/state", json=message())
    assert answer.status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_taken(web, kind):
    assert post(web, "/state", message(), **{"Content-Type": kind}).status_code == 415
    assert (
        post(
            web, "/state", message(), **{"Content-Type": "application/json; charset=utf-8"}
        ).status_code
        == 200
    )


@pytest.mark.parametrize("path", READ)
def test_every_answer_forbids_what_it_does_not_need_and_allows_no_other_site(web, path):
    answer = web.get(path)
    assert answer.status_code == 200
    for name, value in SECURE.items():
        assert answer.headers[name] == value
    rules = answer.headers["content-security-policy"]
    assert "default-src 'none'" in rules
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_the_page_s_policy_allows_only_what_it_serves(web):
    rules = dict(
        r.split(" ", 1) for r in web.get("/").headers["content-security-policy"].split("; ")
    )
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(web, method):
    assert web.request(method, "/spec", headers={"Origin": BASE}).status_code == 405


def test_reading_changes_nothing_and_writing_reads_nothing(page, web):
    before = page.state
    for path in (*READ, *WRITTEN):
        web.get(path, params={"filter": "x"})
    assert page.state == before
    assert [web.get(path).status_code for path in WRITTEN] == [405] * 3
    assert [post(web, path, {}).status_code for path in READ] == [405] * len(READ)


# what is read


def test_the_spec_is_the_page_s_without_the_text_of_modules(page, web):
    spec = web.get("/spec").json()
    assert spec["host"] == "live"
    assert spec["custom"] == {"violin": {}}
    assert spec["columns"] == json.loads(json.dumps(page.engine.specs()))


def test_modules_blocks_and_assets_are_served_as_they_are(page, web):
    assert web.get("/custom/violin.js").text == Violin.esm
    assert web.get("/custom/violin.js").headers["content-type"].startswith("text/javascript")
    assert web.get("/block/data").content == page.block("data")
    assert web.get("/block/media:p").content == page.block("media:p")
    assert web.get("/symphony.js").text.startswith("/* symphony-ui")
    assert '<div id="symphony-page" class="symphony"></div>' in web.get("/").text


def test_a_block_of_any_name_is_found():
    name = "a/b ../?#\u00e9"
    page = Page({"x": [1]}, media={name: Image([None])})
    quoted = "".join(f"%{byte:02x}" for byte in f"media:{name}".encode())
    assert client(page).get("/block/" + quoted).content == page.block(f"media:{name}")


@pytest.mark.parametrize(
    "path",
    ["/block/none", "/block/media:none", "/block/", "/custom/none.js", "/custom/", "/m/0/0",
     "/m/2/6", "/m/9/0", "/m/2/-1", "/m/-1/0", f"/m/2/{'9' * 30}", f"/m/{'9' * 30}/0", "/m/2/x",
     "/m/0/..%2f..%2fetc%2fpasswd", "/m/2/%2e%2e%2f0", "/..%2f..%2fetc%2fpasswd",
     "/static/symphony.js", "/custom/..%2fsymphony.js", "/spec/"],
)  # fmt: skip
def test_what_there_is_not_is_404(web, path):
    assert web.get(path).status_code in (404, 307)
    assert web.get(path).status_code == 404 or path == "/spec/"


def test_media_are_served_by_column_and_row(page, web):
    answer = web.get("/m/2/3")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == page.table.media["p"].item(3)[1]
    assert "sandbox" in answer.headers["content-security-policy"]


def test_media_outside_their_root_are_404_and_say_nothing_of_it(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    secret = tmp_path / "secret.png"
    secret.write_bytes(make_page().table.media["p"].item(0)[1])
    os.symlink(secret, root / "link.png")
    (root / "in.png").write_bytes(secret.read_bytes())
    (root / "page.html").write_text("<script>")
    names = ["in.png", "../secret.png", "link.png", "page.html", "none.png", None]
    page = Page({"f": names}, media={"f": Image(root=root)})
    answers = [client(page).get(f"/m/0/{row}") for row in range(6)]
    assert [answer.status_code for answer in answers] == [200, 404, 404, 404, 404, 404]
    assert not any("secret" in a.text or str(tmp_path) in a.text for a in answers[1:])


def test_media_of_a_type_that_is_not_shown_are_404():
    class Strange(Image):
        def item(self, value):
            return "text/html", b"<script>"

    assert client(Page({"x": [1]}, media={"m": Strange([1])})).get("/m/1/0").status_code == 404


def test_head_says_what_get_would(web):
    for path in READ:
        got, head = web.get(path), web.head(path)
        assert head.status_code == 200
        assert head.headers["content-length"] == str(len(got.content))
        assert not head.content
    assert web.head("/events").status_code == 200


def test_sounds_are_served_in_ranges():
    page = Page({"x": [1]}, media={"s": Audio([np.sin(np.arange(500))], rate=8000)})
    raw = page.table.media["s"].item(0)[1]
    web = client(page)
    assert web.get("/m/1/0").headers["accept-ranges"] == "bytes"
    answer = web.get("/m/1/0", headers={"Range": "bytes=10-19"})
    assert answer.status_code == 206
    assert answer.content == raw[10:20]
    assert answer.headers["content-range"] == f"bytes 10-19/{len(raw)}"
    assert web.get("/m/1/0", headers={"Range": "bytes=-5"}).content == raw[-5:]
    beyond = web.get("/m/1/0", headers={"Range": f"bytes={len(raw)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(raw)}")


@given(st.binary(max_size=20), st.integers(0, 30), st.none() | st.integers(0, 30))
def test_a_range_is_the_slice_that_http_says(body, first, last):
    answer = ranged(f"bytes={first}-{'' if last is None else last}", body, "audio/wav")
    expected = body[first : None if last is None else last + 1]
    if expected:
        assert answer.status_code == 206
        assert answer.body == expected
        assert answer.headers["content-range"] == (
            f"bytes {first}-{first + len(expected) - 1}/{len(body)}"
        )
    else:
        assert answer.status_code == 416


@given(st.text(max_size=20) | st.from_regex(r"bytes=[-0-9,a]*", fullmatch=True))
def test_any_range_header_gets_an_answer(wanted):
    assert ranged(wanted, b"0123456789", "audio/wav").status_code in (200, 206, 416)


# what is changed


def test_a_state_from_the_page_reaches_python(page, web):
    assert post(web, "/state", message(filter=[">=", "x", 0.3])).json() == {}
    assert page.visible.tolist() == [False] * 3 + [True] * 3


def test_queries_are_answered(page, web):
    body = {"state": {"v": 1, "filter": ["==", "label", "a"]}, "queries": [{"kind": "count"}]}
    assert post(web, "/query", body).json() == {"results": [{"all": 6, "visible": 3}]}
    assert page.filter is None


def test_annotations_reach_python(page, web):
    given = {"row": [1, 4], "label": ["odd", ""], "note": ["", "see"]}
    assert post(web, "/annotations", given).status_code == 200
    assert page.annotations == given


@pytest.mark.parametrize("path", WRITTEN)
@pytest.mark.parametrize(
    "body",
    [
        "", "no json", "[" * 100_000, "3", "null", "[]", "{}", '"text"', b"\xff\xfe",
        '{"state": NaN}', '{"state": {"v": 1, "filter": ["==", "no", 1]}, "origin": "a", "seq": 1}',
        '{"row": [6], "label": [""], "note": [""], "state": {"v": 2}}',
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_400_and_changes_nothing(page, web, path, body):
    before = page.state, page.annotations
    answer = post(web, path, body)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert (page.state, page.annotations) == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
    | st.sampled_from(["count", "hist", "rows", "groups", "matrix", "x", "label", "v"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["kind", "view", "column", "bins", "type", "lo", "hi", "n", "levels",
                         "by", "limit", "offset", "sort", "columns", "scope", "where", "x", "y"]),
        inner, max_size=6),
    max_leaves=12,
)  # fmt: skip
kinds = st.sampled_from(["count", "hist", "rows", "groups", "matrix"])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(kinds, json_values), max_size=2), json_values)
def test_any_query_is_answered_or_refused(queries, rest):
    web = CLIENT
    asked = [{**(q if isinstance(q, dict) else {}), "kind": kind} for kind, q in queries]
    state = rest if isinstance(rest, dict) and "v" in rest else {"v": 1}
    answer = post(web, "/query", {"state": state, "queries": asked})
    assert answer.status_code in (200, 400)


CLIENT = client(make_page())


def test_a_body_that_is_too_large_is_refused_whatever_length_it_claims(page, web, monkeypatch):
    large = b'{"a": "' + b"x" * (routes.BODY + 100) + b'"}'
    assert post(web, "/state", large).status_code == 413

    def parts():
        yield large[:1000]
        yield large[1000:]

    headers = {"Origin": BASE, "Content-Type": "application/json"}
    assert web.post("/state", content=parts(), headers=headers).status_code == 413
    assert post(web, "/state", message(), **{"Content-Length": "x"}).status_code == 413


def test_a_selection_of_every_row_fits_into_a_request():
    page = Page({"x": np.zeros(200_000)}, [Table()])
    page.selected = np.arange(0, 200_000)
    body = {"state": page.state.to_json(), "origin": "v", "seq": 1}
    assert post(client(page), "/state", body).status_code == 200


def test_a_body_that_does_not_come_is_given_up(page, monkeypatch):
    monkeypatch.setattr(routes, "PATIENCE", 0.05)
    app = App(page, TOKEN, PORT, {"127.0.0.1"})
    headers = {"host": f"127.0.0.1:{PORT}", "origin": BASE, "content-type": "application/json",
               "cookie": f"symphony-{PORT}={TOKEN}"}  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": "/state", "raw_path": b"/state",
             "query_string": b"", "scheme": "http", "server": ("127.0.0.1", PORT), "root_path": "",
             "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}  # fmt: skip
    sent = []

    async def receive():
        await asyncio.sleep(10)

    async def send(part):
        sent.append(part)

    asyncio.run(asyncio.wait_for(app.asgi(scope, receive, send), 5))
    assert sent[0]["status"] == 408


# a server of its own

PLAIN = {"trust_env": False, "verify": False}


class Events:
    """The messages of an event stream, as they come."""

    def __init__(self, http):
        self.http, self.found, self.ready = http, [], threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        assert self.ready.wait(5)

    def _read(self):
        with self.http.stream("GET", "/events", timeout=20) as answer:
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    self.found.append((kind, json.loads(line[6:])))
                    self.ready.set()

    def wait(self, count):
        end = time.monotonic() + 5
        while len(self.found) < count and time.monotonic() < end:
            time.sleep(0.005)
        return self.found


def opened(live):
    http = httpx2.Client(base_url=live.address, follow_redirects=True, **PLAIN)
    assert http.get(live.url).status_code == 200
    return http


def origin(live):
    return {"Origin": live.address.rstrip("/")}


def test_two_clients_of_a_real_server_stay_in_step_and_closing_frees_the_port(page):
    with page.serve() as live:
        assert live.url.startswith(f"http://127.0.0.1:{live.port}/?token=")
        assert str(live) == f"Server({live.url})"
        assert httpx2.get(live.address, **PLAIN).status_code == 403
        one, two = opened(live), opened(live)
        heard = Events(one), Events(two)
        for events in heard:
            kind, first = events.found[0]
            assert kind == "state"
            assert first == {"state": page.state.to_json(), "origin": "server", "seq": 0}
        changed = message(selection={"rows": "AQ=="})
        assert one.post("/state", json=changed, headers=origin(live)).status_code == 200
        page.filter = "x >= 0.2"
        given = {"row": [2], "label": ["odd"], "note": ["</script>\n\u2028"]}
        assert two.post("/annotations", json=given, headers=origin(live)).status_code == 200
        for events in heard:
            found = events.wait(4)
            assert [kind for kind, _ in found] == ["state", "state", "state", "annotations"]
            assert (found[1][1]["origin"], found[1][1]["seq"]) == ("view-1", 1)
            assert found[2][1]["origin"].startswith("python-")
            assert found[2][1]["state"] == page.state.to_json()
            assert found[3][1] == given
        assert page.selected.tolist() == [1]
        listening = socket.create_connection(("127.0.0.1", live.port))
        listening.close()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    for events in heard:
        events.thread.join(5)
        assert not events.thread.is_alive()
        events.http.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", live.port))
    page.filter = None  # nobody listens, and nothing breaks
    with page.serve(port=live.port) as again:
        assert again.port == live.port
        assert again.token != live.token


def test_fifty_clients_at_once_do_not_wait_for_each_other(page):
    with page.serve() as live:
        http = opened(live)
        cookies = dict(http.cookies)
        http.close()
        seen = []

        def ask(k):
            with httpx2.Client(base_url=live.address, cookies=cookies, **PLAIN) as own:
                sent = own.post("/state", json=message(k, f"v{k}"), headers=origin(live))
                seen.append((sent.status_code, own.get("/block/data").status_code))

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert seen == [(200, 200)] * 50


def test_a_client_that_falls_behind_is_let_go(page, monkeypatch):
    app = App(page, TOKEN, PORT, {"127.0.0.1"})
    monkeypatch.setattr(routes, "BEHIND", 3)

    async def run():
        app.loop = asyncio.get_running_loop()
        stream = app._stream()
        first = await anext(stream)
        for k in range(5):
            page.selected = [k]
            await asyncio.sleep(0)
        return first, [text async for text in stream], len(app._clients)

    first, rest, clients = asyncio.run(asyncio.wait_for(run(), 5))
    assert first.startswith("event: state\ndata: ")
    assert len(rest) == 3
    assert clients == 0


def test_a_stream_gives_signs_of_life(page, monkeypatch):
    app = App(page, TOKEN, PORT, {"127.0.0.1"})
    monkeypatch.setattr(routes, "PING", 0.01)

    async def run():
        stream = app._stream()
        await anext(stream)
        return await anext(stream)

    assert asyncio.run(asyncio.wait_for(run(), 5)) == ": still here\n\n"


def test_a_port_that_is_taken_is_said(page):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SymphonyError, match=f"cannot listen on 127.0.0.1, port {port}"):
            page.serve(port=port)


@pytest.mark.parametrize("port", [-1, 70_000, "http", None])
def test_a_port_that_is_none_is_said(page, port):
    with pytest.raises(SymphonyError, match="cannot listen on 127"):
        page.serve(port=port)


def test_one_host_may_be_named_as_text(page):
    with page.serve(hosts="lab.example") as live:
        headers = {
            "Host": f"lab.example:{live.port}",
            "Cookie": f"symphony-{live.port}={live.token}",
        }
        assert httpx2.get(live.address, headers=headers, **PLAIN).status_code == 200
        headers["Host"] = f"l:{live.port}"
        assert httpx2.get(live.address, headers=headers, **PLAIN).status_code == 403


def test_only_this_machine_is_local():
    assert all(map(server.is_local, ("127.0.0.1", "localhost", "::1")))
    assert not any(map(server.is_local, ("0.0.0.0", "", "::", "lab.example", "127.0.0.1.x")))


def test_a_page_is_opened_in_a_browser_when_wanted(page, monkeypatch):
    import webbrowser

    found = []
    monkeypatch.setattr(webbrowser, "open", found.append)
    with page.serve(open_browser=True) as live:
        assert found == [live.url]

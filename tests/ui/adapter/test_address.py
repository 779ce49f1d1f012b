"""Where the page listens, to which names it answers, and that no proxy comes between."""

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from sd.common.validation import InputError
from sd.ui.adapter import address, hosts
from tests.helpers.serving import Server

ROOT = Path(__file__).parents[3]
NOTHING = address.Names("", "")
PROXIES = {
    "http_proxy": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "no_proxy": "::1,fe80::/10,localhost:80",
}


@pytest.fixture(name="pop_names")
def _taken() -> Iterator[int]:
    """The number of a port on which somebody listens already."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("port", ["99999", "0", "-1", "abc", "", "7860.5", "9" * 400, "²"])
def test_what_is_no_port_is_refused_under_the_name_by_which_it_came(port: str) -> None:
    with pytest.raises(InputError, match=r"^--port = .*: must be a whole number from 1 to 65535$"):
        address.check_address(None, port, NOTHING)
    if port:
        with pytest.raises(InputError, match=r"^GRADIO_SERVER_PORT = .*: must be a whole number"):
            address.check_address(None, None, address.Names("", port))


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "", " ", "x" * 300, "a\0b", "\ud800"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(InputError, match=r"^--host[ :]"):
        address.check_address(host, None, NOTHING)


def test_an_address_of_another_machine_is_refused() -> None:
    line = r"^GRADIO_SERVER_NAME = '192\.0\.2\.1', port 7999: this machine has no such address"
    with pytest.raises(InputError, match=line):
        address.check_address(None, "7999", address.Names("192.0.2.1", ""))


def test_a_port_in_use_is_refused(pop_names: int) -> None:
    line = rf"^--host = '127\.0\.0\.1', port {pop_names}: another program listens there"
    with pytest.raises(InputError, match=line):
        address.check_address("127.0.0.1", str(pop_names), NOTHING)


def test_a_port_that_only_others_may_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)  # root may; tests run as root too
    with pytest.raises(InputError, match=r"port 80: this user may not listen there; choose a --po"):
        address.check_address(None, "80", NOTHING)


def test_flags_are_stronger_than_the_environment_which_gradio_does_not_see(pop_names: int) -> None:
    environment = {"GRADIO_SERVER_NAME": "nobody.invalid", "GRADIO_SERVER_PORT": "abc", "X": "1"}
    named = address.pop_names(environment)
    assert environment == {"X": "1"} and named == ("nobody.invalid", "abc")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert address.check_address("127.0.0.1", str(free), named) == ("127.0.0.1", free)
    assert address.check_address(None, None, NOTHING) == ("127.0.0.1", None)


@pytest.mark.parametrize(
    ("host", "name"), [("::1", "[::1]"), ("[::1]", "[::1]"), ("::", "[::]"), ("0.0.0.0", "0.0.0.0")]
)
def test_addresses_are_written_as_in_a_url(host: str, name: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert address.check_address(host, None, NOTHING).server_name == name


def test_no_proxy_is_asked_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(Exception, match=r"socks|port"):  # what gradio would come to
        httpx.Client()
    with address.no_proxy():
        assert not httpx.Client()._mounts
    assert os.environ["no_proxy"] == PROXIES["no_proxy"] and "NO_PROXY" not in os.environ


# the names


@pytest.mark.parametrize(
    ("host", "names", "answered"),
    [
        ("127.0.0.1:7860", "", True),
        ("[::1]:7860", "", True),
        ("LocalHost:7860", "", True),
        ("localhost.", "", True),
        ("192.168.0.7", "", True),  # no domain of anybody's
        ("evil.example", "", False),
        ("127.0.0.1.evil.example:7860", "", False),
        ("localhost.evil.example", "", False),
        ("evil.example", "good.example, other.example", False),
        ("Good.Example:80", "good.example, other.example", True),
        ("evil.example", "*", True),
        ("a b", "", False),
        ("", "", False),
        ("::1", "", True),
        ("[::1].evil.example", "", False),
        ("[::1]evil.example", "", False),
        ("127.0.0.1:7860@evil.example", "", False),
        ("localhost:7860x", "", False),
    ],
)
def test_the_page_answers_to_its_own_names_alone(host: str, names: str, answered: bool) -> None:
    allowed = hosts.page_names("127.0.0.1", {"SD_HOSTS": names})
    assert hosts.is_allowed(host, allowed) == answered


def test_this_machines_name_counts_where_others_are_served() -> None:
    machine = socket.gethostname()
    assert hosts.is_allowed(machine, hosts.page_names("0.0.0.0", {}))
    assert hosts.is_allowed(machine, hosts.page_names("::", {}))
    assert hosts.is_allowed("desk.lan", hosts.page_names("desk.lan", {}))
    assert hosts.is_allowed(
        "me-sd.hf.space", hosts.page_names("::", {"SPACE_HOST": "me-sd.hf.space"})
    )


@pytest.mark.parametrize("header", ["host", "x-forwarded-host"])
def test_a_request_under_a_foreign_name_is_ended_in_one_line(header: str) -> None:
    reached: list[str] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    client = TestClient(hosts.Hosts(page, hosts.page_names("127.0.0.1", {})), "http://127.0.0.1")
    for name in ("evil.example", "127.0.0.1, evil.example", "<script>", "x" * 5000):
        if header == "host" and "," in name:
            continue
        refused = client.post("/gradio_api/upload", headers={header: name}, content=b"1" * 1000)
        assert refused.status_code == 421 and len(refused.text) < 200
        assert refused.headers["content-type"].startswith("text/plain")
        assert re.match(r"host = '.+: not a name of this page; SD_HOSTS adds one$", refused.text)
    assert not reached
    assert client.get("/", headers={header: "localhost:7860"}).status_code == 200


def test_a_page_that_cannot_open_says_one_line() -> None:
    line = [sys.executable, "app.py", "--port", "abc"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["::1", "::", "localhost", "0.0.0.0"])
def test_the_page_opens_behind_proxies_and_answers_to_its_names(home: Path, host: str) -> None:
    server = Server(home, home)
    server.env |= {**PROXIES, "GRADIO_SERVER_NAME": host, "GRADIO_SERVER_PORT": "abc"}
    server.address = f"http://{'[::1]' if ':' in host else '127.0.0.1'}:{server.port}/"
    server.start()
    try:
        asked = urllib.request.Request(server.address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=60)
        assert refused.value.code == 421
        assert "Traceback" not in server.told()
    finally:
        server.child.terminate()
        server.child.wait(20)

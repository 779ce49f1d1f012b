"""Where the page listens: host and port as a person gave them, tried before anything is built."""

import errno
import os
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from sd.common import validation
from sd.common.validation import InputError

HOST_NAME, PORT_NAME = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"
USUAL_HOST = "127.0.0.1"
LONGEST_HOST = 255
PROXY_FREE = ("NO_PROXY", "no_proxy")  # "*" in them: ask no proxy for anything
REASONS = {
    errno.EADDRINUSE: "another program listens there; choose another --port",
    errno.EACCES: "this user may not listen there; choose a --port from 1024 on",
    errno.EADDRNOTAVAIL: "this machine has no such address; --host 0.0.0.0 listens on all it has",
}


class Names(NamedTuple):
    """Host and port as the environment names them, unread; "" where it does not."""

    host: str
    port: str


class Address(NamedTuple):
    """Where to listen. port: None is the first free one from 7860."""

    host: str
    port: int | None

    @property
    def server_name(self) -> str:
        """The host as gradio makes an address of it: an IPv6 one in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host


def pop_names(environment: MutableMapping[str, str]) -> Names:
    """Take host and port out of the environment, where gradio would read them.

    Its import fails on a port that is no number, and it tries a port on the host named there
    instead of the one that it is told. To be called before that import.
    """
    return Names(environment.pop(HOST_NAME, ""), environment.pop(PORT_NAME, ""))


def check_address(host: str | None, port: str | None, named: Names) -> Address:
    """Return where to listen, by the flags, else the names in the environment.

    Raises `InputError` for a port that is none, a host that is not known or not this machine's, and
    where nobody may listen now.
    """
    number = None
    if port is not None or named.port:
        label, given = ("--port", port) if port is not None else (PORT_NAME, named.port)
        number = validation.whole(label, int(given) if _is_number(given) else given, 1, 65535)
    label = "--host" if host is not None else HOST_NAME
    host = (named.host or USUAL_HOST) if host is None else host
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    found = _resolve(label, host, number or 0)
    there = [address for address in found if not _listen_fault(address)]
    if not there:
        place = f"{label} = {validation.shown(host)}{f', port {number}' if number else ''}"
        raise InputError(f"{place}: {_listen_fault(found[0])}")
    if len(there) < len(found):  # a name with an address that is not this machine's, as ::1 may be
        host = str(there[0][4][0])
    return Address(host, number)


def _is_number(text: str | None) -> bool:
    return text is not None and text.isascii() and text.strip("+-").isdigit() and len(text) < 20


def _resolve(label: str, host: str, port: int) -> list[tuple[Any, ...]]:
    """Return what the system knows of a host; `InputError` if nothing."""
    validation.text(label, host, LONGEST_HOST)
    try:
        if not host.strip():
            raise ValueError("nothing is named")
        flags = socket.AI_PASSIVE
        return list(dict.fromkeys(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)))
    except (OSError, ValueError) as error:  # UnicodeError for what can be no name is one
        reason = getattr(error, "strerror", None) or "not a name"
        raise InputError(
            f"{label} = {validation.shown(host)}: must be an address or name of "
            f"this machine ({reason})"
        ) from None


def _listen_fault(address: tuple[Any, ...]) -> str:
    """Return why nobody can listen at an address now, or nothing."""
    family, kind, protocol, _, where = address
    try:
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # as the server will
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(where)
            probe.listen(1)
    except OSError as error:
        return REASONS.get(error.errno or 0, error.strerror or str(error))
    return ""


@contextmanager
def no_proxy() -> Iterator[None]:
    """Let no proxy of the environment stand between this process and itself meanwhile.

    gradio makes a client of httpx when it is imported and asks its own address by one at launch;
    httpx would send that to `http_proxy`, needs a package more for socks and stumbles over an IPv6
    network in `no_proxy`.
    """
    before = {name: os.environ.get(name) for name in PROXY_FREE}
    os.environ.update(dict.fromkeys(PROXY_FREE, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

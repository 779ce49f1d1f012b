"""Which names the page answers to: a web page elsewhere must not reach it under a name of its own.

Whoever owns a domain can let it point to 127.0.0.1 (DNS rebinding); a browser that looks at a page
there then takes this one for part of it. Only the name in the request tells the two apart.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from sd.common import validation
from sd.ui.adapter.requests import Refusal, refuse

MISDIRECTED = 421
HOST_HEADERS = (b"host", b"x-forwarded-host")  # the second is what a proxy was asked for
ANY = "*"
HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]{0,5})?", re.ASCII)  # and a port


def page_names(host: str, environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Return the names to which a page that listens on `host` answers beside IP addresses.

    `localhost`, the host itself, a Space's own name (SPACE_HOST) and those in SD_HOSTS; where it
    listens beyond this machine, that machine's name too. "*" is any.
    """
    names = {"localhost", host, environment.get("SPACE_HOST", "")}
    names |= set(environment.get("SD_HOSTS", "").split(","))
    if not is_local(host):
        machine = socket.gethostname()
        names |= {machine, f"{machine.partition('.')[0]}.local", machine.partition(".")[0]}
    return frozenset(filter(None, map(bare_host, names)))


def is_local(host: str) -> bool:
    """Tell whether a host can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return bare_host(host) == "localhost"


def bare_host(host: str) -> str:
    """Return a host as it is compared: without port, brackets, last dot and capitals."""
    host = host.strip().lower()
    parts = HOST.fullmatch(host)  # none of "::1", and of what is no host either
    name = parts[1] if parts else host
    return name[1:-1] if name.startswith("[") and parts else name.removesuffix(".")


def is_allowed(host: str, names: frozenset[str]) -> bool:
    """Tell whether a request for `host` is answered; no domain of anybody's is an IP address."""
    if ANY in names or bare_host(host) in names:
        return True
    try:
        ipaddress.ip_address(bare_host(host))
    except ValueError:
        return False
    return True


class Hosts:
    """Ends a request that was sent to a name that is not the page's."""

    def __init__(self, app: Callable[..., Awaitable[None]], names: frozenset[str]) -> None:
        """Answer to `names` and IP addresses; see `page_names`."""
        self.app, self.names = app, names

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or answer it with one line."""
        if (
            scope["type"] in ("http", "websocket")
            and (host := self._foreign_host(scope)) is not None
        ):
            line = f"host = {validation.shown(host)}: not a name of this page; SD_HOSTS adds one"
            if scope["type"] == "http":
                await refuse(Refusal(MISDIRECTED, line), scope, receive, send)
            else:
                await PlainTextResponse(line, MISDIRECTED)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _foreign_host(self, scope: Mapping[str, Any]) -> str | None:
        """Return the first name in a request that is not the page's, or None."""
        for name, value in scope["headers"]:
            for host in value.decode("latin-1").split(",") if name in HOST_HEADERS else ():
                if not is_allowed(host, self.names):
                    return str(host.strip())
        return None


def middleware(host: str) -> Middleware:
    """Return what lets a page that listens on `host` answer to its own names alone."""
    return Middleware(Hosts, page_names(host))

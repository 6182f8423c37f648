"""HTTP whose whole answers are bounded in time; requests bounds only each pause in one."""

import functools
import http.client
import io
import socket
import time
from collections.abc import Mapping
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool

# A whole answer may take this many times as long as a site may stay silent.
WHOLE_ANSWER = 3


class TimedReader(io.RawIOBase):
    """Reads from a socket until the answer has taken too long.

    With a timeout alone, a server that sends a byte now and then is never done.
    """

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, timeout: float) -> None:
        self.raw, self.connection, self.timeout = raw, connection, timeout
        self.deadline = time.monotonic() + WHOLE_ANSWER * timeout

    def readable(self) -> bool:
        """Tell that this can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 (any writable buffer)
        """Read what is there, or wait for it. Raises TimeoutError."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(min(self.timeout, left))
        return self.raw.readinto(buffer)

    def close(self) -> None:
        """Close the socket's file."""
        self.raw.close()
        super().close()


class TimedResponse(http.client.HTTPResponse):
    """An answer whose header and body are bounded in time, if its connection has a timeout."""

    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        if timeout := sock.gettimeout():
            self.fp = io.BufferedReader(TimedReader(self.fp.detach(), sock, timeout))


@functools.cache
def timed(connection: type) -> type:
    """Return a class of connections like the given one whose answers are bounded in time."""
    return type(f"Timed{connection.__name__}", (connection,), {"response_class": TimedResponse})


class TimedAdapter(HTTPAdapter):
    """Lets a session use such connections."""

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> HTTPConnectionPool:
        """Return the connections to a host."""
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        if pool.ConnectionCls.response_class is not TimedResponse:
            pool.ConnectionCls = timed(pool.ConnectionCls)
        return pool

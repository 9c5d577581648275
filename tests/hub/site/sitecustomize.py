"""Rules for a process of a test: what it may import, and whom it may talk to.

Python imports this by itself where the folder is on PYTHONPATH.
"""

import os
import sys

_HIDDEN = os.environ.get("TEST_HIDDEN_PACKAGE")
_LOG = os.environ["TEST_FOREIGN_HOSTS_LOG"]
_LOOPBACK = ("127.0.0.1", "::1", "localhost", None, "", b"127.0.0.1", b"localhost")


class _Hide:
    """Let a package be missing, whatever is installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == _HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}: it is hidden", name=name)
        return None


def _watch(event, args):
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if host not in _LOOPBACK:
        with open(_LOG, "a", encoding="utf-8") as log:
            log.write(f"{event} {host}\n")
        raise PermissionError(f"a test's process may not talk to {host}")


if _HIDDEN:
    sys.meta_path.insert(0, _Hide())
sys.addaudithook(_watch)

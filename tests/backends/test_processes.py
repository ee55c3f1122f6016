"""The look at a process's sockets, on which the promise rests that these tests stay on this machine."""

import os
import socket

from tests.backends.processes import Socket, _address, sockets


def test_addresses_of_the_kernel_are_read() -> None:
    assert _address("0100007F:1F90") == ("127.0.0.1", 8080)
    assert _address("00000000:0016") == ("0.0.0.0", 22)
    assert _address("00000000000000000000000001000000:0050") == ("::1", 80)
    assert _address("0000000000000000FFFF00000100007F:0050") == ("127.0.0.1", 80)


def test_the_sockets_of_a_process_are_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert Socket(True, "127.0.0.1", port, "0.0.0.0") in sockets(os.getpid())
        with socket.create_connection(("127.0.0.1", port)):
            assert any(not one.listens and one.remote == "127.0.0.1" for one in sockets(os.getpid()))
    assert all(one.port != port or not one.listens for one in sockets(os.getpid()))

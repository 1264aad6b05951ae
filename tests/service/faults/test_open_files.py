"""Connections of one transport leave files for those of the other; V12."""

import resource
import socket
import time

from tests.service.attacks.conftest import eventually

PREAMBLE = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300)); "


def test_grpc_connections_leave_files_for_http(server_process, pair):
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
    with server_process("--max-connections", 100, "--head-timeout-s", 5, preamble=PREAMBLE) as server:
        silent = [socket.create_connection((server.host, server.grpc_port), 10) for _ in range(290)]
        time.sleep(0.2)
        assert server.post(pair.files()).status_code == 200
        for one in silent:
            one.close()
        assert eventually(lambda: "300 open files are allowed, so 100 HTTP and 100 gRPC" in "".join(server.stderr))

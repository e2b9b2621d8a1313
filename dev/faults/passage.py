"""What may stand between a process and ClickHouse, and may fail while the server is well: a proxy that refuses inserts,
holds them back, answers nothing at all, or is gone.

Knows nothing of alerts. Listens on 127.0.0.1 and keeps its port while it is shut.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECONDS = 60
PASS, REFUSE_INSERTS, HOLD_INSERTS, HOLD, CUT = "pass", "refuse inserts", "hold inserts", "hold", "cut"
OF_CONNECTION = {"connection", "content-length", "transfer-encoding", "keep-alive", "host"}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Whoever goes away while it is answered is no fault of ours.
    handle_error = lambda *_: None  # noqa: E731


class Passage:
    def __init__(self, target: str) -> None:
        self.target = urllib.parse.urlsplit(target).netloc
        self.mode, self.changed = PASS, threading.Event()
        self.server = Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def set(self, mode: str) -> None:
        self.mode = mode
        self.changed.set()
        self.changed = threading.Event()

    def stop(self) -> None:
        self.set(CUT)
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        passage = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            log_message = lambda *_: None  # noqa: E731

            def do_GET(self) -> None:
                passage.handle(self, b"")

            def do_POST(self) -> None:
                passage.handle(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        return Handler

    def handle(self, asked: BaseHTTPRequestHandler, body: bytes) -> None:
        is_insert = "INSERT" in urllib.parse.unquote_plus(asked.path) or body[:6] == b"INSERT"
        mode, changed = self.mode, self.changed
        if mode == HOLD or (mode == HOLD_INSERTS and is_insert):
            changed.wait()
            mode = self.mode
        if mode == CUT:
            asked.close_connection = True
        elif mode == REFUSE_INSERTS and is_insert:
            self.answer(asked, 502, {}, b"bad gateway")
        else:
            self.answer(asked, *self.forward(asked, body))

    def forward(self, asked: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in asked.headers.items() if name.lower() not in OF_CONNECTION}
        with contextlib.closing(http.client.HTTPConnection(self.target, timeout=SECONDS)) as beyond:
            try:
                beyond.request(asked.command, asked.path, body, headers)
                answer = beyond.getresponse()
                told = {name: value for name, value in answer.getheaders() if name.lower() not in OF_CONNECTION}
                return answer.status, told, answer.read()
            except OSError:
                return 502, {}, b"bad gateway"

    def answer(self, asked: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        asked.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            asked.send_header(name, value)
        asked.end_headers()
        asked.wfile.write(body)

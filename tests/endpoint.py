"""An OpenAI-compatible endpoint on loopback, for tests: a real HTTP server that does what a script says."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """An OpenAI-compatible endpoint: `script(question, times)` says how each question is met."""

    def __init__(self, script):
        self.asked, self.times, self.busy, self.most = Counter(), [], 0, 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                words = body["messages"][0]["content"]
                with lock:
                    outer.asked[words] += 1
                    outer.times.append(time.monotonic())
                    times = outer.asked[words]
                    outer.busy += 1
                    outer.most = max(outer.most, outer.busy)
                try:
                    status, headers, text = script(words, times)
                    made = {
                        "id": "1",
                        "object": "chat.completion",
                        "created": 0,
                        "model": body["model"],
                        "choices": [
                            {
                                "index": 0,
                                "finish_reason": "stop",
                                "message": {"role": "assistant", "content": text},
                            }
                        ],
                    }
                    said = (
                        text.encode()
                        if headers.pop("raw", None)
                        else json.dumps(made if status == 200 else {"error": {"message": text}}).encode()
                    )
                    self.send_response(status)
                    for name, value in {
                        "Content-Type": "application/json",
                        "Content-Length": str(len(said)),
                        **headers,
                    }.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(said)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                finally:
                    with lock:
                        outer.busy -= 1

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

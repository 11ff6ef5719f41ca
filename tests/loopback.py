"""A server on this machine that stands where the hub would be: repositories in memory, and ways to go
wrong."""

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """``files``: repository → {name: bytes}; ``gated`` and ``private``: repositories refused; ``faults``:
    name → how often its body is "cut" short, "stall"s half-way or is "damaged"."""

    def __init__(self, files, gated=(), private=()):
        self.files, self.gated, self.private, self.faults, self.asked = (
            files,
            set(gated),
            set(private),
            {},
            [],
        )

    def fault(self, name):
        """The fault that is due for a file, counted down."""
        kind, times = self.faults.get(name, ("", 0))
        if times:
            self.faults[name] = (kind, times - 1)
        return kind if times else ""


def listed(name, data):
    """A file as the hub lists it: a large one by its sha256, a small one by its sha1 as Git has it."""
    found = {"type": "file", "path": name, "size": len(data)}
    if name.endswith((".npz", ".safetensors")):
        large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}
        return found | {"oid": "0" * 40, "lfs": large}
    return found | {"oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.hub.asked.append((self.command, self.path, self.headers.get("Range")))
        path = self.path.partition("?")[0].strip("/")
        api = path.startswith("api/models/")
        repository = "/".join(path.removeprefix("api/models/").split("/")[:2])
        if repository in self.hub.gated:
            return self.refuse(
                401, "GatedRepo", f"Access to model {repository} is restricted. You must be authenticated"
            )
        if repository in self.hub.private:
            return self.refuse(401, None, "Invalid username or password.")
        if repository not in self.hub.files:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        files = self.hub.files[repository]
        if api:
            found = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            if "/tree/" in path:
                found = [listed(name, data) for name, data in files.items()]
            return self.send(json.dumps(found).encode(), {}, body)
        name = path.partition("/resolve/")[2].partition("/")[2]
        if name not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        data = files[name]
        large = name.endswith((".npz", ".safetensors"))
        tag = hashlib.sha256(data).hexdigest() if large else hashlib.sha1(data).hexdigest()
        about = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        about |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(len(data))} if large else {}
        self.send(data, about, body, name)

    def send(self, data, headers, body, name=None):
        fault = self.hub.fault(name) if body else ""
        if fault == "damaged":
            data = bytes(255 - byte for byte in data)
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        part = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for key, value in {**headers, "Content-Length": str(len(part))}.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        if fault in ("cut", "stall"):
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            if fault == "stall":
                time.sleep(3)
            self.close_connection = True
            return
        self.wfile.write(part)

    def refuse(self, status, code, line):
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", line)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(hub):
    """The server's address, as HF_ENDPOINT wants it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

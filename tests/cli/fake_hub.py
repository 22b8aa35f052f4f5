#!/usr/bin/env python3
"""Serves a folder as the repository acme/tiny of Hugging Face and ModelScope, on the loopback.

    fake_hub.py FILES

Writes its address to the file "endpoint" of the current folder and goes on in the background until
that folder is gone. While the current folder holds a file "stall", files stop coming halfway.
Requests are noted in "requests", one line each, with the token that came along.
"""

import hashlib
import json
import os
import re
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HERE = Path.cwd()
FILES = Path(sys.argv[1]).resolve()


def paths():
    return sorted(str(p.relative_to(FILES)) for p in FILES.rglob("*") if p.is_file())


def hugging_face_entry(path):
    content = (FILES / path).read_bytes()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


def modelscope_entry(path):
    content = (FILES / path).read_bytes()
    return {"Type": "blob", "Path": path, "Size": len(content),
            "Sha256": hashlib.sha256(content).hexdigest()}


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        with open(HERE / "requests", "a", encoding="utf-8") as log:
            log.write(f"{self.path} {self.headers.get('Authorization', '-')}\n")
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        query = urllib.parse.parse_qs(url.query)
        if re.fullmatch(r"/api/(models|datasets)/acme/tiny/revision/main", path):
            self.reply_json({"sha": COMMIT})
        elif re.fullmatch(rf"/api/(models|datasets)/acme/tiny/tree/{COMMIT}", path):
            self.reply_json([hugging_face_entry(p) for p in paths()])
        elif match := re.fullmatch(rf"(?:/datasets)?/acme/tiny/resolve/{COMMIT}/(.*)", path):
            self.reply_file(match[1])
        elif path == "/api/v1/models/acme/tiny/repo/files":
            files = [modelscope_entry(p) for p in paths()]
            self.reply_json({"Code": 200, "Success": True, "Data": {"Files": files}})
        elif path == "/api/v1/models/acme/tiny/repo":
            self.reply_file(query["FilePath"][0])
        else:
            self.reply(404, b'{"error":"not here"}', {"X-Error-Code": "RepoNotFound"})

    def reply_json(self, value):
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply_file(self, path):
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not match:
            self.reply(200, (FILES / path).read_bytes(), {}, stalls=True)
            return
        first, last = int(match[1]), int(match[2])
        with open(FILES / path, "rb") as file:
            file.seek(first)
            content = file.read(last + 1 - first)
        size = (FILES / path).stat().st_size
        self.reply(206, content, {"Content-Range": f"bytes {first}-{last}/{size}"}, stalls=True)

    def reply(self, status, body, headers, stalls=False):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        while stalls and (HERE / "stall").exists():
            time.sleep(0.05)
        self.wfile.write(body[half:])


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    (HERE / "endpoint").write_text(f"http://127.0.0.1:{server.server_port}")
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while (HERE / "endpoint").exists():
        time.sleep(0.2)
    os._exit(0)


if __name__ == "__main__":
    main()

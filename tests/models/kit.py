"""What the cases share: processes that end with the run, our server over HTTP and its events, and a proxy in front of a model.

Standard library only. Every process is ended here by its own id, and every folder is removed.
"""

import atexit
import contextlib
import http.client
import json
import os
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse

# A model of this size says a word in 25 ms on two idle cores, and in more than a second on two that have other work.
PATIENCE_S = 180
ENDS = ("answered", "failed", "dead", "cancelled")
HERE = os.path.dirname(os.path.abspath(__file__))


class Wrong(Exception):
    """A case has found something that is not as it should be."""


def expect(holds, why):
    if not holds:
        raise Wrong(why)


def until(what, seconds=PATIENCE_S, pause=0.02):
    """The first truthy answer of `what` within the time, else its last."""
    end = time.monotonic() + seconds
    while not (value := what()) and time.monotonic() < end:
        time.sleep(pause)
    return value


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def folder():
    path = tempfile.mkdtemp(prefix="antiphon-models-")
    atexit.register(shutil.rmtree, path, True)
    return path


class Process:
    """A program, its output in a file."""

    running = []

    def __init__(self, command, env=None, cwd=None):
        self.out = os.path.join(folder(), "out")
        with open(self.out, "wb") as out:
            # A group of its own: an Ollama has children, which a SIGKILL to it alone leaves behind.
            self.proc = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                         start_new_session=True)
        Process.running.append(self)

    def said(self):
        with open(self.out, errors="replace") as out:
            return out.read()

    def alive(self):
        return self.proc.poll() is None

    def stop(self, seconds=20):
        if self.alive():
            self.proc.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.proc.wait(seconds)
        self.kill()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.proc.pid, 9)
        self.proc.wait()
        if self in Process.running:
            Process.running.remove(self)


@atexit.register
def end_all():
    for process in list(Process.running):
        process.kill()


def fetch(port, method, path, body=None, timeout=30, headers=None):
    """Status and body, as JSON where it is some; `(0, None)` where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        text = response.read()
        with contextlib.suppress(ValueError):
            return response.status, json.loads(text)
        return response.status, text
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


class Antiphon:
    """Our server in a folder of its own; one bot, of which `bot` says more."""

    def __init__(self, env, model=None, bot="answer = { tokens = 24 }", settings="", ready=True):
        self.port, self.dir = free_port(), folder()
        with open(os.path.join(self.dir, "antiphon.toml"), "w") as toml:
            toml.write(f'{settings}\n[[bots]]\nname = "bot"\npersona = "Answer."\n{bot}\n')
        ours = ("OPENAI_", "OLLAMA_", "ANTIPHON_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_")
        clean = {k: v for k, v in os.environ.items() if not k.upper().startswith(ours)}
        # Without this an Ollama of the machine would be found before the server that is to be tried.
        self.env = {**clean, "OLLAMA_HOST": f"127.0.0.1:{free_port()}", **env}
        self.command = [os.environ["ANTIPHON_BIN"], "serve", "--listen", f"127.0.0.1:{self.port}", "--data", "data"]
        self.command += ["--model", model] if model else []
        self.start()

    def start(self):
        self.process = Process(self.command, self.env, self.dir)
        live = until(lambda: not self.process.alive() or fetch(self.port, "GET", "/health/live")[0] == 200, 30)
        expect(live and self.process.alive(), f"our server does not start: {self.process.said()[-400:]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def post(self, text, room="r", **more):
        body = {"text": text, "author": {"name": "ann"}, **more}
        status, answer = fetch(self.port, "POST", f"/api/rooms/{urllib.parse.quote(room)}/messages", body)
        expect(status in (200, 201), f"a post is answered {status} {answer}")
        return answer["id"]

    def cancel(self, ident):
        return fetch(self.port, "POST", f"/api/messages/{ident}/cancel")

    def message(self, ident):
        return fetch(self.port, "GET", f"/api/messages/{ident}")[1] or {}

    def ended(self, ident, seconds=PATIENCE_S):
        """The message once nothing more will come of it."""
        until(lambda: self.message(ident).get("status") in ENDS, seconds, 0.05)
        return self.message(ident)

    def reply(self, ident, room="r"):
        _, page = fetch(self.port, "GET", f"/api/rooms/{urllib.parse.quote(room)}/messages?limit=500")
        replies = [m for m in page["messages"] if m.get("reply_to") == ident and m["author"]["kind"] == "bot"]
        expect(len(replies) < 2, f"{len(replies)} answers to one question")
        return replies[0] if replies else None

    def answered(self, text, room="r", seconds=PATIENCE_S):
        """Asks, and the answer."""
        ident = self.post(text, room)
        message = self.ended(ident, seconds)
        status, why = message.get("status"), message.get("reason") or self.reason(ident)
        expect(status == "answered", f"the question is {status}: {why}; {self.process.said()[-300:]}")
        return self.reply(ident, room)

    def reason(self, ident):
        """The newest reason for which a question was not answered."""
        _, timeline = fetch(self.port, "GET", f"/api/messages/{ident}/timeline")
        found = []
        def look(value):
            if isinstance(value, dict):
                found.extend(v for k, v in value.items() if k == "reason" and isinstance(v, str))
                list(map(look, value.values()))
            elif isinstance(value, list):
                list(map(look, value))
        look(timeline)
        return found[-1] if found else None

    def doctor(self):
        return subprocess.run([self.command[0], "doctor", "--data", "data", *self.command[6:]], env=self.env, cwd=self.dir,
                              capture_output=True, text=True, timeout=60).stdout


class Feed:
    """The events of a room as they come: `(seconds, name, data)`."""

    def __init__(self, server, room="r"):
        self.events = []
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        self.connection.request("GET", f"/api/rooms/{room}/events")
        self.response = self.connection.getresponse()
        threading.Thread(target=self._read, daemon=True).start()
        until(lambda: self.of("snapshot"), 10)

    def _read(self):
        name = None
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            for line in self.response:
                if line.startswith(b"event:"):
                    name = line[6:].strip().decode()
                elif line.startswith(b"data:"):
                    self.events.append((time.monotonic(), name, json.loads(line[5:])))

    def of(self, name):
        return [(at, data) for at, n, data in list(self.events) if n == name]

    def talking(self, ident, count=4):
        """Whether so many pieces of an answer to the question came before it was complete."""
        pieces = lambda: sum(data["message_id"] == ident for _, data in self.of("reply.delta"))
        over = lambda: any(data["message_id"] == ident for _, data in self.of("message.completed"))
        until(lambda: over() or pieces() >= count, pause=0.002)
        return pieces() >= count and not over()


class Front:
    """What stands before a model's server: TLS, or a proxy that people name in `HTTPS_PROXY` (CONNECT) and `HTTP_PROXY`.

    `names` says where a host is that only the proxy can find.
    """

    def __init__(self, target=None, tls=None, names=None):
        self.target, self.names, self.asked = target, names or {}, []
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError, ValueError, KeyError, Wrong):
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            head, port = b"", self.target
            if port is None:
                while b"\r\n\r\n" not in head:
                    head += (piece := client.recv(65536))
                    expect(piece, "no request")
                head, port = self._asked_for(client, head)
            server = socket.create_connection(("127.0.0.1", port), 5)
            server.settimeout(None)
            server.sendall(head)
            with client, server:
                carry(client, server)

    def _asked_for(self, client, head):
        """What is to be sent on, and where to."""
        method, url, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.asked.append(f"{method} {url}")
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return head.split(b"\r\n\r\n", 1)[1], self.names[url.rpartition(":")[0]]
        parts = urllib.parse.urlsplit(url)
        return head.replace(url.encode(), parts.path.encode(), 1), self.names[parts.hostname]

    def close(self):
        self.socket.close()


def carry(one, other):
    """Carries bytes both ways until one side is gone. In one thread: a TLS connection must not be used by two."""
    while True:
        waiting = [s for s in (one, other) if isinstance(s, ssl.SSLSocket) and s.pending()]
        for source in waiting or select.select([one, other], [], [])[0]:
            piece = source.recv(65536)
            if not piece:
                return
            (other if source is one else one).sendall(piece)

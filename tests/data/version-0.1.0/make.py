#!/usr/bin/env python3
"""Makes file.tgz and redis.tgz with a binary of version 0.1.0: see README.md.

    make.py BINARY REDIS_SERVER FOLDER
"""
import json, os, shutil, signal, socket, subprocess, sys, tarfile, time, urllib.request, uuid

BINARY, REDIS_SERVER, OUT = sys.argv[1:4]
SETTINGS = 'attempts_max = 2\nretry_base_ms = 10\n[[bots]]\nname = "helper"\nmodel = "builtin"\n[[bots]]\nname = "far"\nmodel = "remote"\nanswers = "addressed"\n'
ROOMS = ["lobby", "a-b_c~d", "room.2"]
TEXTS = ["Good morning!", "Was gibt es Neues? Größe: 5 µm", "Привет, как дела?", "今日はいい天気ですね。", "مرحبا بالعالم",
         "👩‍👩‍👧‍👦 and 🏳️‍🌈", "two\nlines\tand a tab", "x" * 4000]


class Server:
    """A server on a folder; its address is read from what it prints."""

    def __init__(self, folder, more):
        command = [BINARY, "serve", "--data", f"{folder}/data", "--listen", "127.0.0.1:0", "--pace", "0",
                   "--config", f"{folder}/antiphon.toml", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "listens on http://" in line:
                self.address = line.split("listens on http://")[1].strip()
                return
        raise SystemExit("the server does not start")

    def call(self, method, path, body=None, key=None):
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        if key:
            request.add_header("authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, data) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def post(self, room, text, author="ann", **more):
        return self.call("POST", f"/api/rooms/{room}/messages", {"text": text, "author": {"name": author}, **more})["id"]

    def until(self, message, *statuses):
        while (found := self.call("GET", f"/api/messages/{message}"))["status"] not in statuses:
            time.sleep(0.02)
        return found

    def messages(self, room):
        found, after = [], "0"
        while page := self.call("GET", f"/api/rooms/{room}/messages?after={after}&limit=500")["messages"]:
            found, after = found + page, page[-1]["position"]
        return found

    def events(self, room):
        """The events of a room from its start, until nothing more comes for a second."""
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port)), 1) as stream:
            stream.sendall(f"GET /api/rooms/{room}/events?after=0 HTTP/1.0\r\nhost: {self.address}\r\n\r\n".encode())
            text = b""
            try:
                while piece := stream.recv(1 << 16):
                    text += piece
            except TimeoutError:
                pass
        found = []
        for block in text.decode().split("\r\n\r\n", 1)[1].split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
            if "id" in fields:
                found.append({"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])})
        return found

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait()


def talk(server):
    """Something of everything; the secrets of the keys."""
    keys = {}
    for worker in ["gpu-box", "old-box"]:
        made = server.call("POST", "/api/keys", {"worker": worker, "bots": ["far"]})
        keys[worker] = made["key"]
        if worker == "old-box":
            server.call("DELETE", f"/api/keys/{made['id']}")
    claim = lambda: server.call("POST", "/api/work/claim", {"worker": "gpu-box/1", "bots": ["far"],
                                "claim_key": str(uuid.uuid4()), "wait_ms": 30000}, keys["gpu-box"])
    work = lambda claimed, verb, **body: server.call(
        "POST", f"/api/work/{claimed['message']['id']}/{verb}", {"fence": claimed["fence"], **body}, keys["gpu-box"])

    for room in ROOMS:
        for n, text in enumerate(TEXTS):
            server.post(room, text, ["ann", "Zoë", "李"][n % 3], to=["helper"] if n % 2 else [])
    first = server.post("lobby", "Which bread is quick?", to=["far"])
    claimed = claim()
    work(claimed, "deltas", index=0, text="Soda ")
    work(claimed, "complete", text="Soda bread.", finish="stop", model="ollama:fake")
    server.post("lobby", "And which is slow?", reply_to=first, priority=7, to=["helper"])
    server.post("room.2", "nobody can answer this", to=["far"])
    work(claim(), "fail", reason="model: it is broken", retryable=False)
    dead = server.post("room.2", "nobody ever answers this", to=["far"])
    for _ in range(2):
        work(claim(), "fail", reason="model: it is away", retryable=True)
    server.until(dead, "dead")
    again = server.post("lobby", "ask me twice", to=["helper"])
    server.until(again, "answered")
    server.call("POST", f"/api/messages/{again}/retry")
    cancelled = server.post("a-b_c~d", "never mind", to=["far"])
    server.call("POST", f"/api/messages/{cancelled}/cancel")
    hidden = server.post("lobby", "this is hidden later", to=["helper"])
    server.until(hidden, "answered")
    server.call("DELETE", f"/api/messages/{hidden}")
    erased = server.post("lobby", "the moon is made of cheese", "Zenobia", to=["helper"])
    server.until(erased, "answered")
    reply = next(m["id"] for m in server.messages("lobby") if m["reply_to"] == erased)
    for message in [erased, reply]:
        server.call("POST", f"/api/messages/{message}/erase")
    return keys


def leave_waiting(server, key):
    """One that is held by a worker, and two that wait for one."""
    for n in range(3):
        server.post("room.2", f"wait for me, {n}", to=["far"])
    wish = {"worker": "gpu-box/2", "bots": ["far"], "claim_key": str(uuid.uuid4()), "wait_ms": 30000}
    server.call("POST", "/api/work/claim", wish, key)


def quiet(server):
    """Waits until the helper has answered everything."""
    while any(m["status"] in ("waiting", "claimed") and m.get("bot") != "far"
              for room in ROOMS for m in server.messages(room)):
        time.sleep(0.05)


def told(server):
    rooms = {room: {"messages": server.messages(room), "events": server.events(room)} for room in ROOMS}
    return {"rooms": rooms, "keys": server.call("GET", "/api/keys")["keys"]}


def make(name, more, end, save):
    folder = f"{OUT}/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(f"{folder}/antiphon.toml", "w") as file:
        file.write(SETTINGS)
    more = more(folder)
    server = Server(folder, more)
    keys = talk(server)
    quiet(server)
    server.end(signal.SIGTERM)
    server = Server(folder, more)
    server.post("lobby", "after the restart", to=["helper"])
    quiet(server)
    leave_waiting(server, keys["gpu-box"])
    time.sleep(1.5)  # The notary signs once a second.
    expected = told(server)
    server.end(end)
    save(folder)
    for worker, secret in keys.items():
        with open(f"{folder}/{worker}.key", "w") as file:
            file.write(secret)
    with open(f"{folder}/expect.json", "w") as file:
        json.dump(expected, file, ensure_ascii=False)
    with tarfile.open(f"{OUT}/{name}.tgz", "w:gz") as tar:
        tar.add(folder, name)


def on_redis(folder):
    global redis
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    os.makedirs(f"{folder}/redis")
    redis = subprocess.Popen([REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
                              f"{folder}/redis"], stdout=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    return ["--log", f"redis://127.0.0.1:{port}", "--node", "a"]


def save_redis(folder):
    port = redis.args[redis.args.index("--port") + 1]
    with socket.create_connection(("127.0.0.1", int(port))) as stream:
        stream.sendall(b"SAVE\r\n")
        assert stream.recv(100) == b"+OK\r\n"
    redis.terminate()
    redis.wait()


make("file", lambda folder: ["--segment-bytes", "1048576"], signal.SIGKILL, lambda folder: None)
make("redis", on_redis, signal.SIGTERM, save_redis)

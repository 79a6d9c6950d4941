"""The ways to a model's server: TLS, proxies, keys, addresses. They do not depend on the model, so one server does for all."""

import os
import subprocess

from backends import LlamaCpp
from kit import HERE, Antiphon, Front, expect, folder, until

TLS = os.path.join(HERE, "..", "support", "tls")
# Only a proxy knows where it is.
ELSEWHERE = "models.test"


def asked(backend, env, model=None, **more):
    with Antiphon(env, model or backend.model, "answer = { tokens = 3 }", **more) as server:
        return server.answered("Say yes.")


def refused(backend, env, seconds, **more):
    """Why a question was not answered, or is not yet after `seconds`."""
    with Antiphon(env, backend.model, "answer = { tokens = 3 }", **more) as server:
        ident = server.post("Say yes.")
        until(lambda: server.reason(ident), seconds, 0.1)
        return server.reason(ident) or f"nothing after {seconds} s: {server.message(ident)['status']}"


def own_authority(backend):
    """TLS with a private authority: SSL_CERT_FILE is heeded, and without it the reason names the certificate"""
    front = Front(backend.port, (f"{TLS}/test.pem", f"{TLS}/test.key"))
    try:
        env = backend.env(f"https://localhost:{front.port}/v1")
        asked(backend, {**env, "SSL_CERT_FILE": os.path.abspath(f"{TLS}/ca.pem")})
        why = refused(backend, env, 15)
        expect("certificate" in why, f"without the authority the reason is {why!r}")
        return f"without the authority: {why[:100]!r}"
    finally:
        front.close()


def proxies(backend):
    """HTTPS_PROXY and HTTP_PROXY lead to a server that only the proxy can find, never to this machine; NO_PROXY is heeded"""
    certificate, authority = made_certificate(ELSEWHERE)
    tls = Front(backend.port, certificate)
    proxy = Front(names={ELSEWHERE: tls.port, f"plain.{ELSEWHERE}": backend.port})
    try:
        at = f"http://127.0.0.1:{proxy.port}"
        https = {**backend.env(f"https://{ELSEWHERE}/v1"), "HTTPS_PROXY": at, "SSL_CERT_FILE": authority}
        asked(backend, https)
        expect(proxy.asked and proxy.asked[0] == f"CONNECT {ELSEWHERE}:443", f"the proxy was asked {proxy.asked}")
        http = {**backend.env(f"http://plain.{ELSEWHERE}/v1"), "http_proxy": at}
        asked(backend, http)
        expect(any(line.startswith("POST http://plain.") for line in proxy.asked), f"the proxy was asked {proxy.asked}")
        before = len(proxy.asked)
        why = refused(backend, {**https, "NO_PROXY": f"example.org, .{ELSEWHERE.split('.')[1]}"}, 15)
        asked(backend, {**backend.env(), "HTTP_PROXY": at, "ALL_PROXY": at})
        expect(len(proxy.asked) == before, f"the proxy was asked {proxy.asked[before:]}")
        return f"with NO_PROXY the reason is {why[:70]!r}"
    finally:
        tls.close()
        proxy.close()


KEYS = ["sk-a", "sk-+/=_.~:;,", "two words", "q\"uo'te\\s", "%41$HOME`x`", "{\"j\": [1]}", "sch\u00fcssel-\u20ac-\U0001f511", "k" * 2000]


def keys(_):
    """keys with odd characters arrive as they are; a wrong one fails at once, and is not shown"""
    locked = LlamaCpp(KEYS).start()
    try:
        for key in KEYS:
            asked(locked, {**locked.env(), "OPENAI_API_KEY": key})
        path = os.path.join(folder(), "key")
        with open(path, "w") as file:
            file.write(f"\ufeff{KEYS[2]}\r\n\n")
        asked(locked, {**locked.env(), "OPENAI_API_KEY_FILE": path})
        why = refused(locked, {**locked.env(), "OPENAI_API_KEY": "sk-wrong-4711"}, 15)
        expect("OPENAI_API_KEY" in why and "4711" not in why, f"with a wrong key the reason is {why!r}")
        return f"{len(KEYS)} keys and a file; a wrong one: {why[-80:]!r}"
    finally:
        locked.process.stop()


def addresses(backend):
    """OPENAI_BASE_URL with and without /v1 and a slash, and without a model that is named"""
    at = f"http://127.0.0.1:{backend.port}"
    for base in (at, f"{at}/", f"{at}/v1", f"{at}/v1/", f" {at}/v1 "):
        with Antiphon(backend.env(base), None, "answer = { tokens = 3 }") as server:
            reply = server.answered("Say yes.")
            expect(reply["model"] == backend.model, f"at `{base}` {reply['model']} answered")
    return "found by itself at each"


def made_certificate(host):
    """A certificate for a host and its key, and the authority that signed it: files."""
    at = folder()
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    with open(f"{at}/names", "w") as names:
        names.write(f"subjectAltName = DNS:{host}\n")
    for command in (
        ["req", "-x509", *new, "-days", "2", "-subj", "/CN=test authority", "-keyout", f"{at}/ca.key", "-out", f"{at}/ca.pem"],
        ["req", *new, "-subj", f"/CN={host}", "-keyout", f"{at}/host.key", "-out", f"{at}/host.csr"],
        ["x509", "-req", "-in", f"{at}/host.csr", "-CA", f"{at}/ca.pem", "-CAkey", f"{at}/ca.key", "-CAcreateserial",
         "-days", "2", "-extfile", f"{at}/names", "-out", f"{at}/host.pem"],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return (f"{at}/host.pem", f"{at}/host.key"), f"{at}/ca.pem"


WAYS = [own_authority, proxies, keys, addresses]

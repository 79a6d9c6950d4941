"""What is tried with each real model server: talk, slots, faults, addresses. Each case returns what it measured."""

import json
import os
import statistics
import time

from backends import CONTEXT
from kit import Antiphon, Feed, Wrong, expect, fetch, until

LONG = "Write a long story about a fox who learns to sail. Tell every detail."
# Answers of one idea are long enough to be interrupted.
TALKATIVE = "answer = { tokens = 400 }"
# How soon a model must be free once nobody wants its words, besides the words that it computes still.
FREE_WITHIN_S = 0.1


def talking(server, feed, room="r"):
    """A question whose answer is being written. A small model has nothing to say to some."""
    for _ in range(4):
        ident = server.post(LONG, room)
        if feed.talking(ident):
            return ident
    raise Wrong("four answers ended after few words")


def free_after(backend, feed, act):
    """Seconds until no slot computes after `act`; wrong if it takes longer than promised."""
    times = [at for at, _ in feed.of("reply.delta")]
    gaps = [b - a for a, b in zip(times, times[1:])]
    word = max(gaps[-8:], default=0)
    start = time.monotonic()
    act()
    free = until(lambda: backend.busy() == 0, pause=0.005)
    took = time.monotonic() - start
    expect(free and took <= FREE_WITHIN_S + backend.words_after * word, f"its slot is busy for {took:.2f} s more; a word takes {word:.2f} s")
    return f"free after {took * 1000:.0f} ms; a word takes up to {word * 1000:.0f} ms"


def post(backend):
    """a question is answered, and the counts of tokens are kept"""
    with Antiphon(backend.env(), backend.model) as server:
        feed = Feed(server)
        reply = server.answered("What is the capital of France?")
        expect(reply["text"].strip(), "the answer is empty")
        expect(reply["model"] == backend.model, f"the model is {reply['model']}")
        until(lambda: feed.of("reply.posted"), 10)
        usage = feed.of("reply.posted")[0][1].get("usage") or {}
        expect(usage.get("prompt_tokens") and usage.get("completion_tokens"), f"no counts of tokens: {usage}")
        says = server.doctor()
        expect("gemma" in says, f"doctor does not show the model: {says}")
        return f"{reply['text'].strip()[:40]!r}, {usage['prompt_tokens']} + {usage['completion_tokens']} tokens"


def words(backend):
    """words are shown as they are said, and together they are the answer"""
    with Antiphon(backend.env(), backend.model) as server:
        feed = Feed(server)
        reply = server.answered(LONG)
        until(lambda: feed.of("message.completed"), 10)
        deltas = feed.of("reply.delta")
        text = "".join(data["text"] for _, data in deltas)
        expect(text == reply["text"], f"shown {text!r}, kept {reply['text']!r}")
        expect(len(deltas) >= 5, f"only {len(deltas)} pieces")
        gaps = [b[0] - a[0] for a, b in zip(deltas, deltas[1:])]
        expect(deltas[-1][0] - deltas[0][0] > 0.02, "all words came at once")
        return f"{len(deltas)} pieces, {statistics.median(gaps) * 1000:.0f} ms between two"


def cancel(backend):
    """a cancel in mid-word frees its slot"""
    with Antiphon(backend.env(), backend.model, TALKATIVE) as server:
        feed = Feed(server)
        ident = talking(server, feed)
        measured = free_after(backend, feed, lambda: server.cancel(ident))
        expect(server.ended(ident, 10)["status"] == "cancelled", f"it is {server.message(ident)['status']}")
        return measured


def stop(backend):
    """a server that is stopped in mid-word frees the slot, and answers after its start"""
    with Antiphon(backend.env(), backend.model, TALKATIVE) as server:
        feed = Feed(server)
        ident = talking(server, feed)
        server.process.proc.kill()
        measured = free_after(backend, feed, lambda: None)
        server.start()
        until(lambda: server.message(ident).get("status") in ("claimed", "answered"))
        message = server.ended(ident)
        expect(message["status"] == "answered", f"the question is {message['status']}")
        expect(server.reply(ident), "no answer")
        return measured


def overflow(backend):
    """a history that is too long is cut, and told so; a question that is too long fails at once"""
    with Antiphon(backend.env(), backend.model) as server:
        for n in range(8):
            server.post(f"{n}: " + "the fox sails on and on " * 16, to=[])
        reply = server.answered("What does the fox do?")
        notes = reply.get("notes") or []
        cut = any(note.startswith("history-cut") for note in notes)
        if backend.name == "ollama":
            said = "Ollama cuts by itself and does not say so"
        else:
            expect(cut, f"notes are {notes}")
            with open(os.path.join(server.dir, "data", "models.json")) as learnt:
                tokens = json.load(learnt)[backend.model].get("context_tokens")
            expect(tokens == CONTEXT, f"context_tokens = {tokens}")
            start = time.monotonic()
            ident = server.post("sail " * (CONTEXT + 500), room="long")
            status = server.ended(ident)["status"]
            reason = server.reason(ident) or ""
            expect(status == "dead" or status == "failed", f"a question of {CONTEXT + 500} words is {status}")
            expect("context" in reason, f"the reason is {reason!r}")
            said = f"{notes[0]}; too long by itself: {reason[:90]!r} after {time.monotonic() - start:.1f} s"
        return said


def roles(backend):
    """two people who speak one after the other are understood, although the model's template wants turns that alternate"""
    with Antiphon(backend.env(), backend.model) as server:
        for name in ("ann", "bob"):
            server.post(f"I am {name}.", to=[], author={"name": name})
        server.answered("Who is here?")
        if backend.name == "ollama":
            return "its template takes any roles"
        with open(os.path.join(server.dir, "data", "models.json")) as learnt:
            learnt = json.load(learnt)[backend.model]
        expect(learnt.get("merge_roles"), f"learnt {learnt}")
        return f"learnt {learnt}"


def slots(backend):
    """two rooms are answered at the same time"""
    bot = TALKATIVE + "\nslots = 2"
    with Antiphon(backend.env(), backend.model, bot) as server:
        feeds = [Feed(server, room) for room in "ab"]
        idents = [talking(server, feed, room) for feed, room in zip(feeds, "ab")]
        busy = backend.busy()
        for ident in idents:
            status = server.message(ident)["status"]
            expect(status == "claimed", f"when both have begun one is {status}")
            server.cancel(ident)
        if backend.name != "ollama":
            expect(busy == 2, f"{busy} slots computed")
        expect(until(lambda: backend.busy() == 0, 10), "slots stay busy")
        return "words of both while neither was complete"


def loading(backend):
    """a question is answered although its model is only just being loaded"""
    backend.process.stop()
    try:
        backend.start(ready=False)
        with Antiphon(backend.env(), backend.model) as server:
            feed = Feed(server)
            start = time.monotonic()
            reply = server.answered("What is the capital of Italy?")
            took = time.monotonic() - start
            stages = [data.get("stage") for _, data in feed.of("reply.progress")]
            failed = [data.get("reason") for _, data in feed.of("message.failed")]
            expect(reply["model"] == backend.model, f"{reply['model']} answered")
            return f"after {took:.1f} s; stages {list(dict.fromkeys(stages))}; waited for {failed}"
    finally:
        until(backend_is_up(backend))


def killed(backend):
    """a model's server that is killed in mid-word, and is back after 12 s, answers once"""
    with Antiphon(backend.env(), backend.model, "answer = { tokens = 60 }") as server:
        feed = Feed(server)
        ident = talking(server, feed)
        backend.process.kill()
        time.sleep(12)
        backend.start()
        message = server.ended(ident)
        expect(message["status"] == "answered", f"the question is {message['status']}: {server.reason(ident)}")
        reply = server.reply(ident)
        shown = "".join(data["text"] for _, data in feed.of("reply.delta") if data["reply_id"] == reply["id"])
        expect(shown == reply["text"], f"shown {shown!r}, kept {reply['text']!r}")
        expect(feed.of("reply.reset"), "the first words were not taken back")
        return f"attempts {len(feed.of('message.claimed'))}, first failure: {feed.of('message.failed')[0][1]['reason'][:70]!r}"


def backend_is_up(backend):
    path = "/api/tags" if backend.name == "ollama" else "/health"
    return lambda: fetch(backend.port, "GET", path, timeout=5)[0] == 200


TALK = [post, words, roles, cancel, stop, overflow, slots, loading, killed]

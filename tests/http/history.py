"""Histories of operations by many clients at once, and whether one order explains them: that of an object which does one thing at a time, where
whatever was answered before another operation began also happened before it (linearizability; Herlihy and Wing 1990, searched as Wing and Gong 1993
do, with the memory of Lowe 2017). An operation without an answer may have happened at any later time, or never.

An operation says of an object what was asked and answered; the models below say which states it leads to. They know nothing of the daemon's inside.
"""
import collections
import json
import math
import threading
import time

# begin, end: seconds, math.inf without an answer. result: None without one.
Operation = collections.namedtuple("Operation", "begin end what argument result")


class History:
    """What happened to every object, by its id; any thread."""

    def __init__(self):
        self.of, self.lock, self.kinds = collections.defaultdict(list), threading.Lock(), {}

    def add(self, kind, one, begin, end, what, argument=None, result=None):
        with self.lock:
            self.kinds[one] = kind
            self.of[one].append(Operation(begin, end, what, argument, result))

    def write(self, path):
        with open(path, "w", encoding="utf-8") as f:
            for one, operations in self.of.items():
                for o in sorted(operations):
                    f.write(json.dumps({"object": one, "kind": self.kinds[one]} | o._asdict()) + "\n")

    def check(self):
        """Every object's history by itself; returns how many operations that were."""
        for one, operations in self.of.items():
            model = job if self.kinds[one] == "jobs" else upload
            # Whose maker heard no answer was there before anybody spoke of it.
            made = any(o.what == "make" for o in operations)
            first = ("new" if made else "live" if model is job else "there", "")
            stuck = unexplained(operations, first, model)
            assert not stuck, f"{one}: no order explains this history; at most it comes to {stuck[0]}, and then not to any of\n" + "\n".join(
                map(str, stuck[1])) + "\nall of it:\n" + "\n".join(map(str, sorted(operations)))
        return sum(map(len, self.of.values()))


def unexplained(operations, first, model):
    """None when an order explains the operations; else (a state in which the search got furthest, the operations that could come next)."""
    ops = sorted(operations)
    must = sum(1 << i for i, o in enumerate(ops) if o.end < math.inf)
    stack, known, furthest, stuck = [(0, first)], set(), -1, None
    while stack:
        done, state = stack.pop()
        done, state, nexts = _past_reads(ops, done, state, model)
        if done & must == must:
            return None
        if (done, state) in known:
            continue
        known.add((done, state))
        if bin(done).count("1") > furthest:
            furthest, stuck = bin(done).count("1"), (state, [ops[i] for i in nexts])
        for i in reversed(nexts):
            stack += [(done | 1 << i, s) for s in model(state, ops[i]) if s != state or ops[i].end < math.inf]
    return stuck


def _past_reads(ops, done, state, model):
    """What may come next and changes nothing comes at once: that rules nothing out. Returns the operations that then may come next, too."""
    while True:
        nexts, end = [], math.inf
        for i, o in enumerate(ops):
            if done >> i & 1:
                continue
            if o.begin > end:
                break
            nexts.append(i)
            end = min(end, o.end)
        plain = [i for i in nexts if ops[i].end < math.inf and state in model(state, ops[i])]
        if not plain:
            return done, state, nexts
        for i in plain:
            done |= 1 << i


# ---- models: the states that an operation may lead to from a state, (phase, name) ----

def upload(state, o):
    """A model or calibration set: made once, renamed, deleted for good. A live job may keep it from being deleted."""
    phase, name = state
    leads = {
        ("make", 201): {"new": [("there", "")]},
        ("make again", 200): {"there": [state]},
        ("rename", 200): {"there": [("there", o.argument)]},
        ("delete", 204): {"there": [("gone", "")]},
        ("delete", 409): {"there": [state]},
        ("read", 200): {"there": [state] if o.argument == name else []},
        ("use", 202): {"there": [state]},
    }
    if o.result is None:  # it may have happened
        return {"rename": {"there": [("there", o.argument)]}, "delete": {"there": [("gone", "")]}}[o.what].get(phase, [])
    if o.result == 404:
        return [state] if phase == "gone" else []
    return leads[o.what, o.result].get(phase, [])


ENDED = ("succeeded", "failed", "canceled")
SHOWN = {"queued": "live", "running": "live", "canceling": "canceling"} | {x: x for x in ENDED}
BY_ITSELF = {"live": ("live", "succeeded", "failed"), "canceling": ("canceling", "canceled")}


def job(state, o):
    """A job goes on by itself, but never back; once its cancel was acknowledged it ends as canceled. A read's argument is (status, name)."""
    was, name = state
    if was == "new":
        return [("live", "")] if o.what == "make" else []
    found = []
    for phase in BY_ITSELF.get(was, (was,)):
        canceled = "canceling" if phase == "live" else phase
        if o.result == 404:
            ok, to = phase == "gone", (phase, name)
        elif phase == "gone":
            ok, to = False, None
        elif o.what == "rename":
            ok, to = True, (phase, o.argument)
        elif o.what == "cancel":
            ok, to = (phase in ("succeeded", "failed") if o.result == 409 else canceled in ("canceling", "canceled")), (canceled, name)
        elif o.what == "delete":
            ok, to = (phase in ENDED) == (o.result != 409), (phase if o.result == 409 else "gone", name)
        elif o.what == "result":
            ok, to = (phase == "succeeded") == (o.result == 200), (phase, name)
        elif o.what == "read":
            ok, to = SHOWN[o.argument[0]] == phase and o.argument[1] == name, (phase, name)
        else:
            ok, to = o.what == "make again", (phase, name)
        if ok:
            found.append(to)
    return found


def now():
    return time.monotonic()

"""Spreading a batch's rows over servers, in one thread: it alone decides and writes; the engine waits at servers."""

import uuid
from collections import Counter, deque

from .attempt import Order, Outcome, attempt, greet, withdraw
from .problems import Lost


class Scheduler:
    """A queue of jobs, and servers that come and go.

    A server is greeted before it gets work, and again when it was lost. Greeting finds the prompts that it still has:
    such a one is waited for instead of queued twice, or stopped if its row is with another server by then.
    """

    def __init__(self, jobs, options, engine, out, note, settle, say):
        """`note(record)` puts a line on the disk before each prompt is queued; `settle(job, record)` ends a job;
        `say(sentence)` tells whoever waits of a server that is away while others work."""
        self._options, self._engine, self._out = options, engine, out
        self._note, self._settle, self._say = note, settle, say
        self._left = len(jobs)
        self._pending = deque()
        self._asked = {address: {} for address in options.servers}  # address -> {prompt id: job} to ask it for
        self._up, self._gone = set(), {}  # addresses that get work; address -> why it was given up
        self._away = set()  # addresses of which it was said that they don't answer
        self._at_work = Counter()
        self._running = {}  # future -> what to do with its result
        self._held = set()  # jobs that wait for a server to be greeted, because it may have them
        for job in jobs:
            if job.plan is None:
                self._end(job, Outcome("failed", job.error))
            elif job.queued and job.queued[0] in self._asked:
                self._held.add(job)
                self._asked[job.queued[0]][job.queued[1]] = job
            else:
                self._pending.append(job)

    def run(self):
        """To the end of all jobs; Lost when no server is left for them."""
        for address in self._asked:
            self._greet(address)
        while self._left:
            self._hand_out()
            if not self._running:
                reasons = "\n".join(self._gone.values())
                rows = "row is" if self._left == 1 else "rows are"
                raise Lost(f"{reasons}\n{self._left} {rows} left; start a server and run the same command again.")
            for future in self._engine.wait(self._running):
                self._running.pop(future)(self._engine.result(future))

    def _greet(self, address, patience=0.0):
        """Knock once, and then, at one that does not answer, for as long as the options say."""
        asked = set(self._asked[address])
        future = self._engine.submit(greet, address, self._options.headers, sorted(asked), patience)
        self._running[future] = lambda found: self._greeted(address, asked, patience, found)

    def _greeted(self, address, asked, patience, found):
        if self._asked[address].keys() - asked:  # lost while it was greeted
            self._greet(address)
            return
        if isinstance(found, str):
            if address not in self._away and self._asked.keys() - self._gone.keys() - {address}:
                self._say(found)
            self._away.add(address)
            if patience < self._options.patience:
                self._greet(address, self._options.patience)
                return
        jobs, self._asked[address] = self._asked[address], {}
        if isinstance(found, str):
            self._gone[address] = found
            found = set()
        else:
            self._up.add(address)
            self._away.discard(address)
        for prompt_id, job in jobs.items():
            waits = self._takes_back(job)
            if prompt_id in found and waits:
                self._order(address, job, prompt_id, known=True)
            elif prompt_id in found:
                self._running[self._engine.submit(withdraw, address, self._options.headers, prompt_id)] = _nothing
            elif waits:
                self._pending.appendleft(job)
        self._end_refused()

    def _takes_back(self, job):
        """Whether a job is with no server and not ended; it is off the waiting list then."""
        if job in self._pending:
            self._pending.remove(job)
            return True
        held = job in self._held
        self._held.discard(job)
        return held

    def _hand_out(self):
        """One prompt at a time to the server with the least to do, as long as any may have one."""
        while True:
            free = [address for address in self._up if self._at_work[address] < self._options.ahead]
            chosen = next(
                (
                    (address, job)
                    for address in sorted(free, key=self._at_work.__getitem__)
                    for job in self._pending
                    if address not in job.refusals
                ),
                None,
            )
            if chosen is None:
                return
            address, job = chosen
            self._pending.remove(job)
            prompt_id = str(uuid.uuid4())
            self._note({"row": job.row.key, "work": job.digest, "server": address, "prompt_id": prompt_id})
            self._order(address, job, prompt_id, known=False)

    def _order(self, address, job, prompt_id, known):
        folder, options = self._out / job.row.key, self._options
        order = Order(address, options.headers, job.plan, prompt_id, folder, options.previews, known)
        self._at_work[address] += 1
        self._running[self._engine.submit(attempt, order)] = lambda outcome: self._ended(
            address, job, prompt_id, outcome
        )

    def _ended(self, address, job, prompt_id, outcome):
        self._at_work[address] -= 1
        if outcome.status in ("done", "failed"):
            self._end(job, outcome, address, prompt_id)
            return
        if outcome.status == "refused":
            job.refusals[address] = outcome.error
        else:
            job.tries += 1
        if job.tries >= self._options.tries:
            text = f"Given up after {job.tries} tries: {outcome.error}"
            self._end(job, Outcome("failed", text), address, prompt_id)
        else:
            self._pending.appendleft(job)
        if outcome.status == "lost":
            self._lost(address, prompt_id, job)
        self._end_refused()

    def _lost(self, address, prompt_id, job):
        self._asked[address][prompt_id] = job
        if address in self._up:
            self._up.discard(address)
            self._greet(address)

    def _end_refused(self):
        """End the jobs that every server refused, those aside that were given up."""
        servers = self._asked.keys() - self._gone.keys()
        for job in [job for job in self._pending if servers and servers <= job.refusals.keys()]:
            self._pending.remove(job)
            self._end(job, Outcome("failed", next(iter(job.refusals.values()))))

    def _end(self, job, outcome, address=None, prompt_id=None):
        self._left -= 1
        self._settle(job, job.record(outcome, address, prompt_id))


def _nothing(result):
    """There is nothing to do after a withdrawal."""

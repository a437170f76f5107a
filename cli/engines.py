"""Where the waiting is done: in threads of this process, or in Ray's tasks. Both run functions and give futures."""

import threading
from concurrent import futures

from .problems import Problem, Usage, sentence, shown

ENGINES = ("plain", "ray")


class Plain:
    """A thread for each call; there are a few per server. They are daemons: a kill need not wait for a server."""

    def submit(self, function, *arguments):
        future = futures.Future()

        def work():
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    def wait(self, running) -> list:
        """Those that are done, one at least."""
        return list(futures.wait(running, return_when=futures.FIRST_COMPLETED).done)

    def result(self, future):
        """What the call returned; what it raised is raised."""
        return future.result()

    def close(self):
        pass


class Ray:
    """Ray's tasks, on this machine or, with RAY_ADDRESS, on a cluster that sees the same folders."""

    def __init__(self):
        try:
            import ray
        except ImportError as error:
            raise Usage("--engine ray needs the package ray; pip install ray, or leave --engine away.") from error
        self._ray, self._remote = ray, {}
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray has no class of its own for it
            raise Problem(f"Ray did not start: {sentence(shown(error, 200))}") from error

    def submit(self, function, *arguments):
        # the work is the servers': these tasks wait, and a machine has room for any number of them
        if function not in self._remote:
            self._remote[function] = self._ray.remote(num_cpus=0, max_retries=0)(function)
        return self._remote[function].remote(*arguments)

    def wait(self, running) -> list:
        return self._ray.wait(list(running), num_returns=1)[0]

    def result(self, future):
        from ray.exceptions import RayTaskError

        try:
            return self._ray.get(future)
        except RayTaskError as error:
            raise error.cause from error

    def close(self):
        self._ray.shutdown()


def engine(name: str):
    """Plain or Ray, by its name."""
    return Ray() if name == "ray" else Plain()

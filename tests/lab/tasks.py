"""Many things that take time, at the same time, on one thread: processes can be forked from it.

    def script():
        child.kill()
        ended = yield (lambda: not child.alive, 10)    # at most 10 s; ended: whether it came true
        yield from pause(0.3)
    tasks = Tasks()
    tasks.start(script())
    tasks.run(60)

A condition must not block; what it raises is raised in the script."""

import time

STEP = 0.01


class Task:
    """A script on its way. error: what ended it too early."""

    def __init__(self, script):
        self.script, self.done, self.error = script, False, None
        self.condition, self.deadline = None, 0.0
        self._resume(self.script.send, None)

    def step(self, end):
        if self.done:
            return
        try:
            value = self.condition()
        except Exception as error:
            self._resume(self.script.throw, error)
            return
        if value or time.monotonic() > min(self.deadline, end):
            self._resume(self.script.send, value)

    def _resume(self, how, value):
        try:
            self.condition, seconds = how(value)
            self.deadline = time.monotonic() + seconds
        except StopIteration:
            self.done = True
        except Exception as error:
            self.done, self.error = True, error


class Tasks:
    """All that is under way."""

    def __init__(self):
        self.tasks = []

    def start(self, script):
        task = Task(script)
        self.tasks.append(task)
        return task

    def run(self, limit):
        """Until all have ended, also those that scripts start. After `limit` seconds nobody waits for
        anything any more."""
        end = time.monotonic() + limit
        while any(not task.done for task in self.tasks):
            for task in list(self.tasks):
                task.step(end)
            time.sleep(STEP)

    def errors(self):
        return [task.error for task in self.tasks if task.error]


def pause(seconds):
    yield (lambda: False, seconds)


def all_done(tasks):
    """A condition: these tasks have ended."""
    return lambda: all(task.done for task in tasks)

"""Fresh processes at the price of a fork: one that has imported, and done nothing else, forks for every question."""

import atexit
import functools
import os
import pickle
import subprocess
import sys
from typing import IO

__all__ = ["ask_fresh_process"]

_LENGTH = 8
_SERVER = f"""
import os, pickle, sys, traceback
{{preparation}}
questions, answers = sys.stdin.buffer, sys.stdout.buffer

def send(is_answer, text):
    said = pickle.dumps((is_answer, text))
    answers.write(len(said).to_bytes({_LENGTH}, "little") + said)
    answers.flush()

while length := questions.read({_LENGTH}):
    sys.path[:], expression, content = pickle.loads(questions.read(int.from_bytes(length, "little")))
    child = os.fork()
    if not child:
        try:
            send(True, eval(expression))
        except BaseException:
            send(False, traceback.format_exc())
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        send(False, "it crashed")
"""


def ask_fresh_process(preparation: str, expression: str, content: bytes) -> str:
    """Evaluate an expression in a process that has only run a preparation.

    Parameters
    ----------
    preparation : str
        Statements, as a rule imports; they run once for all questions after the same preparation.
    expression : str
        Has the value of type str that is returned; `content` is a name in it, and `pickle` and `sys` are.
    content : bytes
        What it is about.

    Raises
    ------
    AssertionError
        If evaluating fails there.
    """
    question = pickle.dumps((sys.path, expression, content))
    questions, answers = _server(preparation)
    questions.write(len(question).to_bytes(_LENGTH, "little") + question)
    questions.flush()
    length = answers.read(_LENGTH)
    assert length, "A fresh process could not be prepared."
    is_answer, text = pickle.loads(answers.read(int.from_bytes(length, "little")))
    assert is_answer, f"A fresh process could not load it: {text[-2000:]}"
    return str(text)


@functools.cache
def _server(preparation: str) -> tuple[IO[bytes], IO[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER.format(preparation=preparation)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(process.communicate)  # ends it: no question comes any more
    return process.stdin, process.stdout

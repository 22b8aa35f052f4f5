#!/usr/bin/env python3
"""Runs one command-line test: tests/cli/README.md describes the language of *.test files.

    run.py --squint BINARY --repo FOLDER [--patience FACTOR] [--keep] CASE.test

Exit code 0: passed; 1: failed; 77: skipped, with the reason.
"""

import argparse
import fcntl
import glob
import hashlib
import json
import os
import pty
import random
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

SKIPPED = 77
ESCAPE = "\x1b"
TIMEOUT_SECONDS = 60
STOP_SECONDS = 2  # from Ctrl-C to the end of the process
TERMINAL_COLUMNS = 100


class Failure(Exception):
    pass


class Skip(Exception):
    pass


class Outcome:
    """What one `run` left behind, and what the test has said about it."""

    def __init__(self, line, arguments):
        self.line = line
        self.arguments = arguments
        self.expected_exit = 0
        self.exit_code = None
        self.stdout = self.stderr = ""
        self.seconds = 0.0
        self.terminal = False
        self.seconds_to_stop = 0.0

    def describe(self):
        return (
            f"  {shlex.join(self.arguments)}\n  exit code {self.exit_code}\n"
            f"  --- stdout\n{clipped(self.stdout)}\n  --- stderr\n{clipped(self.stderr)}"
        )


def clipped(text, limit=3000):
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"


def content(file):
    """Bytes of a file; of a report, what another run of the same thing says too."""
    if file.name == "report.json":
        report = json.loads(file.read_bytes())
        report.pop("run", None)
        return json.dumps(report).encode()
    return b"" if file.name == "report.html" else file.read_bytes()


def digest(path):
    """Names and contents of everything under a path."""
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not files or not all(file.exists() for file in files):
        raise Failure(f"{path}: nothing to compare")
    return {
        str(file.relative_to(path)): hashlib.sha256(content(file)).hexdigest()
        for file in files
    }


def found(pattern):
    # "**" and hidden files: temporary files start with a dot.
    return sorted(glob.glob(pattern, recursive=True, include_hidden=True))


def wait_for(condition, seconds, what, process=None):
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            raise Failure(f"the command ended before {what}")
        if time.monotonic() > deadline:
            raise Failure(f"after {seconds} s still no {what}")
        time.sleep(0.002)


class Case:
    def __init__(self, options, folder):
        self.patience = options.patience
        self.folder = folder
        repo = Path(options.repo).resolve()
        self.environment = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "SQUINT": str(Path(options.squint).resolve()),
            "MAKE_CHECKPOINT": str(Path(options.squint).resolve().with_name("make_checkpoint")),
            "MODEL": str(repo / "models/reader"),
            "CALIBRATION": str(repo / "data/calibration"),
            "BENCHMARK": str(repo / "data/synthocr"),
            "DATA": str(repo / "tests/data"),
            "BREAK": str(repo / "tests/cli/break_checkpoint.py"),
            "MAKE_PNG": str(repo / "tests/cli/make_png.py"),
            "FIT_HOLDS": str(repo / "tests/cli/fit_holds.py"),
            "FAKE_HUB": str(repo / "tests/cli/fake_hub.py"),
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        self.next_environment = {}
        self.next_terminal = False
        self.next_as_nobody = False
        self.next_interrupt = None
        self.next_input = None
        self.next_keys = []
        self.outcome = None
        self.outputs_before = {}
        self.mounts = []
        self.runs = 0

    # Each verb of the language is a method do_VERB(rest of the line).

    def do_setup(self, command):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            env=self.environment, capture_output=True, text=True, check=False,
        )
        if done.returncode != 0:
            raise Failure(f"setup failed with {done.returncode}:\n{done.stdout}{done.stderr}")

    def do_env(self, assignment):
        name, _, value = assignment.partition("=")
        self.next_environment[name] = value

    def do_terminal(self, _):
        self.next_terminal = True

    def do_nobody(self, _):
        """Runs the next command as a user who may read the test's folder and write nothing."""
        if os.geteuid() != 0:
            return  # Already such a user.
        if shutil.which("setpriv") is None:
            raise Skip("setpriv is not installed")
        self.next_as_nobody = True
        probe = self.as_nobody(["test", "-x", self.environment["SQUINT"], "-a", "-r",
                                self.environment["MODEL"] + "/config.json"])
        if subprocess.run(probe, check=False).returncode != 0:
            raise Skip("user nobody cannot read the build or the repository")

    def do_tmpfs(self, rest):
        """tmpfs FOLDER SIZE: a small disk, unmounted at the end."""
        folder, size = rest.split()
        os.mkdir(folder)
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                               capture_output=True, text=True, check=False)
        if mount.returncode != 0:
            raise Skip(f"mounting a small disk is not permitted: {mount.stderr.strip()}")
        self.mounts.append(os.path.abspath(folder))

    def do_interrupt(self, rest):
        """interrupt FILE [LINES]: Ctrl-C for the next command once FILE has so many lines."""
        self.next_interrupt = rest

    def do_input(self, file):
        """input FILE: standard input of the next command, through a pipe."""
        self.next_input = Path(self.expand(file)).read_bytes()

    def do_type(self, rest):
        """type TEXT KEYS: on the next command's terminal, once TEXT has appeared after the last."""
        text, keys = (self.expand(word) for word in shlex.split(rest))
        self.next_keys.append((text, keys.encode().decode("unicode_escape").encode("latin-1")))
        self.next_terminal = True

    def do_run(self, command):
        self.finish_run()
        self.runs += 1
        environment = {**self.environment, **self.next_environment}
        arguments = [self.expand(word) for word in shlex.split(command)]
        outcome = self.outcome = Outcome(command, arguments)
        outcome.terminal = self.next_terminal
        self.outputs_before = {path: os.path.lexists(path) for path in outputs_of(arguments)}
        if self.next_as_nobody:
            arguments = self.as_nobody(arguments)
        launch = self.run_on_terminal if self.next_terminal else self.run_piped
        start = time.monotonic()
        launch(arguments, environment, outcome)
        outcome.seconds = time.monotonic() - start
        self.next_environment, self.next_terminal = {}, False
        self.next_as_nobody, self.next_interrupt = False, None
        self.next_input, self.next_keys = None, []

    def do_killed(self, rest):
        """killed TIMES SEED COMMAND: SIGKILL at random moments, see the README."""
        times, seed, command = rest.split(maxsplit=2)
        arguments = [self.expand(word) for word in shlex.split(command)]
        [output] = outputs_of(arguments)
        undisturbed = digest(self.last_output())
        moments = random.Random(int(seed))
        print(f"seed {seed}, within {self.outcome.seconds:.1f} s")
        kills = finished = 0
        while kills < int(times) or finished == 0:
            wait = moments.uniform(0, self.outcome.seconds) if kills < int(times) else None
            ended = self.ends_within(arguments, wait)
            kills += not ended
            if not os.path.lexists(output):
                continue
            # It appears as a whole, also where the kill came just after.
            if digest(output) != undisturbed:
                raise Failure(f"after {kills} kills (seed {seed}) {output} is not what an "
                              "undisturbed run writes")
            shutil.rmtree(output)
            leftovers = found(output + ".*")
            if ended and leftovers:
                raise Failure(f"left behind: {', '.join(leftovers)}")
            for leftover in leftovers:
                shutil.rmtree(leftover)
            finished += ended
        print(f"{kills} kills, {finished} runs that ended")

    def do_exit(self, code):
        self.outcome.expected_exit = int(code)

    def do_stdout(self, rest):
        self.check_text("stdout", self.outcome.stdout, rest)

    def do_stderr(self, rest):
        self.check_text("stderr", self.outcome.stderr, rest)

    def do_json(self, rest):
        """json KEY VALUE: a member of the object on standard output."""
        key, _, expected = rest.partition(" ")
        value = self.json_output()
        for part in key.split("."):
            value = value[int(part) if part.isdigit() else part]
        if value != json.loads(expected):
            raise Failure(f"{key} is {json.dumps(value)}, expected {expected}")

    def do_exists(self, pattern):
        self.settle()
        if not found(pattern):
            raise Failure(f"{pattern} should exist")

    def do_absent(self, pattern):
        self.settle()
        if found(pattern):
            raise Failure(f"should not exist: {', '.join(found(pattern))}")

    def do_same(self, rest):
        self.settle()
        first, second = rest.split()
        a, b = digest(first), digest(second)
        if a != b:
            different = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
            raise Failure(f"{first} and {second} differ in {', '.join(different)}")

    def do_check(self, command):
        self.settle()
        self.do_setup(command)

    # What the verbs use.

    def last_output(self):
        self.settle()
        self.finish_run()
        [output] = outputs_of(self.outcome.arguments)
        return output

    def ends_within(self, arguments, seconds):
        """Whether a command ends by itself; where it does not, it is killed. None: it must."""
        with subprocess.Popen(arguments, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              errors="backslashreplace") as process:
            try:
                _, stderr = process.communicate(timeout=seconds or self.limit())
            except subprocess.TimeoutExpired as too_long:
                process.kill()
                if seconds is None:
                    raise Failure(f"still running after {self.limit()} s") from too_long
                return False
        if process.returncode != 0:
            raise Failure(f"after a kill it ends with {process.returncode}:\n{clipped(stderr)}")
        return True

    def expand(self, word):
        return re.sub(r"\$(\w+)", lambda match: self.environment[match[1]], word)

    @staticmethod
    def as_nobody(arguments):
        return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *arguments]

    def run_piped(self, arguments, environment, outcome):
        piped = subprocess.DEVNULL if self.next_input is None else subprocess.PIPE
        with subprocess.Popen(arguments, env=environment, stdin=piped, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            watcher = None
            if self.next_interrupt is not None:
                watcher = Interrupter(process, self.next_interrupt, self.limit())
                watcher.start()
            try:
                streams = process.communicate(self.next_input, timeout=self.limit())
                outcome.stdout, outcome.stderr = (
                    stream.decode(errors="backslashreplace") for stream in streams
                )
            except subprocess.TimeoutExpired as too_long:
                process.kill()
                raise Failure(f"still running after {self.limit()} s: {outcome.line}") from too_long
        outcome.exit_code = process.returncode
        if watcher is not None:
            watcher.join()
            if watcher.failure is not None:
                raise watcher.failure
            outcome.seconds_to_stop = time.monotonic() - watcher.sent
            print(f"stopped {outcome.seconds_to_stop:.2f} s after Ctrl-C")

    def run_on_terminal(self, arguments, environment, outcome):
        """Both streams go to one terminal, and what is typed comes from it."""
        master, slave = pty.openpty()
        size = struct.pack("HHHH", 40, TERMINAL_COLUMNS, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        keys = list(self.next_keys)
        # Ctrl-C reaches the process through a terminal of its own.
        typing = {"stdin": slave, "start_new_session": True,
                  "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
        with subprocess.Popen(arguments, env=environment, stdout=slave, stderr=slave,
                              **(typing if keys else {"stdin": subprocess.DEVNULL})) as process:
            os.close(slave)
            shown = bytearray()
            seen = 0
            deadline = time.monotonic() + self.limit()
            while True:
                if not select.select([master], [], [], max(0, deadline - time.monotonic()))[0]:
                    process.kill()
                    raise Failure(f"still running after {self.limit()} s: {outcome.line}; shown:\n"
                                  + shown.decode(errors="backslashreplace"))
                try:
                    piece = os.read(master, 4096)
                except OSError:  # EIO: the other end is closed.
                    break
                if not piece:
                    break
                shown += piece
                while keys and shown.find(keys[0][0].encode(), seen) >= 0:
                    text, typed = keys.pop(0)
                    seen = shown.find(text.encode(), seen) + len(text.encode())
                    time.sleep(0.3)  # As a person would: the program has gone on by then.
                    os.write(master, typed)
            process.wait(timeout=self.limit())
        os.close(master)
        outcome.exit_code = process.returncode
        outcome.stdout = shown.decode(errors="backslashreplace").replace("\r\n", "\n")

    def limit(self):
        return TIMEOUT_SECONDS * self.patience

    def json_output(self):
        try:
            return json.loads(self.outcome.stdout)
        except json.JSONDecodeError as error:
            raise Failure(f"stdout is not JSON: {error}") from error

    def check_text(self, name, text, rest):
        verb, _, expected = rest.partition(" ")
        expected = self.expand(expected)
        fits = {
            "has": lambda: expected in text,
            "lacks": lambda: expected not in text,
            "matches": lambda: re.search(expected, text, re.MULTILINE) is not None,
            "is": lambda: text == json.loads(expected),
            "json": lambda: self.json_output() is not None,
        }
        if verb not in fits:
            raise Failure(f'unknown check "{name} {verb}"')
        if not fits[verb]():
            raise Failure(f"{name} {verb} {expected}: not so")

    def settle(self):
        if self.outcome is None:
            raise Failure("there was no run before this line")

    def finish_run(self):
        """What holds for every command, said here once instead of in every test."""
        outcome = self.outcome
        if outcome is None:
            return
        if outcome.exit_code != outcome.expected_exit:
            raise Failure(f"expected exit code {outcome.expected_exit}, got {outcome.exit_code}")
        if not outcome.terminal and ESCAPE in outcome.stdout + outcome.stderr:
            raise Failure("escape codes in piped output")
        if outcome.exit_code == 3:
            check_message(outcome)
        if outcome.seconds_to_stop > STOP_SECONDS * self.patience:
            raise Failure(f"took {outcome.seconds_to_stop:.2f} s to stop after Ctrl-C")
        if outcome.exit_code != 0 and found("**/*.partial*"):
            raise Failure(f"left behind: {', '.join(found('**/*.partial*'))}")
        if outcome.exit_code in (2, 3):
            for path, existed in self.outputs_before.items():
                if os.path.lexists(path) and not existed:
                    raise Failure(f"{path} was written although the command failed")

    def unmount(self):
        for folder in self.mounts:
            subprocess.run(["umount", folder], check=False)


class Interrupter(threading.Thread):
    """Sends Ctrl-C to a process when it has come far enough."""

    def __init__(self, process, condition, seconds):
        super().__init__(daemon=True)
        file, _, lines = condition.partition(" ")
        self.process, self.file, self.lines, self.seconds = process, file, int(lines or 0), seconds
        self.failure = None
        self.sent = time.monotonic()

    def run(self):
        try:
            wait_for(self.is_time, self.seconds, self.file, self.process)
            self.sent = time.monotonic()
            self.process.send_signal(signal.SIGINT)
        except Failure as failure:
            self.failure = failure

    def is_time(self):
        file = Path(self.file)
        return file.exists() and (self.lines == 0 or file.read_bytes().count(b"\n") >= self.lines)


def outputs_of(arguments):
    return [arguments[i + 1] for i, word in enumerate(arguments[:-1])
            if word in ("-o", "--output")]


def check_message(outcome):
    """Wrong input is one message on standard error and nothing on standard output."""
    lines = outcome.stderr.splitlines()
    if sum(line.startswith("error: ") for line in lines) != 1:
        raise Failure('expected one line "error: ..."')
    if outcome.stdout:
        raise Failure("a failed command wrote to standard output")


def run_case(options, folder):
    case = Case(options, folder)
    previous = os.getcwd()
    os.chdir(folder)
    try:
        for number, line in enumerate(options.lines, 1):
            verb, _, rest = line.strip().partition(" ")
            if not verb or verb.startswith("#"):
                continue
            try:
                method = getattr(case, f"do_{verb}", None)
                if method is None:
                    raise Failure(f'unknown verb "{verb}"')
                method(rest.strip())
            except Failure as failure:
                raise report(options, case, f"{number}: {line}\n  {failure}") from failure
        try:
            case.finish_run()
        except Failure as failure:
            raise report(options, case, f"{failure}") from failure
        if case.runs == 0:
            raise Failure("the test runs nothing")
    finally:
        case.unmount()
        os.chdir(previous)


def report(options, case, text):
    shown = f"\n{case.outcome.describe()}" if case.outcome is not None else ""
    return Failure(f"{options.case}:{text}{shown}")


def main():
    parser = argparse.ArgumentParser(description="Runs one command-line test.")
    parser.add_argument("--squint", required=True, help="the binary")
    parser.add_argument("--repo", required=True, help="models, data and scripts are taken from it")
    parser.add_argument("--patience", type=float, default=1, help="factor on all time limits")
    parser.add_argument("--keep", action="store_true", help="keep the test's folder")
    parser.add_argument("case")
    options = parser.parse_args()
    options.lines = Path(options.case).read_text(encoding="utf-8").splitlines()
    folder = tempfile.mkdtemp(prefix=f"squint-{Path(options.case).stem}-")
    os.chmod(folder, 0o755)  # User nobody must get in.
    try:
        run_case(options, folder)
    except Skip as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    except Failure as failure:
        print(failure)
        return 1
    finally:
        if options.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

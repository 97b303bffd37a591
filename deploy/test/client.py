#!/usr/bin/env python3
"""A client of a deployment, from outside: what of a disturbance does it see?

client.py watch URL FOLDER       asks the API twenty times a second, each time over a new connection, and follows the stream of all signals,
                                 from replica to replica, until SIGTERM; both are written down in FOLDER
client.py report FOLDER FROM TO  prints what was seen between two times (seconds since the epoch): answers, the longest time without
                                 one, and for each partition the longest time without a signal
client.py compare FOLDER ARCHIVE compares the stream with an archive of the topic signals (NDJSON, of a sink that writes at least once)
"""
import http.client
import json
import pathlib
import signal
import sys
import threading
import time
import urllib.parse

ASK_INTERVAL_S = 0.05
ASK_LIMIT_S = 2
# The stream says something every 15 s.
STREAM_LIMIT_S = 20
AGAIN_INTERVAL_S = 0.1


class Watch:
    """Asks and follows until it is ended."""

    def __init__(self, url: str, folder: pathlib.Path):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port or 80
        folder.mkdir(parents=True, exist_ok=True)
        self.answers = open(folder / "answers", "w", buffering=1)
        self.signals = open(folder / "signals", "w", buffering=1)
        self.ended = threading.Event()

    def run(self):
        signal.signal(signal.SIGTERM, lambda *_: self.ended.set())
        for task in (self.ask, self.follow):
            threading.Thread(target=task, daemon=True).start()
        self.ended.wait()

    def ask(self):
        """Each line: when asked, how long it took in seconds, the status, or why there was none."""
        while not self.ended.wait(ASK_INTERVAL_S):
            asked = time.time()
            connection = http.client.HTTPConnection(self.host, self.port, timeout=ASK_LIMIT_S)
            try:
                connection.request("GET", "/v1/signals?limit=1")
                answer = connection.getresponse()
                answer.read()
                outcome = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                outcome = f"{type(error).__name__}: {error}"
            finally:
                connection.close()
            self.answers.write(f"{asked:.3f} {time.time() - asked:.3f} {outcome}\n")

    def follow(self):
        """Each line: when it came, and the signal, byte for byte."""
        place = None
        while not self.ended.is_set():
            connection = http.client.HTTPConnection(self.host, self.port, timeout=STREAM_LIMIT_S)
            try:
                headers = {"Last-Event-ID": place} if place else {}
                connection.request("GET", "/v1/stream?types=signal", headers=headers)
                answer = connection.getresponse()
                event = None
                while answer.status == 200 and (line := answer.readline()):
                    field, _, value = line.decode().rstrip("\n").partition(": ")
                    if field == "event":
                        event = value
                    elif field == "id":
                        place = value
                    elif field == "data" and event == "gap":
                        self.signals.write(f"{time.time():.3f} gap {value}\n")
                    elif field == "data" and event == "signal":
                        self.signals.write(f"{time.time():.3f} {value}\n")
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(AGAIN_INTERVAL_S)


def partition(text: str) -> int:
    """Of a signal: its id is STRATEGY:PARTITION:OFFSET:ROW:NUMBER."""
    return int(json.loads(text)["id"].split(":")[-4])


def lines(folder: pathlib.Path, name: str):
    for line in (folder / name).read_text().splitlines():
        when, _, rest = line.partition(" ")
        yield float(when), rest


def report(folder: pathlib.Path, start: float, end: float):
    asked, failed, longest, last_good = 0, [], 0.0, start
    for when, rest in lines(folder, "answers"):
        if not start <= when <= end:
            continue
        took, _, outcome = rest.partition(" ")
        asked += 1
        if outcome != "200":
            failed.append(outcome)
            continue
        done = when + float(took)
        longest = max(longest, done - last_good)
        last_good = done
    print(f"API: {asked} questions, {len(failed)} without an answer, at most {longest:.2f} s between two answers")
    for outcome in sorted(set(failed)):
        print(f"  {failed.count(outcome)} times {outcome}")
    latest: dict[int, float] = {}
    pauses: dict[int, float] = {}
    for when, rest in lines(folder, "signals"):
        if rest.startswith("gap") or when > end:
            continue
        number = partition(rest)
        if when < start:
            # It had some before: it counts even where none came meanwhile.
            pauses[number] = 0.0
            latest[number] = start
            continue
        pauses[number] = max(pauses.get(number, 0.0), when - latest.get(number, start))
        latest[number] = when
    for number, when in latest.items():
        pauses[number] = max(pauses[number], end - when)
    told = ", ".join(f"{number}: {pauses[number]:.1f} s" for number in sorted(pauses))
    print(f"longest time without a signal, by partition: {told or 'no signal was seen'}")


def compare(folder: pathlib.Path, archive: pathlib.Path) -> int:
    archived: dict[str, str] = {}
    total = 0
    for line in archive.read_text().splitlines():
        total += 1
        identity = json.loads(line)["id"]
        if archived.setdefault(identity, line) != line:
            print(f"the archive has two signals {identity}:\n{archived[identity]}\n{line}")
            return 1
    seen: dict[str, str] = {}
    span: dict[int, tuple[int, int]] = {}
    for _, text in lines(folder, "signals"):
        if text.startswith("gap"):
            print(f"the stream has a {text}")
            return 1
        identity = json.loads(text)["id"]
        if identity in seen:
            print(f"the stream has {identity} twice")
            return 1
        seen[identity] = text
        number, offset = (int(part) for part in identity.split(":")[-4:-2])
        low, high = span.get(number, (offset, offset))
        span[number] = (min(low, offset), max(high, offset))
    for identity, text in seen.items():
        if archived.get(identity) != text:
            print(f"{identity} is not the same:\nstream:  {text}\narchive: {archived.get(identity)}")
            return 1
    # A stream begins and ends within a tick's signals, perhaps: its first and last offset are left out.
    for identity in archived:
        number, offset = (int(part) for part in identity.split(":")[-4:-2])
        low, high = span.get(number, (0, 0))
        if low < offset < high and identity not in seen:
            print(f"the stream never had {identity}")
            return 1
    print(f"{len(archived)} signals in the archive, {total - len(archived)} of them more than once; {len(seen)} on the stream, none missing, none twice, all the same")
    return 0


def main() -> int:
    match sys.argv[1:]:
        case ["watch", url, folder]:
            Watch(url, pathlib.Path(folder)).run()
        case ["report", folder, start, end]:
            report(pathlib.Path(folder), float(start), float(end))
        case ["compare", folder, archive]:
            return compare(pathlib.Path(folder), pathlib.Path(archive))
        case _:
            print(__doc__, file=sys.stderr)
            return 64
    return 0


if __name__ == "__main__":
    sys.exit(main())

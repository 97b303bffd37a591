#!/usr/bin/env python3
"""A client of a deployment, from outside: what of a disturbance does it see?

client.py watch URL FOLDER       asks the API twenty times a second, each time over a new connection, and follows the stream of all signals,
                                 from replica to replica, until SIGTERM; all of it is written down in FOLDER
client.py report FOLDER FROM TO [--unanswered N] [--pause SECONDS]
                                 prints what was seen between two times (seconds since the epoch): answers, the longest time without
                                 one, and for each partition the longest time without a signal; ends with 1 where a limit is passed
                                 over, or where nothing was asked or seen
client.py since FOLDER FROM      ends with 0 once each partition that had a signal before that time has one after it
client.py compare FOLDER ARCHIVE compares the stream with an archive of the topic signals (NDJSON, of a sink that writes at least once)
"""
import argparse
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
        # When the stream ended, and why.
        self.ends = open(folder / "ends", "w", buffering=1)
        self.ended = threading.Event()
        self.failed = None

    def run(self) -> int:
        signal.signal(signal.SIGTERM, lambda *_: self.ended.set())
        for task in (self.ask, self.follow):
            threading.Thread(target=self.guarded, args=[task], daemon=True).start()
        self.ended.wait()
        if self.failed is not None:
            print(f"client.py: it stopped watching: {self.failed}", file=sys.stderr)
            return 1
        return 0

    def guarded(self, task):
        """A thread that dies ends all of it, for half a watch would look like a quiet cluster."""
        try:
            task()
        except Exception as error:
            self.failed = f"{task.__name__}: {type(error).__name__}: {error}"
            self.ended.set()

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
            except (OSError, http.client.HTTPException, ValueError) as error:
                outcome = f"{type(error).__name__}: {error}"
            finally:
                connection.close()
            self.answers.write(f"{asked:.3f} {time.time() - asked:.3f} {outcome}\n")

    def follow(self):
        """Each line: when it came, and the signal, byte for byte."""
        place = None
        while not self.ended.is_set():
            connection = http.client.HTTPConnection(self.host, self.port, timeout=STREAM_LIMIT_S)
            why = "it ended"
            try:
                headers = {"Last-Event-ID": place} if place else {}
                connection.request("GET", "/v1/stream?types=signal", headers=headers)
                answer = connection.getresponse()
                if answer.status == 200:
                    for event, data, place in events(answer, place):
                        if event in ("signal", "gap"):
                            self.signals.write(f"{time.time():.3f} {'gap ' if event == 'gap' else ''}{data}\n")
                else:
                    why = f"it was answered {answer.status}"
            # A connection that is cut inside of a chunk is a ValueError to http.client, now and then.
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
            finally:
                connection.close()
            self.ends.write(f"{time.time():.3f} {why}\n")
            self.ended.wait(AGAIN_INTERVAL_S)


def events(lines, place):
    """The events of a stream: kind, data, and the place from which to go on after it. An event counts at its empty line: its id
    comes before its data, and a place that was taken on earlier would leave out an event that was cut."""
    event, data, next_place = None, None, place
    for line in lines:
        if not line.endswith(b"\n"):
            return
        text = line.decode().rstrip("\r\n")
        if text == "":
            place = next_place
            if data is not None:
                yield event, data, place
            event, data = None, None
            continue
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "id":
            next_place = value
        elif field == "data":
            data = value


def place_of(text: str) -> tuple[int, int]:
    """Partition and offset of a signal: its id is STRATEGY:PARTITION:OFFSET:ROW:NUMBER."""
    number, offset = json.loads(text)["id"].split(":")[-4:-2]
    return int(number), int(offset)


def lines(folder: pathlib.Path, name: str):
    """What was written down, without a last line that is still being written."""
    for line in (folder / name).read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            when, _, rest = line.rstrip("\n").partition(" ")
            yield float(when), rest


def report(folder: pathlib.Path, start: float, end: float, unanswered: int | None = None, pause_s: float | None = None) -> int:
    bad = []
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
    longest = max(longest, end - last_good)
    print(f"API: {asked} questions, {len(failed)} without an answer, at most {longest:.2f} s between two answers")
    for outcome in sorted(set(failed)):
        print(f"  {failed.count(outcome)} times {outcome}")
    if asked == 0:
        bad.append("nothing was asked")
    if asked == len(failed):
        bad.append("nothing was answered")
    if unanswered is not None and len(failed) > unanswered:
        bad.append(f"{len(failed)} questions were not answered; at most {unanswered} may be")
    latest: dict[int, float] = {}
    pauses: dict[int, float] = {}
    for when, rest in lines(folder, "signals"):
        if rest.startswith("gap") or when > end:
            continue
        number = place_of(rest)[0]
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
    if not pauses:
        bad.append("no signal was seen")
    if pause_s is not None:
        bad += [f"partition {number} had no signal for {pauses[number]:.1f} s; at most {pause_s:g} s may be"
                for number in sorted(pauses) if pauses[number] > pause_s]
    for text in bad:
        print(f"passed over: {text}")
    return 1 if bad else 0


def since(folder: pathlib.Path, start: float) -> int:
    before, after = set(), set()
    for when, rest in lines(folder, "signals"):
        if not rest.startswith("gap"):
            (before if when < start else after).add(place_of(rest)[0])
    missing = sorted(before - after)
    if missing or not after:
        print(f"no new signal of partitions {', '.join(map(str, missing)) or 'at all'}")
        return 1
    return 0


def compare(folder: pathlib.Path, archive: pathlib.Path) -> int:
    archived: dict[str, str] = {}
    ends: dict[int, int] = {}
    total = 0
    for line in archive.read_text().splitlines():
        total += 1
        identity = json.loads(line)["id"]
        if archived.setdefault(identity, line) != line:
            print(f"the archive has two signals {identity}:\n{archived[identity]}\n{line}")
            return 1
        number, offset = place_of(line)
        ends[number] = max(ends.get(number, offset), offset)
    seen: dict[str, str] = {}
    begins: dict[int, int] = {}
    for _, text in lines(folder, "signals"):
        if text.startswith("gap"):
            print(f"the stream has a {text}")
            return 1
        identity = json.loads(text)["id"]
        if identity in seen:
            print(f"the stream has {identity} twice")
            return 1
        seen[identity] = text
        number, offset = place_of(text)
        begins[number] = min(begins.get(number, offset), offset)
    if not seen:
        print("the stream has no signal")
        return 1
    for identity, text in seen.items():
        if archived.get(identity) != text:
            print(f"{identity} is not the same:\nstream:  {text}\narchive: {archived.get(identity)}")
            return 1
    never = sorted(ends.keys() - begins.keys())
    if never:
        print(f"the stream never had a signal of partition {', '.join(map(str, never))}, of which the archive has some")
        return 1
    # A stream begins within a tick's signals, perhaps: its first offset is left out. It ends where the archive does.
    for identity, text in archived.items():
        number, offset = place_of(text)
        if offset > begins[number] and identity not in seen:
            print(f"the stream never had {identity}")
            return 1
    print(f"{len(archived)} signals in the archive, {total - len(archived)} lines of it repeat one; {len(seen)} on the stream, none missing, none twice, all the same")
    return 0


class Arguments(argparse.ArgumentParser):
    def error(self, message):
        print(f"client.py: {message}\n\n{__doc__}", file=sys.stderr)
        sys.exit(64)


def main() -> int:
    parser = Arguments(usage=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    watching = commands.add_parser("watch")
    watching.add_argument("url")
    reporting = commands.add_parser("report")
    waiting = commands.add_parser("since")
    comparing = commands.add_parser("compare")
    for command in (watching, reporting, waiting, comparing):
        command.add_argument("folder", type=pathlib.Path)
    for command in (reporting, waiting):
        command.add_argument("start", type=float)
    reporting.add_argument("end", type=float)
    reporting.add_argument("--unanswered", type=int)
    reporting.add_argument("--pause", type=float)
    comparing.add_argument("archive", type=pathlib.Path)
    given = parser.parse_args()
    match given.command:
        case "watch":
            return Watch(given.url, given.folder).run()
        case "report":
            return report(given.folder, given.start, given.end, given.unanswered, given.pause)
        case "since":
            return since(given.folder, given.start)
        case _:
            return compare(given.folder, given.archive)


if __name__ == "__main__":
    sys.exit(main())

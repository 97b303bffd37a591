"""The judge of deploy/acceptance, judged: what is lost, repeated, altered or late must be told, and what is well must pass."""

import contextlib
import http.server
import io
import json
import shutil
import tempfile
import threading
import time
import unittest
from pathlib import Path

import client


def signal(partition, offset, number=0, **more):
    return json.dumps({"schema": 1, "id": f"ma-20:{partition}:{offset}:0:{number}", **more})


WHOLE = [signal(partition, offset) for offset in range(10, 20) for partition in (0, 1)]


class Judged(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name, texts):
        (self.folder / name).write_text("".join(f"{text}\n" for text in texts))

    def told(self, judge, *arguments, **limits):
        """What a judge ends with, and what it says."""
        with contextlib.redirect_stdout(io.StringIO()) as out:
            ended = judge(self.folder, *arguments, **limits)
        return ended, out.getvalue()


class Compare(Judged):
    def compare(self, stream, archive):
        self.write("signals", [f"{100 + number}.000 {text}" for number, text in enumerate(stream)])
        self.write("archive", archive)
        return self.told(client.compare, self.folder / "archive")

    def test_the_same_passes_and_the_archive_may_repeat(self):
        ended, told = self.compare(WHOLE, [*WHOLE, *WHOLE[-4:]])
        self.assertEqual(ended, 0, told)
        self.assertIn("20 signals in the archive, 4 lines of it repeat one; 20 on the stream", told)

    def test_a_stream_that_begins_later_passes(self):
        self.assertEqual(self.compare(WHOLE[6:], WHOLE)[0], 0)

    def test_planted_faults_are_told(self):
        other = signal(0, 15, strength=0.5)
        planted = {
            "never had ma-20:0:15": ([text for text in WHOLE if text != signal(0, 15)], WHOLE),
            "never had ma-20:1:19": (WHOLE[:-1], WHOLE),
            "never had ma-20:0:17": (WHOLE[:14], WHOLE),
            "never had a signal of partition 1": (WHOLE[::2], WHOLE),
            "the stream has no signal": ([], WHOLE),
            "the stream has ma-20:0:13:0:0 twice": ([*WHOLE, signal(0, 13)], WHOLE),
            "ma-20:0:15:0:0 is not the same": ([other if text == signal(0, 15) else text for text in WHOLE], WHOLE),
            "archive: None": (WHOLE, WHOLE[:-1]),
            "two signals ma-20:0:15": (WHOLE, [*WHOLE, other]),
            "has a gap": ([*WHOLE, 'gap {"partition":0}'], WHOLE),
        }
        for what, (stream, archive) in planted.items():
            with self.subTest(what):
                ended, told = self.compare(stream, archive)
                self.assertEqual(ended, 1)
                self.assertIn(what, told)


class Report(Judged):
    def report(self, answers, signals, **limits):
        self.write("answers", answers)
        self.write("signals", signals)
        return self.told(client.report, 100.0, 110.0, **limits)

    answers = [f"{100 + tenth / 10:.3f} 0.010 200" for tenth in range(100)]
    signals = [f"{99 + tenth / 10:.3f} {signal(tenth % 2, tenth)}" for tenth in range(110)]

    def test_what_is_well_passes_the_strictest_limits(self):
        ended, told = self.report(self.answers, self.signals, unanswered=0, pause_s=0.5)
        self.assertEqual(ended, 0, told)
        self.assertIn("API: 100 questions, 0 without an answer", told)

    def test_planted_faults_are_told(self):
        refused = [*self.answers, "105.000 0.010 ConnectionRefusedError: [Errno 111] Connection refused"]
        planted = {
            "1 questions were not answered; at most 0": (refused, self.signals),
            "nothing was asked": ([], self.signals),
            "nothing was answered": (refused[-1:], self.signals),
            "no signal was seen": (self.answers, []),
            "partition 0 had no signal for 6.0 s": (self.answers, [line for line in self.signals if not 102 < float(line.split()[0]) < 107.9]),
            # One that has not come back at all.
            "partition 1 had no signal for 10.0 s": (self.answers, [line for line in self.signals if float(line.split()[0]) < 100 or ":0:" in line[:40]]),
        }
        for what, (answers, signals) in planted.items():
            with self.subTest(what):
                ended, told = self.report(answers, signals, unanswered=0, pause_s=5)
                self.assertEqual(ended, 1, told)
                self.assertIn(what, told)

    def test_without_a_limit_a_disturbance_is_told_and_passes(self):
        self.assertEqual(self.report([*self.answers, "105.000 2.000 TimeoutError: timed out"], self.signals)[0], 0)

    def test_each_partition_is_awaited(self):
        self.write("signals", self.signals)
        self.assertEqual(self.told(client.since, 105.0)[0], 0)
        self.write("signals", [line for line in self.signals if float(line.split()[0]) < 105 or '"ma-20:0:' in line])
        self.assertEqual(self.told(client.since, 105.0), (1, "no new signal of partitions 1\n"))
        self.write("signals", [])
        self.assertEqual(self.told(client.since, 105.0)[0], 1)


class Stream(Judged):
    def test_an_event_that_is_cut_is_asked_for_again(self):
        whole = [b"event: signal\n", b"id: 1.0\n", b"data: a\n", b"\n", b": silence\n", b"event: heartbeat\n", b"id: 2.0\n", b"data: {}\n", b"\n"]
        cut = [b"event: signal\n", b"id: 3.0\n", b"data: b\n"]
        self.assertEqual(list(client.events([*whole, *cut], None)), [("signal", "a", "1.0"), ("heartbeat", "{}", "2.0")])
        self.assertEqual(list(client.events([*whole, b"data: half"], None))[-1][2], "2.0")

    def test_a_watch_goes_on_where_a_stream_was_cut_and_writes_down_why_it_ended(self):
        places = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if "stream" not in self.path:
                    self.answer(200, b"{}")
                    return
                places.append(self.headers.get("Last-Event-ID"))
                if len(places) == 2:
                    self.answer(503, b"")
                    return
                # The second event of each is cut.
                first = len(places)
                self.answer(200, f"event: signal\nid: {first}\ndata: {signal(0, first)}\n\nevent: signal\nid: {first + 1}\ndata: {{\n".encode())

            def answer(self, status, body):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        watch = client.Watch(f"http://127.0.0.1:{server.server_port}", self.folder)
        followed = threading.Thread(target=watch.follow)
        followed.start()
        end = time.monotonic() + 20
        while len(places) < 4 and time.monotonic() < end:
            time.sleep(0.01)
        watch.ended.set()
        followed.join(10)
        self.assertEqual(places[:4], [None, "1", "1", "3"])
        self.assertEqual([client.place_of(text)[1] for _, text in client.lines(self.folder, "signals")][:2], [1, 3])
        self.assertIn("answered 503", (self.folder / "ends").read_text())
        for file in (watch.answers, watch.signals, watch.ends):
            file.close()

    def test_a_watch_that_fails_says_so(self):
        watch = client.Watch("http://127.0.0.1:1", self.folder)

        def broken():
            raise KeyError("planted")

        watch.guarded(broken)
        self.assertTrue(watch.ended.is_set())
        self.assertIn("planted", watch.failed)
        for file in (watch.answers, watch.signals, watch.ends):
            file.close()


if __name__ == "__main__":
    unittest.main()

"""deploy/acceptance, of which no step is run here: that what it asks of a cluster can be answered by no, and that no is an end."""

import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from manifests import ROOT

STAND_INS = """
. <(sed '$d' deploy/acceptance)
folder=$1 components=()
pods='api-1 1/1 Running 0 1m\\nconnectors-1 0/1 Completed 0 1m\\n'
workloads='2 2 2\\n0 <none> <none>\\n'
started='u1 api-1/wigwag 0\\n'
all_pods() { case $* in *--no-headers*) printf "$pods" ;; *) printf "$started" ;; esac; }
k() { case "$1 $2" in 'get deployments,statefulsets') printf "$workloads" ;; 'get pods') ;; *) echo "k $*" >>"$folder/asked" ;; esac; }
client=$PPID
restarts >"$folder/restarts-before"
"""


class Acceptance(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "asked").touch()

    def run_with(self, script):
        """Runs some lines of bash with the functions of deploy/acceptance, for which a cluster is well unless they say otherwise."""
        # The client is this process; it must not be ended.
        script = f"{STAND_INS}\nkill() {{ [ \"$1\" = -0 ]; }}\n{script}"
        return subprocess.run(["bash", "-c", script, "deploy/acceptance", self.folder], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    def saw(self, outcome="200", signals=True):
        """What a client is to have seen around now, and for some time to come."""
        now = time.time()
        with open(self.folder / "answers", "w") as answers, open(self.folder / "signals", "w") as given:
            for tenth in range(-50, 300):
                answers.write(f"{now + tenth / 10:.3f} 0.010 {outcome if tenth > 0 else '200'}\n")
                if signals or tenth < 0:
                    given.write(f'{now + tenth / 10:.3f} {{"id":"ma:0:{tenth + 50}:0:0"}}\n')

    def test_a_cluster_is_whole_only_with_pods_that_are_ready(self):
        planted = {
            "": 0,
            "pods=''": 1,
            "pods='api-1 0/1 Running 0 1m\\n'": 1,
            "pods='api-1 0/1 Error 0 1m\\n'": 1,
            "workloads=''": 1,
            "workloads='2 1 2\\n'": 1,
            "workloads='2 2 1\\n'": 1,
        }
        for what, ended in planted.items():
            with self.subTest(what):
                self.assertEqual(self.run_with(f"{what}\nif whole; then exit 0; else exit 1; fi").returncode, ended)

    def test_a_disturbance_that_a_client_does_not_see_passes(self):
        self.saw()
        told = self.run_with("disturb 'nothing' --unanswered 0 --pause 5 -- sleep 1\nexit")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertIn("ok 1: nothing", told.stderr)

    def test_a_disturbance_that_passes_over_a_limit_does_not_pass(self):
        self.saw(outcome="503")
        told = self.run_with("disturb 'all refused' --unanswered 0 -- sleep 1")
        self.assertEqual(told.returncode, 1)
        self.assertIn('questions were not answered; at most 0 may be', told.stderr)
        self.assertNotIn("ok 1", told.stderr)

    def test_a_container_that_was_started_again_does_not_pass(self):
        self.saw()
        for started in ("u1 api-1/wigwag 1\\n", "u2 api-2/wigwag 1\\n"):
            told = self.run_with(f"started='{started}'\ndisturb 'one fails' -- true")
            self.assertEqual(told.returncode, 1)
            self.assertIn("failed and were started again: api-", told.stderr)

    def test_a_client_that_has_ended_does_not_pass(self):
        self.saw()
        (self.folder / "client.log").write_text("planted\n")
        told = self.run_with("kill() { return 1; }\ndisturb 'nothing' -- true")
        self.assertEqual(told.returncode, 1)
        self.assertIn("the client ended before it was told to: planted", told.stderr)

    def test_what_fails_unasked_says_where(self):
        told = self.run_with("nested() { local x; x=$(false); }\nnested")
        self.assertEqual(told.returncode, 1)
        self.assertRegex(told.stderr, r"line \d+: this ended with 1: ")

    def test_however_it_ends_numbers_are_set_back(self):
        told = self.run_with("client=''; generators_before=3 pulls_before=1 engines_before=2; fail 'planted'")
        self.assertEqual(told.returncode, 1)
        asked = (self.folder / "asked").read_text()
        for line in ("scale statefulset generator --replicas 3", "scale deployment pull --replicas 1", "scale deployment engine --replicas 2",
                     "set env statefulset/generator WIGWAG_GENERATOR_RATE-"):
            self.assertIn(line, asked)

    def test_it_is_read_in_full_before_it_runs(self):
        self.assertTrue((ROOT / "deploy/acceptance").read_text().endswith('\nmain "$@"; exit\n'))


if __name__ == "__main__":
    unittest.main()

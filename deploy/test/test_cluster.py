"""What the scripts for a cluster conclude from what Kubernetes and the pods say, without either."""

import subprocess
import unittest

from manifests import ROOT

# What engines' /metrics say: of a partition that was lost, age and lag are 0.
AGE = 'wigwag_engine_checkpoint_age_seconds{{partition="{}"}} {}\n'
TICKS = 'wigwag_engine_ticks_total{{partition="{}"}} {}\nwigwag_engine_lag_messages{{partition="{}"}} {}\n'


class Cluster(unittest.TestCase):
    def run_with(self, engines, script, partitions=3):
        """Runs a line of bash with cluster.bash, where the engines' /metrics are given by name."""
        pods = "".join(f"{name}\\n" for name in engines)
        cases = "".join(f"{name}) printf %s '{text}' ;;\n" for name, text in engines.items())
        stand_ins = f"""
            set -euo pipefail
            . {ROOT}/deploy/cluster.bash
            pods_of() {{ printf '{pods}'; }}
            number_of_partitions() {{ echo {partitions}; }}
            metrics_of() {{ case $1 in {cases} *) return 1 ;; esac; }}
        """
        return subprocess.run(["bash", "-c", stand_ins + script], capture_output=True, text=True, check=False)

    def assigned(self, engines, count):
        return self.run_with(engines, f"assigned {count}").returncode == 0

    def test_partitions_are_shared_when_each_has_one_engine_and_each_engine_has_one(self):
        a, b, c = AGE.format(0, 3.5), AGE.format(1, 12), AGE.format(2, 0.2)
        lost = AGE.format(1, 0)
        self.assertTrue(self.assigned({"x": a + b + c}, 1))
        self.assertTrue(self.assigned({"x": a + lost + c, "y": b}, 2))
        self.assertTrue(self.assigned({"w": a, "x": b, "y": c, "z": ""}, 4), "more engines than partitions")
        self.assertFalse(self.assigned({"x": a + b + c}, 2), "the other does not run")
        self.assertFalse(self.assigned({"x": a + b, "y": ""}, 2), "one partition has no engine")
        self.assertFalse(self.assigned({"x": a + b + c, "y": b}, 2), "one partition has two")
        self.assertFalse(self.assigned({"x": a + b + c, "y": ""}, 2), "one engine has none")

    def test_an_engine_that_does_not_answer_is_no_engine_without_ticks(self):
        whole = TICKS.format(0, 5000000000, 0, 2) + TICKS.format(1, 1, 1, 0)
        told = self.run_with({"x": whole, "y": TICKS.format(2, 4, 2, 3)}, "taken_and_behind")
        self.assertEqual((told.returncode, told.stdout), (0, "5000000005 5\n"))
        gone = self.run_with({"x": whole}, "pods_of() { echo x y; }; taken_and_behind")
        self.assertNotEqual(gone.returncode, 0)

    def test_paths_are_those_of_the_caller(self):
        told = self.run_with({}, "caller=/home/me; from_caller /tmp/a; from_caller b/c")
        self.assertEqual(told.stdout, "/tmp/a\n/home/me/b/c\n")


if __name__ == "__main__":
    unittest.main()

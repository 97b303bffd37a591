"""deploy/up minikube, against recorded answers of minikube and kubectl: what it asks of them, in which order, and what it
tells a person where something is missing. Whether a cluster then does it is deploy/acceptance's matter."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from manifests import ROOT, containers, kustomize, named, pods

RECORDED = json.loads((ROOT / "deploy/test/recorded/minikube.json").read_text())


class Up(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "marks").mkdir()
        (self.folder / "bin").mkdir()
        # Python without its search for packages: it is started some seventy times a run.
        stand_in = f"#!{os.path.realpath(sys.executable)} -IS\n" + (ROOT / "deploy/test/stand_in.py").read_text()
        for program in ("minikube", "kubectl", "curl"):
            path = self.folder / "bin" / program
            path.write_text(stand_in)
            path.chmod(0o755)

    def up(self, *arguments, marks=(), without=(), answers=(), folder=None, **variables):
        """Runs it to its end, with what is recorded for these marks; `answers` come before the recorded ones."""
        for mark in marks:
            (self.folder / "marks" / mark).touch()
        for program in without:
            (self.folder / "bin" / program).unlink()
        (self.folder / "answers.json").write_text(json.dumps([*answers, *RECORDED]))
        # Of the machine's own programs only those without a cluster: an installed kubectl must not answer.
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        for program in ("bash", "env", "dirname", "basename", "sed", "grep", "head", "tail", "awk", "od", "tr", "sha256sum", "cut", "mktemp",
                        "rm", "mkdir", "realpath", "wc", "cat", "sleep", "sort", "git"):
            if not (tools / program).exists():
                (tools / program).symlink_to(shutil.which(program))
        environment = {"PATH": f"{self.folder / 'bin'}:{tools}", "STAND_IN": str(self.folder), "TMPDIR": str(self.folder), "HOME": os.environ.get("HOME", "/"), **variables}
        return subprocess.run([ROOT / "deploy/up", *arguments], capture_output=True, text=True, env=environment, cwd=folder, check=False, timeout=300)

    def asked(self, program):
        lines = (self.folder / "asked").read_text().splitlines()
        return [call for call in map(json.loads, lines) if call["program"] == program]

    def arguments(self, program):
        return [call["arguments"] for call in self.asked(program)]

    def applied(self, kind):
        """Those of the inputs of `kubectl apply` that hold a kind."""
        return [call["input"] for call in self.asked("kubectl") if f"kind: {kind}\n" in call["input"]]

    def composed(self):
        """The objects of the kustomization that was applied last, whose own folder is gone: its paths are relative."""
        text = [call["input"] for call in self.asked("kubectl") if " -k " in call["arguments"]][-1]
        again = self.folder / "again"
        again.mkdir(exist_ok=True)
        (again / "kustomization.yaml").write_text(text)
        return kustomize(again)

    def test_from_nothing_to_an_address(self):
        ended = self.up("minikube")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertNotIn("no answer is recorded", ended.stderr)
        minikube = self.arguments("minikube")
        self.assertIn("start -p minikube --cpus 2 --memory 4g", minikube)
        built = [call for call in minikube if call.startswith("image build")]
        self.assertEqual(len(built), 3)
        self.assertTrue(all("-t wigwag" in call and ":0.1.0 ." in call for call in built), built)
        # Everything goes to minikube, whatever the current context is.
        self.assertTrue(all(call.startswith("--context minikube ") for call in self.arguments("kubectl")), self.arguments("kubectl"))
        self.assertIn("http://192.168.49.201/", ended.stdout)
        self.assertIn("http://192.168.49.200:5000/", ended.stdout)
        self.assertIn("applied: 5 objects, 4 of them new, 0 sent again", ended.stderr)
        self.assertIn("ready: statefulset/kafka", ended.stderr)
        self.assertLess(ended.stderr.index("ready: statefulset/kafka"), ended.stderr.index("ready: deployment/api"))

    def test_an_image_that_has_grown_is_refused(self):
        self.assertIn("wigwag:0.1.0 has 44 MB", self.up("minikube").stderr)
        self.setUp()
        large = {"program": "minikube", "arguments": "^image ls --format json", "output": '[{"repoTags":["docker.io/library/wigwag:0.1.0"],"size":"61000000"}]'}
        ended = self.up("minikube", answers=[large])
        self.assertEqual(ended.returncode, 1)
        self.assertIn("wigwag:0.1.0 has 61 MB; at most 60 are allowed", ended.stderr)

    def test_minikube_is_meant_whatever_other_context_is_named(self):
        self.assertEqual(self.up("minikube", KUBECTL_CONTEXT="production").returncode, 0)
        self.assertTrue(all(call.startswith("--context minikube ") for call in self.arguments("kubectl")))
        before = len(self.asked("kubectl"))
        self.assertEqual(self.up("ha", KUBECTL_CONTEXT="production").returncode, 0)
        self.assertTrue(all(call.startswith("--context production ") for call in self.arguments("kubectl")[before:]))

    def test_the_addon_of_minikube_gets_its_addresses_in_its_own_way(self):
        self.assertEqual(self.up("minikube").returncode, 0)
        (config,) = self.applied("ConfigMap")
        self.assertIn("- 192.168.49.200-192.168.49.220", config)
        self.assertIn("address-pools:", config)
        self.assertEqual(self.applied("IPAddressPool"), [])

    def test_the_pool_is_in_the_network_of_the_node(self):
        there = {"program": "minikube", "arguments": "^ip$", "output": "192.168.67.2\n"}
        self.assertEqual(self.up("minikube", answers=[there]).returncode, 0)
        (config,) = self.applied("ConfigMap")
        self.assertIn("- 192.168.67.200-192.168.67.220", config)
        self.assertNotIn("192.168.49", config)

    def test_a_metallb_of_today_gets_its_addresses_in_its_own_way(self):
        self.assertEqual(self.up("minikube", marks=["metallb-resources"]).returncode, 0)
        (pool,) = self.applied("IPAddressPool")
        self.assertIn("- 192.168.49.200-192.168.49.220", pool)
        self.assertIn("kind: L2Advertisement", pool)
        self.assertEqual(self.applied("ConfigMap"), [])
        self.assertNotIn("addons enable metallb", self.arguments("minikube"))

    def test_addresses_that_are_there_stay(self):
        self.assertEqual(self.up("minikube", marks=["metallb-resources", "metallb-pool"]).returncode, 0)
        self.assertEqual(self.applied("IPAddressPool") + self.applied("ConfigMap"), [])

    def test_a_second_run_starts_and_builds_and_makes_nothing_again(self):
        self.assertEqual(self.up("minikube").returncode, 0)
        before = len(self.asked("minikube"))
        ended = self.up("minikube")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        again = self.arguments("minikube")[before:]
        self.assertEqual([call for call in again if call.startswith(("start", "image build"))], [])
        secrets = [call for call in self.arguments("kubectl") if "create secret" in call]
        self.assertEqual(len(secrets), 2, "made once")

    def test_what_is_applied_are_the_images_and_components_that_were_asked_for(self):
        self.assertEqual(self.up("minikube", "observability", "--tag", "0.2.0", "--registry", "localhost:5100").returncode, 0)
        objects = self.composed()
        images = {container["image"] for _, template in pods(objects) for container in containers(template)}
        ours = {image for image in images if "wigwag" in image}
        self.assertEqual(ours, {f"localhost:5100/{name}:0.2.0" for name in ("wigwag", "wigwag-generator", "wigwag-kafka")})
        self.assertEqual(len(images - ours), 2, "Prometheus and Grafana")

    def test_nothing_is_left_of_what_was_put_together(self):
        self.assertEqual(self.up("minikube").returncode, 0)
        self.assertEqual(list(self.folder.glob("wigwag-up.*")), [])

    def test_a_folder_is_the_callers(self):
        mine = self.folder / "mine"
        mine.mkdir()
        base = os.path.relpath(ROOT / "deploy/overlays/minikube", os.path.realpath(mine))
        (mine / "kustomization.yaml").write_text(f"resources: [{base}]\nnameSuffix: -mine\n")
        ended = self.up("mine", "--context", "other", folder=self.folder)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIsNotNone(named(self.composed(), "StatefulSet", "kafka-mine"))
        self.assertTrue(all(call.startswith("--context other ") for call in self.arguments("kubectl")))

    def test_a_cluster_that_does_not_say_whether_there_are_tokens_gets_none(self):
        away = {"program": "kubectl", "arguments": "get secret", "exit": 1, "error": "Unable to connect to the server: net/http: TLS handshake timeout\n"}
        ended = self.up("minikube", answers=[away])
        self.assertEqual(ended.returncode, 1)
        self.assertIn("none were made", ended.stderr)
        self.assertEqual([call for call in self.arguments("kubectl") if "create secret" in call], [])

    def test_tokens_that_are_half_there_stay(self):
        half = {"program": "kubectl", "arguments": "get secret wigwag-clients wigwag-tokens", "output": "secret/wigwag-clients\n"}
        shown = {"program": "kubectl", "arguments": "get secret wigwag-clients -o go-template", "output": "0123456789abcdef"}
        self.assertEqual(self.up("minikube", answers=[half, shown]).returncode, 0)
        (made,) = [call for call in self.arguments("kubectl") if "create secret" in call]
        self.assertIn("wigwag-tokens", made)

    def test_an_api_that_answers_without_signals_is_a_failure(self):
        silent = {"program": "curl", "arguments": "http://192.168.49.201/v1/signals", "output": "{\"signals\":[]}"}
        ended = self.up("minikube", "--timeout", "1", answers=[silent])
        self.assertEqual(ended.returncode, 1)
        self.assertIn("the API answers at http://192.168.49.201/ and has no signal after 1 s", ended.stderr)

    def test_no_secret_is_in_a_command_line(self):
        self.assertEqual(self.up("minikube").returncode, 0)
        made = [call for call in self.arguments("kubectl") if "create secret" in call]
        self.assertTrue(made)
        self.assertTrue(all("--from-file" in call and "--from-literal" not in call for call in made), made)

    def test_what_is_missing_is_named_with_how_to_get_it(self):
        for program in ("minikube", "kubectl"):
            with self.subTest(program):
                self.setUp()
                ended = self.up("minikube", without=[program])
                self.assertEqual(ended.returncode, 1)
                self.assertRegex(ended.stderr, f"{program} is missing; .*install it as")

    def test_too_little_memory_is_told_before_anything_is_built(self):
        small = {"program": "kubectl", "arguments": "get nodes -o jsonpath=.range", "output": "2014008Ki\n"}
        ended = self.up("minikube", answers=[small])
        self.assertEqual(ended.returncode, 1)
        self.assertIn("the nodes have 1966 MB of memory; 3500 are needed", ended.stderr)
        self.assertIn("minikube start --memory 4g", ended.stderr)
        self.assertEqual([call for call in self.arguments("minikube") if call.startswith("image build")], [])

    def test_a_workload_that_does_not_get_ready_is_told_with_its_pods(self):
        never = {"program": "kubectl", "arguments": "rollout status deployment/engine", "exit": 1, "error": "error: timed out waiting for the condition\n"}
        ended = self.up("minikube", answers=[never])
        self.assertEqual(ended.returncode, 1)
        self.assertIn("deployment/engine is not ready within 600 s", ended.stderr)
        self.assertIn("engine-6d5f", ended.stderr)

    def test_keda_without_keda_in_the_cluster_is_refused_by_name(self):
        ended = self.up("minikube", "keda")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("KEDA is not in the cluster", ended.stderr)

    def test_an_argument_that_is_none_is_refused(self):
        ended = self.up("minicube")
        self.assertEqual(ended.returncode, 1)
        self.assertIn('"minicube" is neither minikube, nor ha, nor a folder', ended.stderr)


if __name__ == "__main__":
    unittest.main()

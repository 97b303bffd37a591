"""What the manifests promise, without a cluster: that Kubernetes knows each field, that what is named is there, that pods
have no more rights than they need, and that the programs know the options they are given."""

import copy
import json
import os
import re
import subprocess
import unittest

import kubernetes_validate
import yaml

from manifests import (
    ROOT, SECRETS, check_hardening, check_references, composed, containers, cpu_requests_m, memory_limits_mb, megabytes, named, of_kind, pods, title,
)

VARIANTS = {
    "minikube": ("minikube",),
    "ha": ("ha",),
    "minikube with all components": ("minikube", "metallb", "observability", "keda"),
    "ha with observability": ("ha", "observability"),
    "ha with keda": ("ha", "keda"),
}
# From the first that has all that is used, to the newest that is known here.
KUBERNETES = ("1.30", "1.34")
# Kinds of others, which no schema of Kubernetes has.
FOREIGN = {"IPAddressPool", "L2Advertisement", "ScaledObject"}


def help_of(program, *arguments):
    path = os.path.join(os.environ.get("BINARIES", ROOT / "target/debug"), program)
    return subprocess.run([path, *arguments, "--help"], capture_output=True, text=True, check=True).stdout


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.variants = {name: composed(*parts) for name, parts in VARIANTS.items()}
        cls.serve = help_of("wigwag", "serve")
        cls.generator = help_of("wigwag-generator")

    def each(self):
        for name, objects in self.variants.items():
            with self.subTest(name):
                yield objects

    def test_each_field_is_known_to_each_kubernetes_that_is_supported(self):
        for objects in self.each():
            for version in KUBERNETES:
                for object in objects:
                    if object["kind"] not in FOREIGN:
                        kubernetes_validate.validate(object, version, strict=True)

    def test_a_misspelt_field_is_found(self):
        object = copy.deepcopy(named(self.variants["minikube"], "Deployment", "api"))
        object["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(object, KUBERNETES[0], strict=True)

    def test_whatever_is_named_is_there(self):
        for objects in self.each():
            self.assertEqual(check_references(objects), [])

    def test_a_name_that_leads_nowhere_is_found(self):
        def in_api(change):
            def plant(objects):
                change(named(objects, "Deployment", "api")["spec"]["template"])
            return plant

        def set_port(objects):
            named(objects, "Service", "api")["spec"]["ports"][0]["targetPort"] = "web"

        planted = {
            "readinessProbe asks port web": in_api(lambda t: t["spec"]["containers"][0]["readinessProbe"]["httpGet"].update(port="web")),
            "selector does not select its own pods": in_api(lambda t: t["metadata"]["labels"].update({"app.kubernetes.io/component": "x"})),
            "mounts nothing": in_api(lambda t: t["spec"]["containers"][0]["volumeMounts"][0].update(name="nothing")),
            "ConfigMap absent": in_api(lambda t: t["spec"]["containers"][0]["envFrom"][0]["configMapRef"].update(name="absent")),
            "Secret absent": in_api(lambda t: t["spec"]["volumes"][2]["secret"].update(secretName="absent")),
            "ServiceAccount absent": in_api(lambda t: t["spec"].update(serviceAccountName="absent")),
            "leads to port web": set_port,
            "policy": lambda objects: named(objects, "NetworkPolicy", "kafka")["spec"]["ingress"][0]["ports"][0].update(port=9999),
            "replicas": lambda objects: named(objects, "Deployment", "ingest")["spec"].update(replicas=2),
        }
        for what, plant in planted.items():
            with self.subTest(what):
                objects = copy.deepcopy(self.variants["minikube"])
                plant(objects)
                self.assertNotEqual(check_references(objects), [])

    def test_pods_have_no_right_that_they_do_not_need(self):
        for objects in self.each():
            self.assertEqual(check_hardening(objects), [])
            labels = named(objects, "Namespace", "wigwag")["metadata"]["labels"]
            self.assertEqual(labels["pod-security.kubernetes.io/enforce"], "restricted")

    def test_pods_of_the_acceptance_test_keep_the_same_rules(self):
        for name in ("verify", "reader"):
            text = (ROOT / f"deploy/test/{name}.yaml").read_text().replace("${IMAGE}", "wigwag:0.1.0").replace("${SETTINGS}", "wigwag")
            object = yaml.safe_load(text)
            for version in KUBERNETES:
                kubernetes_validate.validate(object, version, strict=True)
            job = object if object["kind"] == "Job" else {"kind": "Job", "metadata": object["metadata"], "spec": {"template": object}}
            self.assertEqual(check_hardening([job]), [])
            # By these a policy lets it ask the brokers, and deploy/acceptance leaves it out of what must be ready.
            labels = job["spec"]["template"]["metadata"]["labels"]
            self.assertEqual(labels["app.kubernetes.io/name"], "wigwag")
            self.assertEqual(labels["app.kubernetes.io/component"], "verify")

    def test_a_right_too_many_is_found(self):
        def container(object):
            return object["spec"]["template"]["spec"]["containers"][0]

        planted = [
            lambda object: container(object)["securityContext"].update(readOnlyRootFilesystem=False),
            lambda object: container(object)["securityContext"].update(capabilities={}),
            lambda object: container(object)["resources"].pop("limits"),
            lambda object: container(object).pop("livenessProbe"),
            lambda object: container(object).update(image="wigwag"),
            lambda object: object["spec"]["template"]["spec"].update(enableServiceLinks=True),
            lambda object: object["spec"]["template"]["spec"]["securityContext"].pop("runAsUser"),
        ]
        for plant in planted:
            objects = copy.deepcopy(self.variants["minikube"])
            plant(named(objects, "Deployment", "engine"))
            self.assertEqual(len(check_hardening(objects)) > 0, True)

    def test_the_programs_know_the_variables_and_options_that_they_are_given(self):
        known = {
            "wigwag": set(re.findall(r"\[env: (\w+)[=\]]", self.serve)),
            "wigwag-generator": set(re.findall(r"\[env: (\w+)[=\]]", self.generator)),
        }
        options = set(re.findall(r"--([a-z-]+)", self.serve))
        self.assertIn("WIGWAG_LISTEN", known["wigwag"])
        self.assertIn("WIGWAG_GENERATOR_LISTEN", known["wigwag-generator"])
        seen = 0
        for objects in self.each():
            for object, template in pods(objects):
                for container in containers(template):
                    program = container["image"].rpartition("/")[2].partition(":")[0]
                    if program not in known:
                        continue
                    variables = {variable["name"] for variable in container.get("env", [])}
                    for source in container.get("envFrom", []):
                        variables |= set(named(objects, "ConfigMap", source["configMapRef"]["name"])["data"])
                    ours = {name for name in variables if name.startswith("WIGWAG_")}
                    self.assertEqual(ours - known[program], set(), title(object))
                    seen += len(ours)
                    if program == "wigwag":
                        self.assertEqual(container["args"][0], "serve")
                        given = {argument[2:] for argument in container["args"] if argument.startswith("--")}
                        self.assertEqual(given - options, set(), title(object))
        self.assertGreater(seen, 30)

    def test_brokers_and_connect_know_the_variables_that_their_settings_use(self):
        for objects in self.each():
            for name in ("kafka", "kafka-connect"):
                (settings,) = named(objects, "ConfigMap", f"{name}-settings")["data"].values()
                used = set(re.findall(r"\$\{env:(\w+)\}", settings))
                self.assertTrue(used)
                for object, template in pods(objects):
                    if object["metadata"]["name"] != name:
                        continue
                    for container in containers(template):
                        variables = {variable["name"] for variable in container["env"]}
                        for source in container["envFrom"]:
                            variables |= set(named(objects, "ConfigMap", source["configMapRef"]["name"])["data"])
                        self.assertEqual(used - variables, set(), title(object))

    def test_liveness_asks_the_process_alone_and_readiness_whether_it_can_work(self):
        for objects in self.each():
            roles = [pair for pair in pods(objects) if pair[0]["metadata"]["labels"].get("app.kubernetes.io/name") == "wigwag"]
            self.assertEqual({object["metadata"]["name"] for object, _ in roles} >= {"api", "engine", "ingest", "notify"}, True)
            for object, template in roles:
                (container,) = template["spec"]["containers"]
                paths = {probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
                self.assertEqual(paths, {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}, title(object))

    def test_a_replica_that_ends_answers_until_the_balancer_knows(self):
        for objects in self.each():
            for name in ("api", "ingest", "generator"):
                object = named(objects, "Deployment", name) or named(objects, "StatefulSet", name)
                spec = object["spec"]["template"]["spec"]
                sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
                # It then has two seconds to finish, and some more in which it must not be killed.
                self.assertGreaterEqual(sleep, 3)
                self.assertGreater(spec["terminationGracePeriodSeconds"], sleep + 5)

    def test_minikube_is_content_with_three_gigabytes(self):
        self.assertLess(memory_limits_mb(self.variants["minikube"]) * 1024 * 1024, 3e9)

    def test_minikube_is_content_with_what_kubernetes_leaves_of_two_cores(self):
        self.assertLess(cpu_requests_m(self.variants["minikube"], engines=3), 900)
        self.assertLess(cpu_requests_m(self.variants["minikube with all components"], engines=3), 900)
        for budget, name, change in (
            (memory_limits_mb, "api", lambda scaler: scaler["spec"].update(maxReplicas=6)),
            (lambda objects: cpu_requests_m(objects, engines=3), "ingest", lambda scaler: scaler["spec"].update(maxReplicas=6)),
        ):
            objects = copy.deepcopy(self.variants["minikube"])
            before = budget(objects)
            change(named(objects, "HorizontalPodAutoscaler", name))
            self.assertGreater(budget(objects), before, "an autoscaler counts at its maximum")

    def test_autoscalers_go_by_what_is_used_and_not_by_what_is_requested(self):
        for objects in self.each():
            for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
                (metric,) = scaler["spec"]["metrics"]
                self.assertEqual(metric["resource"]["target"]["type"], "AverageValue", title(scaler))

    def test_what_kubernetes_would_fill_into_policies_is_written_out(self):
        for objects in self.each():
            for policy in of_kind(objects, "NetworkPolicy"):
                for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
                    for port in rule.get("ports", []):
                        self.assertIn("protocol", port, title(policy))

    def test_a_namespace_that_is_applied_alone_is_the_same(self):
        alone = yaml.safe_load((ROOT / "deploy/base/namespace.yaml").read_text())
        for objects in self.each():
            self.assertEqual(named(objects, "Namespace", "wigwag"), alone)

    def test_replicas_are_spread_role_by_role(self):
        for objects in self.each():
            for name in ("api", "engine", "ingest"):
                (spread,) = named(objects, "Deployment", name)["spec"]["template"]["spec"]["topologySpreadConstraints"]
                self.assertIn("app.kubernetes.io/component", spread["matchLabelKeys"])

    def test_a_position_is_not_forgotten_while_engines_are_away(self):
        for path in ("deploy/base/kafka/server.properties", "deploy/kafka/broker"):
            minutes = int(re.search(r"^offsets\.retention\.minutes=(\d+)$", (ROOT / path).read_text(), re.M)[1])
            self.assertGreaterEqual(minutes, 365 * 24 * 60, path)

    def test_heaps_leave_room_in_their_limits(self):
        for objects in self.each():
            for name in ("kafka", "kafka-connect"):
                heap = int(re.search(r"-Xmx(\d+)m", named(objects, "ConfigMap", name)["data"]["JAVA_TOOL_OPTIONS"])[1])
                object = named(objects, "StatefulSet", name) or named(objects, "Deployment", name)
                limit = megabytes(object["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"])
                self.assertGreater(limit, heap * 1.5 + 64, name)

    def test_engines_are_never_more_than_partitions(self):
        for objects in self.each():
            partitions = int(named(objects, "ConfigMap", "wigwag")["data"]["WIGWAG_PARTITIONS"])
            keda = named(objects, "ScaledObject", "engine")
            if keda:
                self.assertEqual(keda["spec"]["maxReplicaCount"], partitions)
            self.assertLessEqual(named(objects, "Deployment", "engine")["spec"].get("replicas", 1), partitions)
        keda = named(self.variants["ha with keda"], "ScaledObject", "engine")
        (trigger,) = keda["spec"]["triggers"]
        self.assertEqual((trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"]), ("engine", "ticks"))

    def test_generators_share_the_market_among_as_many_as_there_are(self):
        for objects in self.each():
            generator = named(objects, "StatefulSet", "generator")
            (container,) = generator["spec"]["template"]["spec"]["containers"]
            (share,) = (v["value"] for v in container["env"] if v["name"] == "WIGWAG_GENERATOR_SHARE")
            self.assertEqual(share, f"$(NUMBER)/{generator['spec']['replicas']}")
            self.assertEqual((generator["spec"]["replicas"], generator["spec"]["ordinals"]["start"]), (3, 1))

    def test_high_availability_survives_a_node(self):
        objects = self.variants["ha"]
        kafka = named(objects, "StatefulSet", "kafka")
        affinity = kafka["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
        (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
        self.assertEqual(term["topologyKey"], "kubernetes.io/hostname")
        settings = named(objects, "ConfigMap", "kafka")["data"]
        self.assertEqual((kafka["spec"]["replicas"], settings["REPLICATION"], settings["IN_SYNC"]), (3, "3", "2"))
        voters = [f"{n}@kafka-{n}.kafka-nodes.wigwag.svc:9093" for n in range(3)]
        self.assertEqual(settings["VOTERS"].split(","), voters)
        self.assertEqual(named(objects, "ConfigMap", "kafka-connect")["data"]["REPLICATION"], "3")
        wigwag = named(objects, "ConfigMap", "wigwag")["data"]
        self.assertEqual((wigwag["WIGWAG_REPLICATION"], wigwag["WIGWAG_PARTITIONS"]), ("3", "12"))
        guarded = {budget["metadata"]["name"] for budget in of_kind(objects, "PodDisruptionBudget")}
        self.assertEqual(guarded, {"api", "ingest", "engine", "generator", "kafka"})

    def test_services_are_reached_by_names_that_the_service_takes_for_its_own(self):
        for objects in self.each():
            hosts = named(objects, "ConfigMap", "wigwag")["data"]["WIGWAG_ALLOWED_HOST"].split(",")
            to = named(objects, "ConfigMap", "generator")["data"]["WIGWAG_GENERATOR_TO"]
            self.assertIn(re.match(r"http://([^:/]+)", to)[1], hosts)
            for service in ("ingest", "api"):
                self.assertIn(f"{service}.wigwag.svc", hosts)

    def test_rules_and_dashboard_show_numbers_that_the_service_has(self):
        source = "".join(path.read_text() for path in (ROOT / "host/src").rglob("*.rs"))
        there = set(re.findall(r'"(wigwag_[a-z_]+)"', source))
        folder = ROOT / "deploy/components/observability"
        for path in ("prometheus/rules.yml", "grafana/dashboards/wigwag.json"):
            used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bwigwag_[a-z_]+", (folder / path).read_text())}
            self.assertGreater(len(used), 8)
            self.assertEqual(used - there, set(), path)
        json.loads((folder / "grafana/dashboards/wigwag.json").read_text())

    def test_connectors_read_what_is_committed_and_write_where_ingest_reads(self):
        folder = ROOT / "deploy/base/kafka-connect"
        archive = json.loads((folder / "signals-archive.json").read_text())
        self.assertEqual((archive["topics"], archive["consumer.override.isolation.level"]), ("signals", "read_committed"))
        source = json.loads((folder / "records-file.json").read_text())
        self.assertEqual(source["topic"], "raw")
        for objects in self.each():
            template = named(objects, "Deployment", "kafka-connect")["spec"]["template"]
            mounts = {mount["mountPath"] for mount in template["spec"]["containers"][0]["volumeMounts"]}
            for file in (archive["file"], source["file"]):
                self.assertIn(os.path.dirname(file), mounts)
            self.assertEqual(set(named(objects, "ConfigMap", "records")["data"]), {os.path.basename(source["file"])})
            registered = set(named(objects, "ConfigMap", "connectors")["data"])
            self.assertEqual(registered, {"register", "signals-archive.json", "records-file.json"})

    def test_images_are_those_that_are_built(self):
        script = (ROOT / "deploy/build-images").read_text()
        built = set(re.search(r"\|\| images=\((.*?)\)", script)[1].split())
        used = {c["image"].partition(":")[0] for _, template in pods(self.variants["minikube"]) for c in containers(template)}
        self.assertEqual(used, built)

    def test_secrets_are_made_by_a_script_and_stand_in_no_file(self):
        script = (ROOT / "deploy/tokens").read_text()
        for secret, keys in SECRETS.items():
            for key in keys:
                self.assertRegex(script, rf"put {secret} .*\b{re.escape(key)}=")
        for objects in self.each():
            self.assertEqual(of_kind(objects, "Secret"), [])


if __name__ == "__main__":
    unittest.main()

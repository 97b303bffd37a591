"""The manifests as kustomize makes them, and what must hold for any of them. A check gives complaints, none where all is
well; the tests plant errors to see that it does complain."""

import re
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"

# What deploy/tokens makes.
SECRETS = {"wigwag-tokens": {"wigwag.toml"}, "wigwag-clients": {"admin", "ingest"}}

WORKLOADS = ("Deployment", "StatefulSet", "Job")


def kustomize(folder):
    """The objects of a folder with a kustomization."""
    built = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if built.returncode:
        raise AssertionError(f"kustomize refuses {folder}: {built.stderr}")
    return [object for object in yaml.safe_load_all(built.stdout) if object]


def composed(overlay, *components):
    """The objects of an overlay with components, put together as deploy/up does."""
    # kustomize takes relative paths only.
    with tempfile.TemporaryDirectory(dir=TARGET, prefix="composed-") as folder:
        up = "../../deploy"
        text = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{up}/overlays/{overlay}"],
            "components": [f"{up}/components/{name}" for name in components],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(text))
        return kustomize(folder)


def title(object):
    return f"{object['kind']} {object['metadata']['name']}"


def of_kind(objects, *kinds):
    return [object for object in objects if object["kind"] in kinds]


def named(objects, kind, name):
    """The object of that kind whose name is `name`, with or without the digest that kustomize adds."""
    for object in of_kind(objects, kind):
        if re.fullmatch(re.escape(name) + r"(-[a-z0-9]{10})?", object["metadata"]["name"]):
            return object
    return None


def pods(objects):
    """Each workload with its pod's template."""
    return [(object, object["spec"]["template"]) for object in of_kind(objects, *WORKLOADS)]


def containers(template):
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in (selector or {}).items())


def selected(objects, selector):
    return [(object, template) for object, template in pods(objects) if matches(selector, template["metadata"]["labels"])]


def ports(template):
    """Numbers and names of the ports that a pod says it has."""
    found = set()
    for container in template["spec"]["containers"]:
        for port in container.get("ports", []):
            found |= {port["containerPort"], port.get("name")}
    return found


def check_references(objects):
    """Whatever an object names is there."""
    complaints = []

    def wrong(object, text):
        complaints.append(f"{title(object)}: {text}")

    def exists(object, kind, name, what):
        if named(objects, kind, name) is None or named(objects, kind, name)["metadata"]["name"] != name:
            wrong(object, f"{what} names {kind} {name}, which is not there")

    def keys_of(object, kind, name):
        if kind == "Secret":
            if name not in SECRETS:
                wrong(object, f"Secret {name} is none that deploy/tokens makes")
            return SECRETS.get(name, set())
        exists(object, "ConfigMap", name, "it")
        found = named(objects, "ConfigMap", name)
        return set(found["data"]) if found else set()

    for object, template in pods(objects):
        spec = template["spec"]
        labels = template["metadata"]["labels"]
        if object["kind"] != "Job" and not matches(object["spec"]["selector"]["matchLabels"], labels):
            wrong(object, "its selector does not select its own pods")
        if object["kind"] == "StatefulSet":
            exists(object, "Service", object["spec"]["serviceName"], "serviceName")
        if "serviceAccountName" in spec:
            exists(object, "ServiceAccount", spec["serviceAccountName"], "serviceAccountName")
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        claims = {claim["metadata"]["name"] for claim in object["spec"].get("volumeClaimTemplates", [])}
        for volume in volumes.values():
            if "configMap" in volume:
                keys_of(object, "ConfigMap", volume["configMap"]["name"])
            if "secret" in volume:
                keys_of(object, "Secret", volume["secret"]["secretName"])
            if "persistentVolumeClaim" in volume:
                exists(object, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], "a volume")
        mounted = set()
        for container in containers(template):
            variables = []
            for source in container.get("envFrom", []):
                variables += sorted(keys_of(object, "ConfigMap", source["configMapRef"]["name"]))
            for variable in container.get("env", []):
                for reference in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
                    if reference not in variables:
                        wrong(object, f"{variable['name']} uses $({reference}), which is not set before it")
                variables.append(variable["name"])
                source = variable.get("valueFrom", {})
                for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                    if key in source and source[key]["key"] not in keys_of(object, kind, source[key]["name"]):
                        wrong(object, f"{variable['name']} is key {source[key]['key']} of {kind} {source[key]['name']}, which has none")
            for argument in container.get("args", []):
                for reference in re.findall(r"\$\((\w+)\)", argument):
                    if reference not in variables:
                        wrong(object, f"the argument {argument} uses $({reference}), which is not set")
            for mount in container.get("volumeMounts", []):
                mounted.add(mount["name"])
                if mount["name"] not in volumes.keys() | claims:
                    wrong(object, f"{mount['mountPath']} mounts {mount['name']}, which is no volume")
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for how in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(how, {}).get("port")
                    if port is not None and port not in ports(template):
                        wrong(object, f"its {probe} asks port {port}, which it does not have")
        for volume in sorted((volumes.keys() | claims) - mounted):
            wrong(object, f"volume {volume} is mounted nowhere")

    for service in of_kind(objects, "Service"):
        behind = selected(objects, service["spec"]["selector"])
        if len(behind) != 1:
            wrong(service, f"it selects {len(behind)} workloads and not one")
        for port in service["spec"]["ports"]:
            for object, template in behind:
                if port.get("targetPort", port["port"]) not in ports(template):
                    wrong(service, f"it leads to port {port['targetPort']}, which {title(object)} does not have")
    for budget in of_kind(objects, "PodDisruptionBudget"):
        if len(selected(objects, budget["spec"]["selector"]["matchLabels"])) != 1:
            wrong(budget, "it does not select one workload")
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        scaled = named(objects, target.get("kind", "Deployment"), target["name"])
        if scaled is None:
            wrong(scaler, f"it scales {target['name']}, which is not there")
        elif "replicas" in scaled["spec"]:
            wrong(scaler, f"{title(scaled)} has a number of replicas too, to which each apply would set it back")
    for policy in of_kind(objects, "NetworkPolicy"):
        complaints += check_policy(objects, policy)
    return complaints


def check_policy(objects, policy):
    """A policy is about pods that are there, and ports that they have."""
    complaints = []
    spec = policy["spec"]
    own = selected(objects, spec["podSelector"].get("matchLabels"))
    if not own:
        complaints.append(f"{title(policy)}: it selects no pod")
    for direction, other in (("ingress", "from"), ("egress", "to")):
        if spec.get(direction) and direction.capitalize() not in spec["policyTypes"]:
            complaints.append(f"{title(policy)}: it has rules of {direction}, and not the type")
        for rule in spec.get(direction, []):
            peers = [peer for peer in rule.get(other, []) if "namespaceSelector" not in peer]
            others = [pod for peer in peers for pod in selected(objects, peer["podSelector"]["matchLabels"])]
            if peers and not others:
                complaints.append(f"{title(policy)}: {direction} names pods that are not there")
            reached = own if direction == "ingress" else others
            for port in rule.get("ports", []):
                if reached and not any(port["port"] in ports(template) for _, template in reached):
                    complaints.append(f"{title(policy)}: none of its pods has port {port['port']}")
    return complaints


def check_hardening(objects):
    """Pods keep Kubernetes' standard `restricted`, and what we ask beyond it."""
    complaints = []
    for object, template in pods(objects):
        spec = template["spec"]
        context = spec.get("securityContext", {})

        def must(holds, text, object=object):
            if not holds:
                complaints.append(f"{title(object)}: {text}")

        must(context.get("runAsNonRoot") is True, "runAsNonRoot is not true")
        must(isinstance(context.get("runAsUser"), int) and context["runAsUser"] > 0, "runAsUser is no number above 0")
        must(context.get("seccompProfile", {}).get("type") == "RuntimeDefault", "no seccomp profile")
        must(spec.get("enableServiceLinks") is False, "enableServiceLinks is not false")
        must(spec.get("automountServiceAccountToken") is False, "a service account's token is mounted")
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            must(not spec.get(key), f"it uses {key}")
        for volume in spec.get("volumes", []):
            must("hostPath" not in volume, f"volume {volume['name']} is a folder of the node")
            must("emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], f"volume {volume['name']} has no sizeLimit")
        for container in containers(template):
            name = container["name"]
            own = container.get("securityContext", {})
            must(own.get("allowPrivilegeEscalation") is False, f"{name} may get more rights")
            must(own.get("readOnlyRootFilesystem") is True, f"{name} may write to its root folder")
            must(own.get("capabilities", {}).get("drop") == ["ALL"], f"{name} keeps capabilities")
            must(container.get("imagePullPolicy") == "IfNotPresent", f"{name} does not say IfNotPresent")
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            must(tag not in ("", "latest"), f"{name} has an image without a tag of its own: {container['image']}")
            for kind in ("requests", "limits"):
                for resource in ("cpu", "memory"):
                    must(resource in container.get("resources", {}).get(kind, {}), f"{name} has no {kind} of {resource}")
        if object["kind"] != "Job":
            for container in spec["containers"]:
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    must(probe in container, f"{container['name']} has no {probe}")
    return complaints


def megabytes(text):
    units = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}
    number, unit = re.fullmatch(r"(\d+)(\w\w)", text).groups()
    return int(number) * units[unit]


def replicas(objects, object):
    """The most that an autoscaler makes of it, or as many as are written down."""
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        if scaler["spec"]["scaleTargetRef"]["name"] == object["metadata"]["name"]:
            return scaler["spec"]["maxReplicas"]
    return object["spec"].get("replicas", 1)


def millicores(text):
    return int(text[:-1]) if text.endswith("m") else int(text) * 1000


def cpu_requests_m(objects, engines):
    """What all pods together ask for when every Deployment is replaced at once, with so many engines."""
    total = 0
    for object, template in pods(objects):
        count = engines if object["metadata"]["name"] == "engine" else replicas(objects, object)
        count += object["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", 0)
        spec = template["spec"]
        asked = [sum(millicores(c["resources"]["requests"]["cpu"]) for c in spec["containers"])]
        # They run before the others, each by itself.
        asked += [millicores(c["resources"]["requests"]["cpu"]) for c in spec.get("initContainers", [])]
        total += count * max(asked)
    return total


def memory_limits_mb(objects):
    """What all pods together may use, with as many as autoscalers make; Jobs aside, which end."""
    return sum(
        replicas(objects, object) * sum(megabytes(c["resources"]["limits"]["memory"]) for c in template["spec"]["containers"])
        for object, template in pods(objects)
        if object["kind"] != "Job"
    )

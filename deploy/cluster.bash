# What the scripts for a cluster share: how they talk to it and to a person. To be sourced.
# shellcheck shell=bash

namespace=wigwag
kubectl=(kubectl)
[ -z "${KUBECTL_CONTEXT:-}" ] || kubectl+=(--context "$KUBECTL_CONTEXT")
began=$SECONDS

# A line of progress, with the seconds since the start.
say() {
    printf '%4d s  %s\n' $((SECONDS - began)) "$*" >&2
}

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

k() {
    "${kubectl[@]}" -n "$namespace" "$@"
}

# Debian and other names of what is missing, or where to read on.
need() { # COMMAND HOW
    command -v "$1" >/dev/null || fail "$1 is missing; $2"
}

need_kubectl() {
    need kubectl "install it as the documentation of Kubernetes says (\"Install Tools\"), or: minikube kubectl -- version, and link it"
}

need_cluster() {
    local told
    told=$("${kubectl[@]}" version -o json 2>&1) ||
        fail "no cluster answers to \"${kubectl[*]}\": $(tail -n 1 <<<"$told"); start one (minikube start --memory 4g), or choose one (kubectl config use-context NAME)"
}

# A path that whoever called the script, in the folder $caller, gave.
from_caller() { # PATH
    case $1 in
    /*) echo "$1" ;;
    *) echo "${caller:-$PWD}/$1" ;;
    esac
}

# Waits until a command succeeds; says from time to time what it waits for.
await() { # SECONDS WHAT COMMAND...
    local limit=$1 what=$2 start=$SECONDS told=$SECONDS
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $((SECONDS - start)) -lt "$limit" ] || return 1
        if [ $((SECONDS - told)) -ge 15 ]; then
            say "waiting for $what"
            told=$SECONDS
        fi
        sleep 1
    done
}

# The external address of a Service, once its balancer gave it one.
address_of() { # SERVICE
    k get service "$1" -o 'jsonpath={.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}' | grep .
}

# The names of the pods of a role that are not ending, one a line.
pods_of() { # ROLE
    k get pods -l "app.kubernetes.io/name=wigwag,app.kubernetes.io/component=$1" \
        -o 'go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{"\n"}}{{end}}{{end}}'
}

# What a pod's /metrics says, by way of Kubernetes.
metrics_of() { # POD
    k get --raw "/api/v1/namespaces/$namespace/pods/http:$1:8080/proxy/metrics"
}

# How many partitions the deployment's settings name.
number_of_partitions() {
    local settings
    settings=$(k get deployment engine -o 'jsonpath={.spec.template.spec.containers[0].envFrom[0].configMapRef.name}')
    k get configmap "$settings" -o 'jsonpath={.data.WIGWAG_PARTITIONS}'
}

# Whether so many engines run, and each partition is one engine's and no other's, by what they say themselves: one that
# was lost shows a checkpoint of age 0.
assigned() { # ENGINES
    local pod partitions
    [ "$(pods_of engine | wc -l)" = "$1" ] || return 1
    partitions=$(number_of_partitions) || return 1
    for pod in $(pods_of engine); do
        metrics_of "$pod" | awk -v pod="$pod" -F '[{}" ]+' '/^wigwag_engine_checkpoint_age_seconds\{/ && $4 > 0 {print $3, pod}' || return 1
    done | awk -v engines="$1" -v partitions="$partitions" '
        {if (owner[$1]++) twice = 1; else owned++; if (!has[$2]++) busy++}
        END {exit twice || owned != partitions || busy != (engines < partitions ? engines : partitions)}'
}

# Ticks taken and messages behind, over all engines.
taken_and_behind() {
    local pod
    for pod in $(pods_of engine); do
        metrics_of "$pod" || return 1
    done | awk '
        /^wigwag_engine_ticks_total\{/ {ticks += $2}
        /^wigwag_engine_lag_messages\{/ {lag += $2}
        END {printf "%.0f %.0f\n", ticks, lag}'
}

"""Stands in for minikube and kubectl, under whose names it is called: answers as they did, from a file of recorded answers,
and keeps what it was asked. Knows only how to match.

The file is JSON: a list of {"program", "arguments": a regular expression, "exit", "output", "error"}; the first that matches
answers. `sets` names a mark that is set by the call, and `if` one that must be set, so that an answer may differ before and
after something was done. What is asked and not recorded is an error, for then the test would not know either."""

import json
import os
import re
import sys

folder = os.environ["STAND_IN"]
program = os.path.basename(sys.argv[0])
asked = " ".join(sys.argv[1:])
given = "" if sys.stdin.isatty() or not re.search(r"-f -", asked) else sys.stdin.read()
# What is applied by its folder is gone afterwards.
if applied := re.search(r" -k (\S+)", asked):
    with open(f"{applied[1]}/kustomization.yaml") as file:
        given = file.read()
with open(f"{folder}/asked", "a") as log:
    log.write(json.dumps({"program": program, "arguments": asked, "input": given}) + "\n")
marks = set(os.listdir(f"{folder}/marks"))
with open(f"{folder}/answers.json") as file:
    answers = json.load(file)
for answer in answers:
    if answer["program"] != program or not re.search(answer["arguments"], asked):
        continue
    if not set(answer.get("if", [])) <= marks or set(answer.get("unless", [])) & marks:
        continue
    for mark in answer.get("sets", []):
        open(f"{folder}/marks/{mark}", "w").close()
    sys.stdout.write(answer.get("output", ""))
    sys.stderr.write(answer.get("error", ""))
    sys.exit(answer.get("exit", 0))
sys.stderr.write(f"no answer is recorded for: {program} {asked}\n")
sys.exit(97)

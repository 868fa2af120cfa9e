# SPDX-License-Identifier: MIT
"""Check manifests against the Kubernetes API as the official client's models have it: every field is
known, every value of the right type, every field that is required there. Usage: k8s_check.py FILE..."""

import re
import sys

import yaml
from kubernetes import client

KINDS = {"DaemonSet": "V1DaemonSet"}
SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}
errors = []


def check(value, type_name, where):
    if type_name.startswith("list["):
        if not isinstance(value, list):
            errors.append(f"{where}: a list is wanted, not {value!r}")
            return
        for i, item in enumerate(value):
            check(item, type_name[5:-1], f"{where}[{i}]")
    elif match := re.fullmatch(r"dict\(str, (.*)\)", type_name):
        if not isinstance(value, dict):
            errors.append(f"{where}: a map is wanted, not {value!r}")
            return
        for key, item in value.items():
            check(item, match[1], f"{where}.{key}")
    elif type_name in SCALARS:
        wrong_bool = isinstance(value, bool) and type_name in ("int", "float")
        if not isinstance(value, SCALARS[type_name]) or wrong_bool:
            errors.append(f"{where}: {type_name} is wanted, not {value!r}")
    else:
        check_model(value, getattr(client, type_name), where)


def check_model(value, model, where):
    if not isinstance(value, dict):
        errors.append(f"{where}: {model.__name__} is wanted, not {value!r}")
        return
    names = {json: python for python, json in model.attribute_map.items()}
    arguments = {}
    for key, item in value.items():
        if key not in names:
            errors.append(f"{where}.{key}: {model.__name__} has no such field")
            continue
        check(item, model.openapi_types[names[key]], f"{where}.{key}")
        arguments[names[key]] = item
    try:
        # the constructor refuses a required field that is missing
        model(**arguments)
    except ValueError as why:
        errors.append(f"{where}: {why}")


for path in sys.argv[1:]:
    with open(path) as f:
        for document in yaml.safe_load_all(f):
            kind = document.get("kind")
            if kind not in KINDS:
                errors.append(f"{path}: kind {kind!r} is not known to this check")
                continue
            check_model(document, getattr(client, KINDS[kind]), f"{path}: {kind}")
for error in errors:
    print(error)
sys.exit(bool(errors))

"""The files in tests/golden, which tests/golden.tftest.hcl compares with what Terraform makes of each run.

    golden.py --without-assertions FILE...     takes the assertions out of test files, since a failed one ends a file; and has
                                               the golden runs applied, since a plan does not tell its data sources: each with
                                               a state of its own, or what is left out of one would have the value that AWS
                                               said to the one before
    golden.py OUTPUT OUTPUT FOLDER             from two outputs of `terraform test -json -verbose`

Each run's file has every attribute that is not empty, of every object, and the outputs. What a mock makes up anew each time is
told by the second output, and named under `any`.
"""

import json
import re
import sys
from pathlib import Path


def modules(module):
    yield module
    for child in module.get("child_modules", []):
        yield from modules(child)


def runs(path):
    """Each run's state: objects by kind and key, and outputs."""
    found = {}
    for line in Path(path).read_text().splitlines():
        message = json.loads(line)
        if message["type"] != "test_state" or message["@testfile"] != "tests/golden.tftest.hcl":
            continue
        values = message["test_state"]
        objects = {}
        for module in modules(values.get("root_module", {})):
            for resource in module.get("resources", []):
                kind = f"{resource['type']}.{resource['name']}"
                kind = kind if resource["mode"] == "managed" else f"data.{kind}"
                if kind == "terraform_data.made" or (resource["mode"] == "data" and "module." in resource["address"]):
                    continue
                objects.setdefault(kind, {})[str(resource.get("index", ""))] = resource["values"]
        outputs = {name: output.get("value") for name, output in values.get("outputs", {}).items() if name != "resources"}
        found[message["@testrun"]] = (objects, outputs)
    return found


def text(path):
    """What tests/text tells."""
    messages = [json.loads(line) for line in Path(path).read_text().splitlines()]
    plans = [message["test_plan"]["output_changes"] for message in messages if message["type"] == "test_plan"]
    return next({name: changes[name]["after"] for name in ("made", "text")} for changes in plans if "text" in changes)


def golden(one, other):
    """What both runs have in common."""
    (objects, outputs), (again, _) = one, other
    made_up, kept = {}, {}
    for kind, instances in objects.items():
        differs = {name for key, values in instances.items() for name, value in values.items() if again[kind][key].get(name) != value}
        if differs:
            made_up[kind] = sorted(differs)
        kept[kind] = {
            key: {name: value for name, value in values.items() if value not in (None, [], {}, "") and name not in differs}
            for key, values in instances.items()
        }
    return {"any": made_up, "outputs": outputs, "resources": kept}


def without_assertions(paths):
    for path in map(Path, paths):
        text = re.sub(r"^  assert \{\n.*?^  \}\n", "", path.read_text(), flags=re.M | re.S)
        if path.name == "golden.tftest.hcl":
            text = text.replace("  override_during = plan\n", "")
            text = re.sub(r'^run "(\w+)" \{\n  command = plan\n', r'run "\1" {\n  state_key = "\1"\n', text, flags=re.M)
        path.write_text(text)


def main():
    if sys.argv[1] == "--without-assertions":
        without_assertions(sys.argv[2:])
        return
    first, second, folder = sys.argv[1:]
    one, other = runs(first), runs(second)
    if one.keys() != other.keys() or not one:
        sys.exit("The two outputs are not of the same tests.")
    files = {name: golden(one[name], other[name]) for name in one} | {"text": text(first)}
    for name, content in files.items():
        written = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
        Path(folder, f"{name}.json").write_text(written + "\n")


if __name__ == "__main__":
    main()

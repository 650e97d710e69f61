"""Prints the settings that a template of SAM gives the function, as JSON: `python3 settings.py TEMPLATE`."""

import json
import sys

from cfnlint.decode import decode

template, mistakes = decode(sys.argv[1])
assert not mistakes, mistakes
print(json.dumps(template["Resources"]["Function"]["Properties"]["Environment"]["Variables"]))

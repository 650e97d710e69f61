"""What terraform/check examines beyond Terraform's own tests. Standard library only.

    examine.py readme MODULE                     inputs and outputs of MODULE's *.tf, as Markdown
    examine.py environment PLAN                  the function's settings that a plan (terraform show -json) gives
    examine.py policies STATE...                 the rules below, on applied states (terraform show -json)
    examine.py checkov REPORT                    checkov's report (-o json) as a table; fails where a reason is missing
"""

import json
import re
import sys
from pathlib import Path

# Rules of checkov that something of ours breaks, and why it stays so. One that nothing breaks any more is an error.
EXCEPTIONS = {
    "CKV2_AWS_5": "False alarm: checkov does not see that a resource with `for_each` uses the group.",
    "CKV2_AWS_8": "Aurora's own backups are on (14 days). AWS Backup is a decision for the whole account.",
    "CKV2_AWS_11": "Flow logs of the VPC cost by traffic and belong to whoever runs the VPC; in the examples only the "
    "function, its endpoint and the database are in it.",
    "CKV2_AWS_27": "Logging every statement would put the callers' values into the log.",
    "CKV_AWS_50": "X-Ray is chosen by `function.tracing_mode`; its permission is one for all resources, so it is not "
    "the default.",
    "CKV_AWS_116": "The queue of failures is a destination (`aws_lambda_function_event_invoke_config`), which keeps the "
    "reason as well. It is there where something calls asynchronously.",
    "CKV_AWS_118": "Enhanced monitoring adds a role and a cost, and none of our alarms needs it.",
    "CKV_AWS_158": "`logs.kms_key_id` is for a key of yours (complete-postgres has one). The other examples leave the "
    "database's log groups to CloudWatch's own encryption.",
    "CKV_AWS_297": "A schedule holds the name of a query and its parameters; AWS's own key does for that.",
    "CKV_AWS_301": "Only with `function_url.authorization_type = \"NONE\"`, which has to be written out.",
    "CKV_AWS_309": "The metadata of MCP, which is for clients that have no token yet. Else only with "
    "`http_api.authorization_type = \"NONE\"`, which has to be written out.",
    "CKV_AWS_327": "Encrypted, with AWS's key, which lives as long as the last snapshot. complete-postgres takes another.",
    "CKV_AWS_338": "A year is a decision about money and privacy; `logs.retention_in_days` is 30 unless given.",
    "CKV_AWS_353": "Performance Insights keeps a cluster that should pause above its minimum.",
    "CKV_AWS_354": "Encrypted, with AWS's key: the example without keys of its own. complete-postgres shows one.",
    "CKV_AWS_394": "Two zones are taken by their order; another zone at the end of the list changes nothing.",
}

# Permissions for every resource that have to be: the services know no resources for these actions.
EVERY_RESOURCE = {
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}

# What a setting becomes that is only known after apply: something of the right form, the same each time.
AFTER_APPLY = {
    "AWS_ENDPOINT_URL_SECRETS_MANAGER": "https://after-apply.secretsmanager.eu-central-1.vpce.amazonaws.com",
    "DB_HOST": "after-apply.eu-central-1.rds.amazonaws.com",
    "DB_SECRET_ID": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:after-apply-AbCdEf",
}


def readme(module):
    """Tables of variables and outputs, from blocks as `terraform fmt` leaves them."""

    def blocks(kind):
        for file in sorted(module.glob("*.tf")):
            yield from re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}', file.read_text(), re.M | re.S)

    def description(body):
        found = re.search(r'^  description = (?:<<-EOT\n(.*?)^  EOT|"(.*)")$', body, re.M | re.S if "<<-EOT" in body else re.M)
        text = found.group(1) or found.group(2)
        return re.sub(r"(?m)^    ", "", text).replace('\\"', '"').strip()

    def attribute(body, name):
        found = re.search(rf"^  {name} +=(.*?)(?=^  \w|\Z|^\n)", body, re.M | re.S)
        return found and re.sub(r"(?m)^  ", "", found.group(1)).strip()

    lines = ["## Inputs", ""]
    variables = list(blocks("variable"))
    for required in (True, False):
        for name, body in variables:
            default = attribute(body, "default")
            if (default is None) != required:
                continue
            kind = attribute(body, "type")
            lines += [f"### `{name}`" + (" (required)" if required else ""), "", description(body), ""]
            if "\n" in kind:
                lines += ["```hcl", kind, "```", ""]
            else:
                lines += [f"Type: `{kind}`. ", ""]
            if default is not None:
                lines += [f"Default: `{default}`", ""]
    lines += ["## Outputs", "", "| name | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {description(body)} |" for name, body in sorted(blocks("output"))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def resources(module):
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from resources(child)


def environment(plan):
    """The settings as planned; for those that are known after apply, what stands above."""
    changes = {change["address"]: change["change"] for change in plan["resource_changes"]}
    [function] = [r for r in resources(plan["planned_values"]["root_module"]) if r["type"] == "aws_lambda_function"]
    planned = function["values"]["environment"][0].get("variables") or {}
    unknown = changes[function["address"]]["after_unknown"]["environment"][0].get("variables", {})
    if unknown is True:
        sys.exit("The plan does not tell which settings the function gets: a condition in `environment` depends on "
                 "something that is only known after apply.")
    settings = {**planned, **{key: AFTER_APPLY[key] for key, later in unknown.items() if later}}
    return {"timeout": function["values"]["timeout"], "environment": dict(sorted(settings.items()))}


def broken(resource):
    """Which of our rules a resource breaks."""
    kind, values = resource["type"], resource["values"]
    if kind in ("aws_iam_role_policy", "aws_iam_policy"):
        for statement in json.loads(values["policy"])["Statement"]:
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            if statement["Effect"] == "Allow" and any("*" in action for action in actions):
                yield "a role may do every action of a kind"
            if statement["Effect"] == "Allow" and "*" in statement["Resource"] and not set(actions) <= EVERY_RESOURCE:
                yield "a role may do something with every resource"
    if kind in ("aws_iam_role_policy_attachment",):
        yield "a role has a managed policy, which says more than is needed"
    if kind in ("aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"):
        if values.get("cidr_ipv4") or values.get("cidr_ipv6") or not values.get("referenced_security_group_id"):
            yield "a rule names addresses and not a group"
    if kind == "aws_security_group" and (values.get("ingress") or values.get("egress")):
        yield "a group has rules inside"
    if kind in ("aws_db_instance", "aws_rds_cluster_instance") and values.get("publicly_accessible"):
        yield "a database is public"
    if kind in ("aws_db_instance", "aws_rds_cluster"):
        if not values.get("storage_encrypted"):
            yield "a database is not encrypted"
        if not values.get("deletion_protection"):
            yield "a database can be deleted by mistake"
        if values.get("password") or values.get("master_password"):
            yield "a password is in the state"
    if kind == "aws_subnet" and values.get("map_public_ip_on_launch"):
        yield "a subnet is public"
    if kind == "aws_cloudwatch_log_group" and not values.get("retention_in_days"):
        yield "logs are kept for ever"
    if kind == "aws_sqs_queue" and not (values.get("sqs_managed_sse_enabled") or values.get("kms_master_key_id")):
        yield "a queue is not encrypted"
    managed = values.get("capacity_provider_config")  # has the network, and bounds the environments
    if kind == "aws_lambda_function" and not managed and (values["reserved_concurrent_executions"] < 1 or not values["vpc_config"]):
        yield "a function is outside the VPC or unbounded"


def policies(states):
    found = [
        f"{path.stem}: {resource['address']}: {rule}"
        for path in states
        for resource in resources(json.loads(path.read_text())["values"]["root_module"])
        if resource["mode"] == "managed"
        for rule in broken(resource)
    ]
    if found:
        sys.exit("\n".join(found))


def checkov(report):
    reports = report if isinstance(report, list) else [report]
    state = {}
    for kind in ("passed_checks", "failed_checks"):
        for check in [check for part in reports for check in part["results"][kind]]:
            counts = state.setdefault(check["check_id"], {"name": check["check_name"], "passed_checks": 0, "failed_checks": 0})
            counts[kind] += 1
    failed = {rule for rule, counts in state.items() if counts["failed_checks"]}
    problems = [f"{rule} fails ({state[rule]['name']}), and no reason is given." for rule in sorted(failed - EXCEPTIONS.keys())]
    problems += [f"{rule} has an exception that nothing needs any more." for rule in sorted(EXCEPTIONS.keys() - failed)]
    if problems:
        sys.exit("\n".join(problems))
    lines = ["| rule | what it says | state |", "|---|---|---|"]
    for rule, counts in sorted(state.items()):
        lines.append(f"| {rule} | {counts['name'].replace('|', '/')} | {EXCEPTIONS.get(rule, 'holds')} |")
    return "\n".join(lines) + "\n"


def main():
    command, *paths = sys.argv[1:]
    paths = [Path(path) for path in paths]
    if command == "readme":
        sys.stdout.write(readme(paths[0]))
    elif command == "environment":
        print(json.dumps(environment(json.loads(paths[0].read_text())), indent=2))
    elif command == "policies":
        policies(paths)
    elif command == "checkov":
        sys.stdout.write(checkov(json.loads(paths[0].read_text())))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()

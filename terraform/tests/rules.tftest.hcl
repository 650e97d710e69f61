# What holds of all permissions and rules at once, whatever the golden values say.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "nothing_is_for_everything" {
  variables {
    name   = "shop"
    engine = "postgres"
    zip    = { directory = "tests/zips" }
    network = {
      vpc_id     = "vpc-1"
      subnet_ids = ["subnet-1", "subnet-2"]
    }
    budget    = { max_connections = 100 }
    function  = { tracing_mode = "Active" }
    proxy     = {}
    release   = { canary = {} }
    queues    = { users = {} }
    schedules = { nightly = { schedule_expression = "rate(1 day)", query = "active_users" } }
    agents    = { agentcore = { tools = file("tests/tools.json") } }
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret = {
        arn         = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"
        kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
      }
    }
  }

  # Exempt are the actions for which EC2 and X-Ray know no resources.
  assert {
    condition = alltrue(flatten([
      for policies in values(output.policies) : [
        for policy in values(policies) : [
          for statement in jsondecode(policy).Statement :
          !contains(statement.Resource, "*") || length(setsubtract(statement.Action, ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "xray:PutTraceSegments", "xray:PutTelemetryRecords"])) == 0
          if statement.Effect == "Allow"
        ]
      ]
    ]))
    error_message = "A permission on every resource."
  }

  assert {
    condition     = alltrue(flatten([for policies in values(output.policies) : [for policy in values(policies) : [for statement in jsondecode(policy).Statement : [for action in statement.Action : !strcontains(action, "*")]]]]))
    error_message = "A permission for every action of a service."
  }

  assert {
    condition = alltrue([
      for rule in concat(
        values(aws_vpc_security_group_ingress_rule.database),
        values(aws_vpc_security_group_ingress_rule.secrets),
        values(aws_vpc_security_group_ingress_rule.proxy),
        values(aws_vpc_security_group_egress_rule.function),
        values(aws_vpc_security_group_egress_rule.proxy),
      ) : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.prefix_list_id == null && rule.referenced_security_group_id != null && rule.ip_protocol == "tcp"
    ])
    error_message = "Where nothing else is asked for, rules name groups; none names addresses."
  }

  # The documents that are told are those that the roles have.
  assert {
    condition = output.policies == {
      function   = merge({ for name, policy in aws_iam_role_policy.function : name => policy.policy }, { network = aws_iam_role_policy.network["this"].policy })
      proxy      = { for policy in aws_iam_role_policy.proxy : policy.name => policy.policy }
      scheduler  = { for policy in aws_iam_role_policy.scheduler : policy.name => policy.policy }
      deployment = { for policy in aws_iam_role_policy.deployment : policy.name => policy.policy }
      gateway    = { for policy in aws_iam_role_policy.gateway : policy.name => policy.policy }
    }
    error_message = "The output policies is not what the roles have."
  }
}

# What no plan shows: what waits for what, what is made before its predecessor goes, what Terraform leaves alone, and the
# providers. Whole, as the files have it.
run "order_and_lifecycle" {
  command = plan

  module {
    source = "./tests/text"
  }

  assert {
    condition     = jsonencode({ made = output.made, text = output.text }) == jsonencode(jsondecode(file("tests/golden/text.json")))
    error_message = "Not what tests/golden/text.json has. To see the difference: terraform/check --update, and git diff."
  }
}

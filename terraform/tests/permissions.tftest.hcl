# What the roles may do.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name   = "shop"
  engine = "postgres"
  zip    = { directory = "tests/zips" }
  network = {
    vpc_id     = "vpc-1"
    subnet_ids = ["subnet-1", "subnet-2"]
  }
  database = {
    host                   = "app.abc.eu-central-1.rds.amazonaws.com"
    name                   = "app"
    security_group_id      = "sg-database"
    secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
    db_instance_identifier = "app"
  }
  budget = { max_connections = 100 }
}

run "the_base_has_three_reasons" {
  assert {
    condition     = sort(keys(aws_iam_role_policy.function)) == tolist(["logs", "secret"])
    error_message = "Logs, network and the secret: nothing else was asked for."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.function["secret"].policy).Statement == [{ Action = ["secretsmanager:GetSecretValue"], Effect = "Allow", Resource = ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"] }]
    error_message = "The one secret, to read."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.function["logs"].policy).Statement[0].Resource == ["${aws_cloudwatch_log_group.function.arn}:log-stream:*"]
    error_message = "Streams of the function's own log group."
  }
}

# Every permission at once. Exempt are the actions for which EC2 and X-Ray know no resources.
run "no_permission_is_for_everything" {
  variables {
    function = { tracing_mode = "Active" }
    proxy    = {}
    queues   = { users = {} }
    schedules = { nightly = {
      schedule_expression = "rate(1 day)"
      query               = "active_users"
    } }
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

  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function), values(aws_iam_role_policy.network), values(aws_iam_role_policy.proxy), values(aws_iam_role_policy.scheduler)) : [
        for statement in jsondecode(policy.policy).Statement : !contains(statement.Resource, "*") if statement.Effect == "Allow" && !contains(["LookAtInterfaces", "Trace"], try(statement.Sid, ""))
      ]
    ]))
    error_message = "A permission on every resource."
  }

  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function), values(aws_iam_role_policy.network), values(aws_iam_role_policy.proxy), values(aws_iam_role_policy.scheduler)) : [
        for statement in jsondecode(policy.policy).Statement : [for action in statement.Action : !strcontains(action, "*")]
      ]
    ]))
    error_message = "A permission for every action of a service."
  }

  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function), values(aws_iam_role_policy.network)) : [
        for statement in jsondecode(policy.policy).Statement : alltrue([for action in statement.Action : contains(["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "xray:PutTraceSegments", "xray:PutTelemetryRecords"], action)]) if statement.Effect == "Allow" && contains(statement.Resource, "*")
      ]
    ]))
    error_message = "Only what EC2 and X-Ray give for every resource or not at all may be for every resource."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.function["secret"].policy).Statement[1] == { Action = ["kms:Decrypt"], Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.eu-central-1.amazonaws.com" } }, Effect = "Allow", Resource = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"] }
    error_message = "The secret's key, through Secrets Manager only."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.network["this"].policy).Statement : statement.Condition.ArnEquals["lambda:SourceFunctionArn"] if statement.Effect == "Deny"]) == "arn:aws:lambda:eu-central-1:123456789012:function:shop"
    error_message = "The code in the function must not use what Lambda needs for its network."
  }

  assert {
    condition     = alltrue([for role in concat(values(aws_iam_role.proxy), values(aws_iam_role.scheduler)) : jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"])
    error_message = "RDS and the scheduler act for this account only."
  }
}

run "iam_auth_names_the_database_and_the_user" {
  variables {
    database = {
      host              = "app.abc.eu-central-1.rds.amazonaws.com"
      name              = "app"
      security_group_id = "sg-database"
      auth              = "iam"
      user              = "reporting"
      resource_id       = "db-ABC"
    }
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.function["connect"].policy).Statement == [{ Action = ["rds-db:connect"], Effect = "Allow", Resource = ["arn:aws:rds-db:eu-central-1:123456789012:dbuser:db-ABC/reporting"] }]
    error_message = "rds-db:connect on the resource id and the user."
  }

  assert {
    condition     = !contains(keys(aws_iam_role_policy.function), "secret")
    error_message = "Without a secret no permission to read one."
  }
}

run "iam_auth_behind_a_proxy_names_the_proxy" {
  variables {
    proxy = {}
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      auth                   = "iam"
      user                   = "reporting"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
    }
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.function["connect"].policy).Statement[0].Resource == ["arn:aws:rds-db:eu-central-1:123456789012:dbuser:prx-0proxy/reporting"]
    error_message = "Behind a proxy the resource is the proxy."
  }

  assert {
    condition     = !contains(keys(aws_iam_role_policy.function), "secret") && jsondecode(aws_iam_role_policy.proxy["this"].policy).Statement[0].Resource == ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"]
    error_message = "The proxy reads the secret, the function does not."
  }
}

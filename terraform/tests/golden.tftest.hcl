# Whole values: everything that is created in each run, and the outputs, compared with tests/golden. What AWS would say is
# mocked, with other ids for each object, and told to the plan already: applying and destroying the mocks takes two thirds of
# the time and tells nothing more. `terraform/check --update` writes the files anew; the difference is then to be read.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

# When it was made.
override_resource {
  target          = terraform_data.made
  override_during = plan
  values          = { output = "20260102030405" }
}

# The examples, as their variables' defaults have them.

variables {
  zip_directory = "tests/zips"
  vpc_id        = "vpc-1"
  subnet_ids    = ["subnet-1", "subnet-2"]
  alarm_emails  = ["you@example.com"]
  alarm_actions = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  database = {
    host              = "app.abc.eu-central-1.rds.amazonaws.com"
    name              = "app"
    security_group_id = "sg-database"
    identifier        = "app"
    instance_class    = "db.t4g.small"
  }
  secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"

  # Of some examples only.
  storage_kms_key_arn  = "arn:aws:kms:eu-central-1:123456789012:key/of-the-disk"
  database_user        = "reporting"
  database_resource_id = "db-ABC"
  jwt                  = { issuer = "https://issuer.example.com", audience = ["app"] }
  cors_origin          = "https://app.example.com"
  bedrock_agents       = { support = "arn:aws:bedrock:eu-central-1:123456789012:agent/ABCDEFGHIJ" }
}

run "agents" {
  command = plan

  module {
    source = "./examples/agents"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/agents.json"))] : {
      for kind, held in module.function.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/agents.json")).resources])
    error_message = "What is created is not what tests/golden/agents.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, function_arn = output.function_arn, function_name = output.function_name, gateway_url = output.gateway_url, url = output.url }) == jsonencode(jsondecode(file("tests/golden/agents.json")).outputs)
    error_message = "The outputs are not what tests/golden/agents.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "aurora_serverless" {
  command = plan

  module {
    source = "./examples/aurora-serverless"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/aurora_serverless.json"))] : {
      for kind, held in merge(module.function.resources, {
        "aws_cloudwatch_log_group.database"       = { "" = aws_cloudwatch_log_group.database }
        "aws_db_subnet_group.this"                = { "" = aws_db_subnet_group.this }
        "aws_default_security_group.this"         = { "" = aws_default_security_group.this }
        "aws_rds_cluster.this"                    = { "" = aws_rds_cluster.this }
        "aws_rds_cluster_instance.this"           = aws_rds_cluster_instance.this
        "aws_secretsmanager_secret_rotation.this" = { "" = aws_secretsmanager_secret_rotation.this }
        "aws_security_group.database"             = { "" = aws_security_group.database }
        "aws_subnet.private"                      = aws_subnet.private
        "aws_vpc.this"                            = { "" = aws_vpc.this }
        "data.aws_availability_zones.available"   = { "" = data.aws_availability_zones.available }
        }) : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/aurora_serverless.json")).resources])
    error_message = "What is created is not what tests/golden/aurora_serverless.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, function_name = output.function_name }) == jsonencode(jsondecode(file("tests/golden/aurora_serverless.json")).outputs)
    error_message = "The outputs are not what tests/golden/aurora_serverless.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "complete_mysql" {
  command = plan

  module {
    source = "./examples/complete-mysql"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/complete_mysql.json"))] : {
      for kind, held in merge(module.function.resources, {
        "aws_cloudwatch_log_group.database"       = aws_cloudwatch_log_group.database
        "aws_db_instance.this"                    = { "" = aws_db_instance.this }
        "aws_db_subnet_group.this"                = { "" = aws_db_subnet_group.this }
        "aws_default_security_group.this"         = { "" = aws_default_security_group.this }
        "aws_secretsmanager_secret_rotation.this" = { "" = aws_secretsmanager_secret_rotation.this }
        "aws_security_group.database"             = { "" = aws_security_group.database }
        "aws_subnet.private"                      = aws_subnet.private
        "aws_vpc.this"                            = { "" = aws_vpc.this }
        "data.aws_availability_zones.available"   = { "" = data.aws_availability_zones.available }
        }) : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/complete_mysql.json")).resources])
    error_message = "What is created is not what tests/golden/complete_mysql.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, function_name = output.function_name }) == jsonencode(jsondecode(file("tests/golden/complete_mysql.json")).outputs)
    error_message = "The outputs are not what tests/golden/complete_mysql.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "complete_postgres" {
  command = plan

  module {
    source = "./examples/complete-postgres"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/complete_postgres.json"))] : {
      for kind, held in merge(module.function.resources, {
        "aws_cloudwatch_log_group.database"       = aws_cloudwatch_log_group.database
        "aws_db_instance.this"                    = { "" = aws_db_instance.this }
        "aws_db_subnet_group.this"                = { "" = aws_db_subnet_group.this }
        "aws_default_security_group.this"         = { "" = aws_default_security_group.this }
        "aws_kms_alias.this"                      = { "" = aws_kms_alias.this }
        "aws_kms_key.this"                        = { "" = aws_kms_key.this }
        "aws_secretsmanager_secret_rotation.this" = { "" = aws_secretsmanager_secret_rotation.this }
        "aws_security_group.database"             = { "" = aws_security_group.database }
        "aws_sns_topic.alarms"                    = { "" = aws_sns_topic.alarms }
        "aws_sns_topic_subscription.alarms"       = aws_sns_topic_subscription.alarms
        "aws_subnet.private"                      = aws_subnet.private
        "aws_vpc.this"                            = { "" = aws_vpc.this }
        "data.aws_availability_zones.available"   = { "" = data.aws_availability_zones.available }
        "data.aws_caller_identity.current"        = { "" = data.aws_caller_identity.current }
        "data.aws_partition.current"              = { "" = data.aws_partition.current }
        }) : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/complete_postgres.json")).resources])
    error_message = "What is created is not what tests/golden/complete_postgres.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, function_name = output.function_name }) == jsonencode(jsondecode(file("tests/golden/complete_postgres.json")).outputs)
    error_message = "The outputs are not what tests/golden/complete_postgres.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "existing_database" {
  command = plan

  module {
    source = "./examples/existing-database"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/existing_database.json"))] : {
      for kind, held in module.function.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/existing_database.json")).resources])
    error_message = "What is created is not what tests/golden/existing_database.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, function_name = output.function_name }) == jsonencode(jsondecode(file("tests/golden/existing_database.json")).outputs)
    error_message = "The outputs are not what tests/golden/existing_database.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "http_api" {
  command = plan

  module {
    source = "./examples/http-api"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/http_api.json"))] : {
      for kind, held in module.function.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/http_api.json")).resources])
    error_message = "What is created is not what tests/golden/http_api.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, function_name = output.function_name, url = output.url }) == jsonencode(jsondecode(file("tests/golden/http_api.json")).outputs)
    error_message = "The outputs are not what tests/golden/http_api.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "iam_auth" {
  command = plan

  module {
    source = "./examples/iam-auth"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/iam_auth.json"))] : {
      for kind, held in module.function.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/iam_auth.json")).resources])
    error_message = "What is created is not what tests/golden/iam_auth.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, function_name = output.function_name }) == jsonencode(jsondecode(file("tests/golden/iam_auth.json")).outputs)
    error_message = "The outputs are not what tests/golden/iam_auth.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "rds_proxy" {
  command = plan

  module {
    source = "./examples/rds-proxy"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/rds_proxy.json"))] : {
      for kind, held in module.function.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/rds_proxy.json")).resources])
    error_message = "What is created is not what tests/golden/rds_proxy.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, function_name = output.function_name, proxy_endpoint = output.proxy_endpoint }) == jsonencode(jsondecode(file("tests/golden/rds_proxy.json")).outputs)
    error_message = "The outputs are not what tests/golden/rds_proxy.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "sqs_and_schedule" {
  command = plan

  module {
    source = "./examples/sqs-and-schedule"
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/sqs_and_schedule.json"))] : {
      for kind, held in module.function.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/sqs_and_schedule.json")).resources])
    error_message = "What is created is not what tests/golden/sqs_and_schedule.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ connection_budget = output.connection_budget, failures_url = output.failures_url, function_name = output.function_name, queues = output.queues }) == jsonencode(jsondecode(file("tests/golden/sqs_and_schedule.json")).outputs)
    error_message = "The outputs are not what tests/golden/sqs_and_schedule.json has. To see the difference: terraform/check --update, and git diff."
  }
}

# The module itself: what the examples leave out.

# Roles, groups, an endpoint, destinations, an object in S3.
run "what_is_there_already" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name   = "shop"
      engine = "mysql"
      zip    = { s3_bucket = "zips", s3_key = "lambda-rds-mysql-x86_64.zip", s3_object_version = "3" }
      network = {
        vpc_id             = "vpc-1"
        subnet_ids         = ["subnet-1", "subnet-2"]
        security_group_ids = ["sg-own-1", "sg-own-2"]
        secrets_endpoint   = { security_group_id = "sg-endpoint" }
      }
      database  = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
      budget    = { max_connections = 100 }
      schedules = { nightly = { schedule_expression = "rate(1 day)", query = "active_users" } }
      async     = { on_failure = { arn = "arn:aws:sns:eu-central-1:123456789012:failures" }, on_success = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:next" } }
      queues    = { orders = { existing = { arn = "arn:aws:sqs:eu-central-1:123456789012:orders-of-others" } } }
      iam = {
        role           = { arn = "arn:aws:iam::123456789012:role/own" }
        scheduler_role = { arn = "arn:aws:iam::123456789012:role/own-schedule" }
      }
      parameter_group = { family = "mysql8.4" }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/what_is_there_already.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/what_is_there_already.json")).resources])
    error_message = "What is created is not what tests/golden/what_is_there_already.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/what_is_there_already.json")).outputs)
    error_message = "The outputs are not what tests/golden/what_is_there_already.json has. To see the difference: terraform/check --update, and git diff."
  }
}

# As little as can be said.
run "least" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name     = "shop"
      engine   = "postgres"
      zip      = { directory = "tests/zips" }
      network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"] }
      database = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
      budget   = { max_connections = 100 }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/least.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/least.json")).resources])
    error_message = "What is created is not what tests/golden/least.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/least.json")).outputs)
    error_message = "The outputs are not what tests/golden/least.json has. To see the difference: terraform/check --update, and git diff."
  }
}

# As much as goes together, in another partition.
run "most" {
  command = plan

  module {
    source = "./tests/call"
  }

  override_data {
    target = module.function.data.aws_partition.current
    values = { partition = "aws-us-gov" }
  }

  variables {
    call = {
      name         = "shop"
      engine       = "postgres"
      architecture = "arm64"
      zip          = { filename = "tests/zips/lambda-rds-postgres-arm64.zip" }
      tags         = { team = "data" }
      function = {
        description                    = "Orders"
        memory_size                    = 512
        timeout                        = 25
        reserved_concurrent_executions = 12
        environment                    = { LAMBDA_RDS_DIAGNOSE = "true", OTEL_SERVICE_NAME = "shop" }
        tracing_mode                   = "Active"
        kms_key_arn                    = "arn:aws:kms:eu-central-1:123456789012:key/of-the-environment"
        layers                         = ["arn:aws:lambda:eu-central-1:123456789012:layer:collector:3"]
        code_signing_config_arn        = "arn:aws:lambda:eu-central-1:123456789012:code-signing-config:csc-0123456789abcdef0"
      }
      network = {
        vpc_id     = "vpc-1"
        subnet_ids = ["subnet-1", "subnet-2"]
        egress = {
          collector = { port = 4317, security_group_id = "sg-collector" }
          second    = { port = 3306, cidr_blocks = ["10.1.0.0/24", "fd00::/64"], prefix_list_ids = ["pl-second"] }
        }
      }
      database = {
        host                   = "app.abc.eu-central-1.rds.amazonaws.com"
        port                   = 6432
        name                   = "app"
        security_group_id      = "sg-database"
        secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf", kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/of-the-secret" }
        db_instance_identifier = "app-instance"
      }
      connections     = { max_connections = 2, connect_timeout = "4s", query_timeout = "20s", deadline_reserve = "500ms", generations = 3, pooler = "transaction", pipeline = "off", connect_at = "first-use" }
      replies         = { int64 = "string", compress = "off", base_path = "/v1/", http_timeout = "24s", http_batch = true, openapi = true, direct_errors = "raise", default_query = "active_users" }
      budget          = { max_connections = 400, share = 0.75, others = { reports = 30, api = 12 } }
      session         = { set = ["app.tenant = claims.tenant", "app.user = claims.sub"], role = "claims.role in {member, auditor}" }
      idempotency     = { table = "app.keys", reply_bytes = 20000 }
      parameter_group = { family = "postgres17", idle_session_timeout = "10m", statement_timeout = "30s" }
      queues = {
        users   = { batch_size = 50, maximum_batching_window_in_seconds = 5, maximum_concurrency = 3, max_receive_count = 7, message_retention_seconds = 86400 }
        renames = { fifo = true, maximum_concurrency = 4 }
        orders  = { existing = { arn = "arn:aws:sqs:eu-central-1:123456789012:orders-of-others", kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/of-the-queue" } }
      }
      schedules = {
        nightly = { schedule_expression = "cron(0 3 * * ? *)", schedule_expression_timezone = "Europe/Berlin", query = "active_users", params = "{\"active\": false}", maximum_event_age_in_seconds = 1800 }
        hourly  = { schedule_expression = "rate(1 hour)", query = "recount" }
      }
      async = {
        maximum_event_age_in_seconds = 900
        maximum_retry_attempts       = 1
        on_success                   = { arn = "arn:aws:events:eu-central-1:123456789012:event-bus/done" }
      }
      release = { alias = "prod", function_version = "6", provisioned_concurrent_executions = 5 }
      http_api = {
        jwt                          = { issuer = "https://issuer.example.com", audience = ["app", "admin"], scopes = ["read"] }
        cors_origin                  = "https://app.example.com"
        cors_headers                 = ["idempotency-key"]
        domain                       = { name = "api.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/of-the-api", hosted_zone = { id = "Z-of-the-name" } }
        disable_execute_api_endpoint = true
        throttling_rate_limit        = 40
        throttling_burst_limit       = 20
      }
      agents = {
        mcp        = { authorization_server = "https://login.example.com" }
        tool_bytes = 20000
        agentcore = {
          tools = file("tests/tools.json")
          jwt   = { discovery_url = "https://issuer.example.com/.well-known/openid-configuration", clients = ["agent"], scopes = ["tools"] }
        }
      }
      function_url = { callers = { reports = "arn:aws:iam::210987654321:role/reports" } }
      iam = {
        path                 = "/apps/"
        permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"
        name_prefix          = "team-"
        policies             = { second = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
      }
      logs   = { retention_in_days = 90, kms_key_id = "arn:aws:kms:eu-central-1:123456789012:key/of-the-logs", level = "DEBUG", filter = "info,lambda_rds_core=debug", values = false, log_group_class = "INFREQUENT_ACCESS" }
      alarms = { actions = ["arn:aws:sns:eu-central-1:123456789012:alarms"], thresholds = { faults = 2, http_5xx = 9 } }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/most.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/most.json")).resources])
    error_message = "What is created is not what tests/golden/most.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/most.json")).outputs)
    error_message = "The outputs are not what tests/golden/most.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "proxy_with_secret_and_canary" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name         = "shop"
      engine       = "postgres"
      zip          = { directory = "tests/zips" }
      tags         = { team = "data" }
      network      = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"] }
      database     = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }, db_instance_identifier = "app-instance" }
      budget       = { max_connections = 100, share = 0.3 }
      proxy        = {}
      release      = { canary = {} }
      queues       = { users = {} }
      schedules    = { nightly = { schedule_expression = "rate(1 day)", query = "active_users" } }
      http_api     = { authorization_type = "AWS_IAM" }
      function_url = { authorization_type = "NONE" }
      iam          = { path = "/apps/", permissions_boundary = "arn:aws:iam::123456789012:policy/boundary", name_prefix = "team-" }
      logs         = { retention_in_days = 90, kms_key_id = "arn:aws:kms:eu-central-1:123456789012:key/of-the-logs" }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/proxy_with_secret_and_canary.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/proxy_with_secret_and_canary.json")).resources])
    error_message = "What is created is not what tests/golden/proxy_with_secret_and_canary.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/proxy_with_secret_and_canary.json")).outputs)
    error_message = "The outputs are not what tests/golden/proxy_with_secret_and_canary.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "proxy_with_iam_before_a_cluster" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name   = "shop"
      engine = "aurora-mysql"
      zip    = { directory = "tests/zips" }
      network = {
        vpc_id     = "vpc-1"
        subnet_ids = ["subnet-1", "subnet-2"]
      }
      database = {
        host                  = "app.cluster-abc.eu-central-1.rds.amazonaws.com"
        name                  = "app"
        cidr_blocks           = ["10.2.0.0/24", "fd00:2::/64"]
        prefix_list_ids       = ["pl-database"]
        auth                  = "iam"
        user                  = "reporting"
        secret                = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf", kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/of-the-secret" }
        db_cluster_identifier = "app-cluster"
      }
      budget          = { instance_class = "db.r6g.large", share = 0.8 }
      proxy           = { subnet_ids = ["subnet-3", "subnet-4"], max_connections_percent = 75, connection_borrow_timeout = 2, idle_client_timeout = 600 }
      parameter_group = { family = "aurora-mysql8.0", idle_session_timeout = "5m" }
      http_api        = { authorization_type = "NONE" }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/proxy_with_iam_before_a_cluster.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/proxy_with_iam_before_a_cluster.json")).resources])
    error_message = "What is created is not what tests/golden/proxy_with_iam_before_a_cluster.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/proxy_with_iam_before_a_cluster.json")).outputs)
    error_message = "The outputs are not what tests/golden/proxy_with_iam_before_a_cluster.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "a_proxy_of_ones_own_roles" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name     = "shop"
      engine   = "mariadb"
      zip      = { directory = "tests/zips" }
      network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-own"], secrets_endpoint = { cidr_blocks = ["0.0.0.0/0"] } }
      database = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }, db_instance_identifier = "app-instance" }
      budget   = { instance_class = "db.t4g.medium", share = 1 }
      proxy    = {}
      release  = { alias = "prod", canary = { deployment_config_name = "CodeDeployDefault.LambdaLinear10PercentEvery1Minute", alarms = ["errors"] } }
      iam = {
        role            = { arn = "arn:aws:iam::123456789012:role/own" }
        proxy_role      = { arn = "arn:aws:iam::123456789012:role/own-proxy" }
        deployment_role = { arn = "arn:aws:iam::123456789012:role/own-deployment" }
      }
      parameter_group = { family = "mariadb11.4" }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/a_proxy_of_ones_own_roles.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/a_proxy_of_ones_own_roles.json")).resources])
    error_message = "What is created is not what tests/golden/a_proxy_of_ones_own_roles.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/a_proxy_of_ones_own_roles.json")).outputs)
    error_message = "The outputs are not what tests/golden/a_proxy_of_ones_own_roles.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "no_rules_in_others_groups" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name   = "shop"
      engine = "aurora-postgres"
      zip    = { directory = "tests/zips" }
      network = {
        vpc_id           = "vpc-1"
        subnet_ids       = ["subnet-1", "subnet-2"]
        secrets_endpoint = { security_group_id = "sg-endpoint", security_group_rule = false }
      }
      database = {
        host                  = "db.example.com"
        name                  = "app"
        security_group_id     = "sg-database"
        security_group_rule   = false
        read_from             = "reader"
        reader_host           = "reports.cluster-custom-abc.eu-central-1.rds.amazonaws.com"
        instance_pattern      = "?.db.example.com:6432"
        tls_server_name       = "app.cluster-tls.eu-central-1.rds.amazonaws.com"
        iam_host              = "app.cluster-iam.eu-central-1.rds.amazonaws.com"
        secret                = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
        db_cluster_identifier = "app-cluster"
      }
      budget = { serverless = { min_capacity = 1, max_capacity = 16 } }
      async  = {}
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/no_rules_in_others_groups.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/no_rules_in_others_groups.json")).resources])
    error_message = "What is created is not what tests/golden/no_rules_in_others_groups.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/no_rules_in_others_groups.json")).outputs)
    error_message = "The outputs are not what tests/golden/no_rules_in_others_groups.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "secrets_by_nat" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name   = "shop"
      engine = "mysql"
      zip    = { directory = "tests/zips" }
      network = {
        vpc_id           = "vpc-1"
        subnet_ids       = ["subnet-1", "subnet-2"]
        secrets_endpoint = { cidr_blocks = ["0.0.0.0/0", "::/0"], prefix_list_ids = ["pl-secrets"] }
      }
      database = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", prefix_list_ids = ["pl-database"], secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
      budget   = { max_connections = 100 }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/secrets_by_nat.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/secrets_by_nat.json")).resources])
    error_message = "What is created is not what tests/golden/secrets_by_nat.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/secrets_by_nat.json")).outputs)
    error_message = "The outputs are not what tests/golden/secrets_by_nat.json has. To see the difference: terraform/check --update, and git diff."
  }
}

# Also IPv6, streams and MCP at a function URL.
run "a_proxy_that_is_there" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name   = "shop"
      engine = "aurora-postgres"
      zip    = { directory = "tests/zips" }
      tags   = { team = "data" }
      network = {
        vpc_id                      = "vpc-1"
        subnet_ids                  = ["subnet-1", "subnet-2"]
        ipv6_allowed_for_dual_stack = true
        secrets_endpoint            = { security_group_id = "sg-endpoint" }
      }
      database = { host = "app.cluster-abc.eu-central-1.rds.amazonaws.com", name = "app", auth = "iam", user = "reporting", read_from = "reader", db_cluster_identifier = "app-cluster" }
      budget   = { max_connections = 400 }
      proxy = {
        existing = {
          name              = "of-others"
          endpoint          = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com"
          reader_endpoint   = "of-others-reader.endpoint.proxy-abc.eu-central-1.rds.amazonaws.com"
          arn               = "arn:aws:rds:eu-central-1:123456789012:db-proxy:prx-0123456789abcdef0"
          security_group_id = "sg-proxy-of-others"
        }
        connection_borrow_timeout = 5
      }
      function_url = {}
      replies      = { stream = true, stream_bytes = 104857600 }
      agents       = { mcp = { authorization_server = "https://login.example.com" } }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/a_proxy_that_is_there.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/a_proxy_that_is_there.json")).resources])
    error_message = "What is created is not what tests/golden/a_proxy_that_is_there.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/a_proxy_that_is_there.json")).outputs)
    error_message = "The outputs are not what tests/golden/a_proxy_that_is_there.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "a_proxy_that_is_there_by_addresses" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name     = "shop"
      engine   = "mysql"
      zip      = { directory = "tests/zips" }
      network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"] }
      database = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
      budget   = { max_connections = 100 }
      proxy    = { existing = { name = "of-others", endpoint = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com", cidr_blocks = ["10.3.0.0/24"], prefix_list_ids = ["pl-proxy"] } }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/a_proxy_that_is_there_by_addresses.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/a_proxy_that_is_there_by_addresses.json")).resources])
    error_message = "What is created is not what tests/golden/a_proxy_that_is_there_by_addresses.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/a_proxy_that_is_there_by_addresses.json")).outputs)
    error_message = "The outputs are not what tests/golden/a_proxy_that_is_there_by_addresses.json has. To see the difference: terraform/check --update, and git diff."
  }
}

# And a read-only endpoint of the proxy, in another partition.
run "no_password_from_end_to_end" {
  command = plan

  module {
    source = "./tests/call"
  }

  override_data {
    target = module.function.data.aws_partition.current
    values = { partition = "aws-us-gov" }
  }

  variables {
    call = {
      name     = "shop"
      engine   = "aurora-postgres"
      zip      = { directory = "tests/zips" }
      tags     = { team = "data" }
      network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"] }
      database = { host = "app.cluster-abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", auth = "iam", user = "reporting", resource_id = "cluster-ABC", read_from = "reader", db_cluster_identifier = "app-cluster" }
      budget   = { serverless = { min_capacity = 2, max_capacity = 16 }, share = 0.4 }
      proxy    = { auth = "iam", subnet_ids = ["subnet-3", "subnet-4"] }
      logs     = { log_group_class = "INFREQUENT_ACCESS" }

      parameter_group = { family = "aurora-postgresql17" }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/no_password_from_end_to_end.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/no_password_from_end_to_end.json")).resources])
    error_message = "What is created is not what tests/golden/no_password_from_end_to_end.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/no_password_from_end_to_end.json")).outputs)
    error_message = "The outputs are not what tests/golden/no_password_from_end_to_end.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "managed_instances" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name   = "shop"
      engine = "postgres"
      zip    = { directory = "tests/zips" }
      network = {
        vpc_id             = "vpc-1"
        subnet_ids         = ["subnet-1", "subnet-2"]
        security_group_ids = ["sg-capacity"]
      }
      database = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
      budget   = { max_connections = 400, share = 0.75 }
      queues   = { users = { maximum_concurrency = 24 } }
      function = {
        memory_size = 4096
        managed_instances = {
          capacity_provider_arn                     = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop"
          environments                              = 4
          per_execution_environment_max_concurrency = 8
          execution_environment_memory_gib_per_vcpu = 4
        }
      }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/managed_instances.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/managed_instances.json")).resources])
    error_message = "What is created is not what tests/golden/managed_instances.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/managed_instances.json")).outputs)
    error_message = "The outputs are not what tests/golden/managed_instances.json has. To see the difference: terraform/check --update, and git diff."
  }
}

# Rules, records and alarms that others see to.
run "left_to_others" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name     = "shop"
      engine   = "aurora-postgres"
      zip      = { directory = "tests/zips" }
      network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], secrets_endpoint = { security_group_id = "sg-endpoint" } }
      database = { host = "app.cluster-abc.eu-central-1.rds.amazonaws.com", name = "app", read_from = "reader", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
      budget   = { serverless = { min_capacity = 1, max_capacity = 16 } }
      proxy = {
        existing = {
          name                = "of-others"
          endpoint            = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com"
          reader_endpoint     = "of-others-reader.endpoint.proxy-abc.eu-central-1.rds.amazonaws.com"
          security_group_id   = "sg-proxy-of-others"
          security_group_rule = false
        }
      }
      http_api = { authorization_type = "AWS_IAM", domain = { name = "api.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/of-the-api" } }
      agents   = { agentcore = { tools = file("tests/tools.json"), search_type = "SEMANTIC" } }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/left_to_others.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/left_to_others.json")).resources])
    error_message = "What is created is not what tests/golden/left_to_others.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/left_to_others.json")).outputs)
    error_message = "The outputs are not what tests/golden/left_to_others.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "agents_by_a_gateway_that_is_there" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name     = "shop"
      engine   = "postgres"
      zip      = { directory = "tests/zips" }
      network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"] }
      database = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
      budget   = { max_connections = 100 }
      release  = {}
      function = { environment = { LAMBDA_RDS_BASE_PATH = "/v1" } }
      http_api = { authorization_type = "AWS_IAM", cors_origin = "https://app.example.com" }
      agents = {
        mcp       = {}
        bedrock   = { support = "arn:aws:bedrock:eu-central-1:123456789012:agent/ABCDEFGHIJ" }
        agentcore = { tools = file("tests/tools.json"), gateway = { id = "of-others-abcdefghij" }, allowed_request_headers = ["x-tenant"] }
      }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/agents_by_a_gateway_that_is_there.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/agents_by_a_gateway_that_is_there.json")).resources])
    error_message = "What is created is not what tests/golden/agents_by_a_gateway_that_is_there.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/agents_by_a_gateway_that_is_there.json")).outputs)
    error_message = "The outputs are not what tests/golden/agents_by_a_gateway_that_is_there.json has. To see the difference: terraform/check --update, and git diff."
  }
}

run "agents_of_iam" {
  command = plan

  module {
    source = "./tests/call"
  }

  variables {
    call = {
      name     = "shop"
      engine   = "aurora-postgres"
      zip      = { directory = "tests/zips" }
      tags     = { team = "data" }
      network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"] }
      database = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }, db_instance_identifier = "app-instance" }
      budget   = { max_connections = 100 }
      async    = { on_failure = { arn = "arn:aws:sqs:eu-central-1:123456789012:failures-of-others" } }
      iam      = { gateway_role = { arn = "arn:aws:iam::123456789012:role/own-gateway" } }
      agents   = { agentcore = { tools = file("tests/tools.json"), instructions = "Ask before you change anything.", search_type = "SEMANTIC" } }
    }
  }

  assert {
    condition = jsonencode([for golden in [jsondecode(file("tests/golden/agents_of_iam.json"))] : {
      for kind, held in output.resources : kind => {
        for key, object in [held, { "" = held }][contains(["aws_cloudwatch_log_group.function", "aws_lambda_function.this"], kind) ? 1 : 0] : key => {
          for attribute, value in object : attribute => value if !contains(["null", "[]", "{}", "\"\""], jsonencode(value)) && !contains(try(golden.any[kind], []), attribute)
        }
      } if length(held) > 0
    }]) == jsonencode([jsondecode(file("tests/golden/agents_of_iam.json")).resources])
    error_message = "What is created is not what tests/golden/agents_of_iam.json has. To see the difference: terraform/check --update, and git diff."
  }

  assert {
    condition     = jsonencode({ outputs = output.outputs }) == jsonencode(jsondecode(file("tests/golden/agents_of_iam.json")).outputs)
    error_message = "The outputs are not what tests/golden/agents_of_iam.json has. To see the difference: terraform/check --update, and git diff."
  }
}

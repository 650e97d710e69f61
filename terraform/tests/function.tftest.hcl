# The function: its zip, settings, logs and alarms.

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

run "it_is_made_from_the_zip" {
  assert {
    condition     = aws_lambda_function.this.filename == "tests/zips/lambda-rds-postgres-x86_64.zip" && aws_lambda_function.this.source_code_hash == filebase64sha256("tests/zips/lambda-rds-postgres-x86_64.zip") && aws_lambda_function.this.runtime == "provided.al2023" && aws_lambda_function.this.handler == "bootstrap" && aws_lambda_function.this.architectures == tolist(["x86_64"])
    error_message = "Engine and architecture pick the zip; a new one is noticed."
  }

  assert {
    condition = output.environment == tomap({
      AWS_ENDPOINT_URL_SECRETS_MANAGER = "https://vpce-0mocked.secretsmanager.eu-central-1.vpce.amazonaws.com"
      DB_CONNECT_TIMEOUT               = "5s"
      DB_DEADLINE_RESERVE              = "250ms"
      DB_ENGINE                        = "postgres"
      DB_HOST                          = "app.abc.eu-central-1.rds.amazonaws.com"
      DB_MAX_CONNECTIONS               = "1"
      DB_NAME                          = "app"
      DB_PORT                          = "5432"
      DB_QUERY_TIMEOUT                 = "10s"
      DB_SECRET_ID                     = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"
    })
    error_message = "The settings are not these."
  }

  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 10 && aws_lambda_function.this.timeout == 20
    error_message = "Reserved concurrency bounds the connections."
  }

  assert {
    condition     = aws_lambda_function.this.logging_config[0].log_format == "JSON" && aws_lambda_function.this.logging_config[0].log_group == aws_cloudwatch_log_group.function.name && aws_cloudwatch_log_group.function.retention_in_days == 30
    error_message = "JSON logs, in a group that forgets."
  }

  assert {
    condition     = length(aws_apigatewayv2_api.this) + length(aws_lambda_function_url.this) + length(aws_sqs_queue.source) + length(aws_scheduler_schedule.this) + length(aws_db_proxy.this) + length(aws_lambda_permission.http_api) + length(aws_lambda_permission.open_url) == 0
    error_message = "Nothing that was not asked for."
  }
}

run "arm64_and_mariadb" {
  variables {
    engine       = "mariadb"
    architecture = "arm64"
  }

  assert {
    condition     = aws_lambda_function.this.filename == "tests/zips/lambda-rds-mysql-arm64.zip" && output.environment.DB_ENGINE == "mysql" && output.environment.DB_PORT == "3306"
    error_message = "MariaDB has MySQL's zip and port."
  }
}

run "the_alarms_are_on_what_the_function_tells" {
  assert {
    condition     = sort(keys(output.alarms)) == tolist(["cold_connects", "connect_millis", "database_connections", "database_cpu", "database_storage", "duration", "errors", "faults", "query_millis", "retries", "throttles"])
    error_message = "Alarms: ${join(", ", keys(output.alarms))}."
  }

  assert {
    condition     = alltrue([for name in ["cold_connects", "connect_millis", "faults", "query_millis", "retries"] : aws_cloudwatch_metric_alarm.this[name].namespace == "lambda-rds" && aws_cloudwatch_metric_alarm.this[name].dimensions == tomap({ function = "shop" })])
    error_message = "Our metrics are by function, in the namespace lambda-rds."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["database_connections"].threshold == 80 && aws_cloudwatch_metric_alarm.this["connect_millis"].threshold == 4000 && aws_cloudwatch_metric_alarm.this["duration"].threshold == 18000
    error_message = "Thresholds follow from the limits."
  }
}

run "alarms_call_and_can_be_moved" {
  variables {
    alarms = {
      actions    = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
      thresholds = { faults = 1 }
    }
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_actions == toset(["arn:aws:sns:eu-central-1:123456789012:alarms"]) && alarm.ok_actions == alarm.alarm_actions])
    error_message = "Each alarm tells of itself and of its end."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["faults"].threshold == 1
    error_message = "The threshold given counts."
  }
}

run "a_cluster_is_watched_at_its_writer" {
  variables {
    engine = "aurora-postgres"
    budget = { serverless = { min_capacity = 1, max_capacity = 8 } }
    database = {
      host                  = "app.cluster-abc.eu-central-1.rds.amazonaws.com"
      name                  = "app"
      security_group_id     = "sg-database"
      read_from             = "reader"
      secret                = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      db_cluster_identifier = "app"
    }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["database_connections"].dimensions == tomap({ DBClusterIdentifier = "app", Role = "WRITER" }) && contains(keys(output.alarms), "database_capacity") && !contains(keys(output.alarms), "database_storage")
    error_message = "A cluster has capacity, not a disk."
  }

  assert {
    condition     = output.environment.DB_READ_FROM == "reader" && output.environment.DB_ENGINE == "aurora-postgres"
    error_message = "Reads go to the readers."
  }
}

run "tracing_is_asked_for" {
  variables {
    function = { tracing_mode = "Active" }
  }

  assert {
    condition     = aws_lambda_function.this.tracing_config[0].mode == "Active" && contains(keys(aws_iam_role_policy.function), "tracing")
    error_message = "X-Ray, with its permission."
  }
}

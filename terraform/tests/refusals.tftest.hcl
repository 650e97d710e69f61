# Every precondition of the module and every validation of its variables, each with the smallest change that breaks it.
# Beside a limit stands a run that keeps it, so that a precondition which refuses everything fails as well.

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

run "the_base_is_accepted" {
  command = plan
}

run "refuses_a_budget_overcommitted_by_one" {
  command = plan

  variables {
    function = { reserved_concurrent_executions = 17 }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_budget_overcommitted_by_sessions" {
  command = plan

  variables {
    connections = { max_connections = 2 }
  }

  expect_failures = [aws_lambda_function.this]
}

# Four functions on one micro, each with the defaults.
run "refuses_a_budget_that_others_share" {
  command = plan

  variables {
    budget = { instance_class = "db.t4g.micro", others = { api = 30, reports = 30, worker = 30 } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_third_generation_without_room" {
  command = plan

  variables {
    function = { reserved_concurrent_executions = 13 }
    budget   = { max_connections = 100, generations = 3 }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_budget_overcommitted_behind_a_proxy_on_mysql" {
  command = plan

  variables {
    engine   = "mysql"
    proxy    = {}
    function = { reserved_concurrent_executions = 17 }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_class_that_says_nothing" {
  command = plan

  variables {
    budget = { instance_class = "db.serverless" }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_serverless_capacity_without_aurora" {
  command = plan

  variables {
    budget = { serverless = { min_capacity = 1, max_capacity = 8 } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_timeout_below_connect_query_and_reserve" {
  command = plan

  variables {
    function = { timeout = 15 }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_query_timeout_above_the_function" {
  command = plan

  variables {
    connections = { query_timeout = "1m" }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_zip_that_is_not_there" {
  command = plan

  variables {
    zip = { directory = "tests/nowhere" }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_zip_of_another_engine" {
  command = plan

  variables {
    zip = { filename = "tests/zips/lambda-rds-mysql-x86_64.zip" }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_zip_of_another_architecture" {
  command = plan

  variables {
    zip = { filename = "tests/zips/lambda-rds-postgres-arm64.zip" }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_zip_in_s3_of_another_engine" {
  command = plan

  variables {
    zip = { s3_bucket = "zips", s3_key = "v1/lambda-rds-aurora-postgres-x86_64.zip" }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_mysqls_port_for_postgres" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      port                   = 3306
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_postgres_port_for_mysql" {
  command = plan

  variables {
    engine = "mysql"
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      port                   = 5432
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_secret_auth_without_a_secret" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_secret_by_name" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "prod/app" }
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_secret_arn_without_its_six_characters" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app" }
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_another_accounts_secret_without_its_key" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:210987654321:secret:app-AbCdEf" }
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_another_regions_secret" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-AbCdEf" }
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_iam_without_a_user" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      auth                   = "iam"
      resource_id            = "db-ABC"
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_iam_without_a_resource_id" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      auth                   = "iam"
      user                   = "app"
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_readers_without_aurora" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      read_from              = "reader"
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_readers_behind_a_proxy" {
  command = plan

  variables {
    engine = "aurora-postgres"
    proxy  = {}
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      read_from              = "reader"
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_settings_that_the_module_sets" {
  command = plan

  variables {
    function = { environment = { DB_QUERY_TIMEOUT = "30s" } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_secret_in_the_environment" {
  command = plan

  variables {
    function = { environment = { DB_SECRET_ID = "other" } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_user_in_the_environment" {
  command = plan

  variables {
    function = { environment = { DB_USER = "root" } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_queues_beyond_the_reserved_concurrency" {
  command = plan

  variables {
    queues = { a = { maximum_concurrency = 6 }, b = { maximum_concurrency = 5 } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_proxy_without_a_secret" {
  command = plan

  variables {
    proxy = {}
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      auth                   = "iam"
      user                   = "app"
    }
  }

  expect_failures = [aws_db_proxy.this]
}

run "refuses_a_proxy_with_auto_pause" {
  command = plan

  variables {
    engine = "aurora-postgres"
    proxy  = {}
    budget = { serverless = { min_capacity = 0, max_capacity = 8 } }
  }

  expect_failures = [aws_db_proxy.this]
}

run "refuses_a_proxy_that_finds_no_database" {
  command = plan

  variables {
    proxy = {}
    database = {
      host              = "app.abc.eu-central-1.rds.amazonaws.com"
      name              = "app"
      security_group_id = "sg-database"
      secret            = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
    }
  }

  expect_failures = [aws_db_proxy.this]
}

run "refuses_a_proxy_beyond_the_share" {
  command = plan

  variables {
    proxy = { max_connections_percent = 51 }
  }

  expect_failures = [aws_db_proxy.this]
}

run "refuses_a_proxy_that_answers_after_the_call" {
  command = plan

  variables {
    proxy = { connection_borrow_timeout = 10 }
  }

  expect_failures = [aws_db_proxy.this]
}

run "refuses_a_parameter_group_of_another_engine" {
  command = plan

  variables {
    parameter_group = { family = "mysql8.4" }
  }

  expect_failures = [aws_db_parameter_group.this]
}

run "refuses_a_parameter_group_without_an_idle_limit" {
  command = plan

  variables {
    parameter_group = { family = "postgres13" }
  }

  expect_failures = [aws_db_parameter_group.this]
}

run "refuses_a_statement_limit_below_the_functions" {
  command = plan

  variables {
    parameter_group = { family = "postgres17", statement_timeout = "5s" }
  }

  expect_failures = [aws_db_parameter_group.this]
}

run "refuses_a_cluster_parameter_group_of_another_engine" {
  command = plan

  variables {
    engine          = "aurora-mysql"
    parameter_group = { family = "aurora-postgresql17" }
  }

  expect_failures = [aws_rds_cluster_parameter_group.this]
}

run "refuses_a_cluster_statement_limit_below_the_functions" {
  command = plan

  variables {
    engine          = "aurora-postgres"
    parameter_group = { family = "aurora-postgresql17", statement_timeout = "5s" }
  }

  expect_failures = [aws_rds_cluster_parameter_group.this]
}

run "refuses_thresholds_of_alarms_that_are_not_there" {
  command = plan

  variables {
    alarms = { thresholds = { fualts = 1 } }
  }

  expect_failures = [aws_cloudwatch_metric_alarm.this]
}

# Warned of, not refused.
run "warns_of_calls_that_wait_for_the_proxy" {
  command = plan

  variables {
    proxy    = {}
    function = { reserved_concurrent_executions = 51 }
  }

  expect_failures = [check.proxy_pool]
}

# The limits themselves are allowed.

run "accepts_a_budget_just_kept" {
  command = plan

  variables {
    function = { reserved_concurrent_executions = 16 }
    budget   = { max_connections = 100, others = { api = 2 } }
  }
}

run "accepts_a_timeout_just_enough" {
  command = plan

  variables {
    function = { timeout = 16 }
  }
}

run "accepts_a_zip_of_ones_own_name" {
  command = plan

  variables {
    zip = { s3_bucket = "zips", s3_key = "shop.zip" }
  }
}

run "accepts_another_accounts_secret_with_its_key" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:210987654321:secret:app-AbCdEf", kms_key_arn = "arn:aws:kms:eu-central-1:210987654321:key/1" }
    }
  }
}

run "accepts_another_regions_secret_where_the_vpc_reaches_it" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-AbCdEf" }
    }
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], secrets_endpoint = { security_group_id = "sg-1" } }
  }
}

run "accepts_more_environments_behind_a_proxy_on_postgres" {
  command = plan

  variables {
    proxy    = {}
    function = { reserved_concurrent_executions = 50 }
  }
}

run "accepts_a_port_of_ones_own" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      port                   = 6432
    }
  }
}

run "accepts_mariadb" {
  command = plan

  variables {
    engine          = "mariadb"
    parameter_group = { family = "mariadb11.4" }
  }
}

run "accepts_queues_within_the_reserved_concurrency" {
  command = plan

  variables {
    queues = { a = { maximum_concurrency = 6 }, b = { maximum_concurrency = 4 } }
  }
}

# Variables.

run "refuses_a_name_that_aws_refuses" {
  command = plan

  variables {
    name = "Shop"
  }

  expect_failures = [var.name]
}

run "refuses_a_name_with_two_hyphens" {
  command = plan

  variables {
    name = "shop--api"
  }

  expect_failures = [var.name]
}

run "refuses_an_unknown_engine" {
  command = plan

  variables {
    engine = "oracle"
  }

  expect_failures = [var.engine]
}

run "refuses_an_unknown_architecture" {
  command = plan

  variables {
    architecture = "riscv"
  }

  expect_failures = [var.architecture]
}

run "refuses_two_zips" {
  command = plan

  variables {
    zip = { directory = "tests/zips", filename = "tests/zips/lambda-rds-postgres-x86_64.zip" }
  }

  expect_failures = [var.zip]
}

run "refuses_no_zip" {
  command = plan

  variables {
    zip = {}
  }

  expect_failures = [var.zip]
}

run "refuses_a_bucket_without_a_key" {
  command = plan

  variables {
    zip = { s3_bucket = "zips" }
  }

  expect_failures = [var.zip]
}

run "refuses_no_reserved_concurrency" {
  command = plan

  variables {
    function = { reserved_concurrent_executions = -1 }
  }

  expect_failures = [var.function]
}

run "refuses_an_unknown_tracing_mode" {
  command = plan

  variables {
    function = { tracing_mode = "On" }
  }

  expect_failures = [var.function]
}

run "refuses_settings_that_lambda_makes" {
  command = plan

  variables {
    function = { environment = { AWS_REGION = "x" } }
  }

  expect_failures = [var.function]
}

run "refuses_a_password_in_the_environment" {
  command = plan

  variables {
    function = { environment = { DB_PASSWORD = "x" } }
  }

  expect_failures = [var.function]
}

run "refuses_a_single_subnet" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1"] }
  }

  expect_failures = [var.network]
}

run "refuses_an_unknown_auth" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      auth                   = "password"
    }
  }

  expect_failures = [var.database]
}

run "refuses_an_unknown_read_from" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      read_from              = "readers"
    }
  }

  expect_failures = [var.database]
}

run "refuses_an_endpoint_with_its_port_as_host" {
  command = plan

  variables {
    database = { host = "app.abc.eu-central-1.rds.amazonaws.com:5432", name = "app", security_group_id = "sg-1", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
  }

  expect_failures = [var.database]
}

run "refuses_an_instance_and_a_cluster" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      db_cluster_identifier  = "app"
    }
  }

  expect_failures = [var.database]
}

run "refuses_a_duration_without_a_unit" {
  command = plan

  variables {
    connections = { query_timeout = "10" }
  }

  expect_failures = [var.connections]
}

run "refuses_half_a_session" {
  command = plan

  variables {
    connections = { max_connections = 1.5 }
  }

  expect_failures = [var.connections]
}

run "refuses_a_share_above_one" {
  command = plan

  variables {
    budget = { max_connections = 100, share = 1.5 }
  }

  expect_failures = [var.budget]
}

run "refuses_a_budget_without_a_source" {
  command = plan

  variables {
    budget = {}
  }

  expect_failures = [var.budget]
}

run "refuses_a_limit_of_milliseconds" {
  command = plan

  variables {
    parameter_group = { family = "postgres17", idle_session_timeout = "500ms" }
  }

  expect_failures = [var.parameter_group]
}

run "refuses_a_queue_name_that_aws_refuses" {
  command = plan

  variables {
    queues = { "users.fifo" = {} }
  }

  expect_failures = [var.queues]
}

run "refuses_a_large_batch_without_a_window" {
  command = plan

  variables {
    queues = { users = { batch_size = 100 } }
  }

  expect_failures = [var.queues]
}

run "refuses_a_window_on_a_fifo_queue" {
  command = plan

  variables {
    queues = { users = { fifo = true, maximum_batching_window_in_seconds = 5 } }
  }

  expect_failures = [var.queues]
}

run "refuses_a_schedule_without_an_expression" {
  command = plan

  variables {
    schedules = { nightly = { schedule_expression = "daily", query = "q" } }
  }

  expect_failures = [var.schedules]
}

run "refuses_a_schedule_name_that_aws_refuses" {
  command = plan

  variables {
    schedules = { "every night" = { schedule_expression = "rate(1 day)", query = "q" } }
  }

  expect_failures = [var.schedules]
}

run "refuses_params_that_are_no_object" {
  command = plan

  variables {
    schedules = { nightly = { schedule_expression = "rate(1 day)", query = "q", params = "[1]" } }
  }

  expect_failures = [var.schedules]
}

run "refuses_an_http_api_without_an_authorizer" {
  command = plan

  variables {
    http_api = {}
  }

  expect_failures = [var.http_api]
}

run "refuses_an_unknown_authorizer" {
  command = plan

  variables {
    http_api = { authorization_type = "CUSTOM" }
  }

  expect_failures = [var.http_api]
}

run "refuses_an_unknown_url_authorization" {
  command = plan

  variables {
    function_url = { authorization_type = "JWT" }
  }

  expect_failures = [var.function_url]
}

run "refuses_logs_for_ever" {
  command = plan

  variables {
    logs = { retention_in_days = 0 }
  }

  expect_failures = [var.logs]
}

run "refuses_a_log_level_that_drops_the_metrics" {
  command = plan

  variables {
    logs = { level = "WARN" }
  }

  expect_failures = [var.logs]
}

run "refuses_an_identifier_as_resource_id" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      security_group_id      = "sg-database"
      auth                   = "iam"
      user                   = "app"
      resource_id            = "app"
    }
  }

  expect_failures = [var.database]
}

run "refuses_a_database_without_a_place" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
    }
  }

  expect_failures = [var.database]
}

run "refuses_a_database_by_group_and_addresses" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      security_group_id      = "sg-database"
      cidr_blocks            = ["10.0.0.0/24"]
    }
  }

  expect_failures = [var.database]
}

run "refuses_an_http_api_that_leaves_before_the_function" {
  command = plan

  variables {
    http_api = { authorization_type = "AWS_IAM" }
    function = { timeout = 31 }
  }

  expect_failures = [aws_apigatewayv2_integration.this]
}

run "accepts_an_http_api_that_waits_as_long" {
  command = plan

  variables {
    http_api = { authorization_type = "AWS_IAM" }
    function = { timeout = 30 }
  }
}

run "refuses_six_layers" {
  command = plan

  variables {
    function = { layers = [for n in range(6) : "arn:aws:lambda:eu-central-1:123456789012:layer:l:${n}"] }
  }

  expect_failures = [var.function]
}

run "refuses_another_databases_password" {
  command = plan

  variables {
    function = { environment = { SECOND_PASSWORD = "x" } }
  }

  expect_failures = [var.function]
}

run "refuses_a_variable_name_that_lambda_refuses" {
  command = plan

  variables {
    function = { environment = { "1ST" = "x" } }
  }

  expect_failures = [var.function]
}

run "accepts_variables_of_others" {
  command = plan

  variables {
    function = { environment = { OTEL_SERVICE_NAME = "shop", SECOND_HOST = "db" } }
  }
}

run "refuses_six_groups" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-1", "sg-2", "sg-3", "sg-4", "sg-5", "sg-6"] }
  }

  expect_failures = [var.network]
}

run "refuses_an_egress_without_a_place" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { second = { port = 5432 } } }
  }

  expect_failures = [var.network]
}

run "refuses_an_endpoint_without_a_place" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], secrets_endpoint = {} }
  }

  expect_failures = [var.network]
}

run "refuses_an_egress_from_groups_of_ones_own" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-1"], egress = { second = { port = 5432, cidr_blocks = ["10.0.0.0/24"] } } }
  }

  expect_failures = [var.network]
}

run "refuses_an_egress_by_a_name_that_is_taken" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { secrets = { port = 5432, cidr_blocks = ["10.0.0.0/24"] } } }
  }

  expect_failures = [var.network]
}

run "refuses_a_port_that_is_none" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { second = { port = 65536, cidr_blocks = ["10.0.0.0/24"] } } }
  }

  expect_failures = [var.network]
}

run "refuses_a_negative_number_of_others" {
  command = plan

  variables {
    budget = { max_connections = 100, others = { api = -1 } }
  }

  expect_failures = [var.budget]
}

run "refuses_no_generation" {
  command = plan

  variables {
    budget = { max_connections = 100, generations = 0 }
  }

  expect_failures = [var.budget]
}

run "refuses_a_destination_that_is_none" {
  command = plan

  variables {
    async = { on_failure = { arn = "arn:aws:s3:::failures" } }
  }

  expect_failures = [var.async]
}

run "refuses_three_more_attempts" {
  command = plan

  variables {
    async = { maximum_retry_attempts = 3 }
  }

  expect_failures = [var.async]
}

run "refuses_an_event_age_that_lambda_refuses" {
  command = plan

  variables {
    async = { maximum_event_age_in_seconds = 30 }
  }

  expect_failures = [var.async]
}

run "refuses_an_alias_that_is_a_number" {
  command = plan

  variables {
    release = { alias = "1" }
  }

  expect_failures = [var.release]
}

run "refuses_a_version_that_is_none" {
  command = plan

  variables {
    release = { function_version = "$LATEST" }
  }

  expect_failures = [var.release]
}

run "refuses_a_version_that_a_canary_moves" {
  command = plan

  variables {
    release = { function_version = "3", canary = {} }
  }

  expect_failures = [var.release]
}

run "refuses_a_canary_that_nothing_takes_back" {
  command = plan

  variables {
    release = { canary = { alarms = [] } }
  }

  expect_failures = [var.release]
}

run "refuses_more_kept_ready_than_reserved" {
  command = plan

  variables {
    release = { provisioned_concurrent_executions = 11 }
  }

  expect_failures = [aws_lambda_provisioned_concurrency_config.this]
}

run "accepts_all_that_is_reserved_kept_ready" {
  command = plan

  variables {
    release = { provisioned_concurrent_executions = 10 }
  }
}

run "refuses_a_path_without_slashes" {
  command = plan

  variables {
    iam = { path = "apps" }
  }

  expect_failures = [var.iam]
}

run "refuses_a_role_name_too_long" {
  command = plan

  variables {
    iam = { name_prefix = "a-prefix-of-more-than-thirty-six-characters-" }
  }

  expect_failures = [var.iam]
}

run "refuses_a_policy_by_a_name_that_is_taken" {
  command = plan

  variables {
    iam = { policies = { network = "{}" } }
  }

  expect_failures = [var.iam]
}

run "refuses_policies_for_a_role_of_ones_own" {
  command = plan

  variables {
    iam = { role = { arn = "arn:aws:iam::123456789012:role/own" }, policies = { second = "{}" } }
  }

  expect_failures = [var.iam]
}

run "refuses_everybody_as_caller" {
  command = plan

  variables {
    function_url = { callers = { all = "*" } }
  }

  expect_failures = [var.function_url]
}

run "refuses_callers_of_an_open_url" {
  command = plan

  variables {
    function_url = { authorization_type = "NONE", callers = { one = "arn:aws:iam::123456789012:role/one" } }
  }

  expect_failures = [var.function_url]
}

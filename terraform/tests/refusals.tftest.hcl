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
    function    = { reserved_concurrent_executions = 13 }
    connections = { generations = 3 }
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
    function = { reserved_concurrent_executions = 5 }
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

run "refuses_readers_behind_a_proxy_that_has_no_endpoint_for_them" {
  command = plan

  variables {
    engine = "aurora-postgres"
    proxy  = { existing = { name = "of-others", endpoint = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com", security_group_id = "sg-proxy" } }
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

run "refuses_tokens_for_a_proxy_without_its_arn" {
  command = plan

  variables {
    proxy = { existing = { name = "of-others", endpoint = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com", security_group_id = "sg-proxy" } }
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      auth                   = "iam"
      user                   = "app"
      resource_id            = "db-ABC"
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_proxy_without_passwords_for_a_function_with_one" {
  command = plan

  variables {
    proxy = { auth = "iam" }
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      resource_id            = "db-ABC"
    }
  }

  expect_failures = [aws_db_proxy.this]
}

run "refuses_a_proxy_without_passwords_that_may_log_in_nowhere" {
  command = plan

  variables {
    proxy = { auth = "iam" }
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

run "refuses_readers_of_an_instance_behind_a_proxy" {
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

  expect_failures = [aws_db_proxy_endpoint.reader]
}

run "refuses_managed_instances_without_their_groups" {
  command = plan

  variables {
    function = { memory_size = 2048, managed_instances = { capacity_provider_arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop", environments = 1 } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_managed_instances_beyond_the_budget" {
  command = plan

  variables {
    network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-capacity"] }
    function = { memory_size = 2048, managed_instances = { capacity_provider_arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop", environments = 2, per_execution_environment_max_concurrency = 9 } }
  }

  expect_failures = [aws_lambda_function.this]
}

# By the defaults: 1 environment × 16 sessions × 3. With an alias it is the alias's version that they run.
run "accepts_managed_instances_within_it" {
  command = plan

  variables {
    network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-capacity"] }
    function = { memory_size = 2048, managed_instances = { capacity_provider_arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop", environments = 1 } }
    release  = {}
  }

  assert {
    condition     = output.connections_needed == 48 && aws_lambda_function.this.capacity_provider_config[0].lambda_managed_instances_capacity_provider_config[0].execution_environment_memory_gib_per_vcpu == 2
    error_message = "${output.connections_needed} connections."
  }

  assert {
    condition     = aws_lambda_function.this.publish && aws_lambda_function.this.publish_to == null
    error_message = "Published beside the alias."
  }
}

run "refuses_managed_instances_kept_ready" {
  command = plan

  variables {
    network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-capacity"] }
    function = { memory_size = 2048, managed_instances = { capacity_provider_arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop", environments = 1, per_execution_environment_max_concurrency = 1 } }
    release  = { provisioned_concurrent_executions = 1 }
  }

  expect_failures = [aws_lambda_provisioned_concurrency_config.this]
}

run "refuses_settings_that_the_module_sets" {
  command = plan

  variables {
    function = { environment = { DB_QUERY_TIMEOUT = "30s" } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_the_callers_role_without_policies" {
  command = plan

  variables {
    engine  = "mysql"
    session = { role = "member" }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_the_callers_settings_without_policies" {
  command = plan

  variables {
    engine  = "mysql"
    session = { set = ["app.tenant = claims.tenant"] }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_a_secret_in_the_environment" {
  command = plan

  variables {
    function = { environment = { DB_SECRET_ID = "other" } }
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      auth                   = "iam"
      user                   = "app"
      resource_id            = "db-ABC"
    }
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

run "refuses_a_way_to_log_in_in_the_environment" {
  command = plan

  variables {
    function = { environment = { DB_AUTH = "iam" } }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_readers_of_ones_own_without_aurora" {
  command = plan

  variables {
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      reader_host            = "replica.abc.eu-central-1.rds.amazonaws.com"
    }
  }

  expect_failures = [aws_lambda_function.this]
}

run "refuses_names_of_members_behind_a_proxy" {
  command = plan

  variables {
    engine = "aurora-postgres"
    proxy  = {}
    database = {
      host                  = "app.cluster-abc.eu-central-1.rds.amazonaws.com"
      name                  = "app"
      security_group_id     = "sg-database"
      db_cluster_identifier = "app"
      secret                = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      instance_pattern      = "?.db.example.com:65535"
    }
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

run "refuses_a_cluster_parameter_group_without_an_idle_limit" {
  command = plan

  variables {
    engine          = "aurora-postgres"
    parameter_group = { family = "aurora-postgresql13" }
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

# A budget just kept, a timeout just enough, queues and environments kept ready that take all that is reserved, a zip and a
# port of one's own, another account's secret with its key, variables of others; and values at their other limits.
run "accepts_what_is_just_enough" {
  command = plan

  variables {
    function = { reserved_concurrent_executions = 16, timeout = 16, environment = { OTEL_SERVICE_NAME = "shop", SECOND_HOST = "db" } }
    budget   = { max_connections = 100, others = { api = 2 } }
    queues   = { a = { maximum_concurrency = 9, batch_size = 11, maximum_batching_window_in_seconds = 1 }, qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq = { maximum_concurrency = 7 } }
    async    = { maximum_event_age_in_seconds = 60, maximum_retry_attempts = 2 }
    agents   = { tool_bytes = 1 }
    replies  = { stream_bytes = 1 }
    network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { first = { port = 1, cidr_blocks = ["10.0.0.0/24"] }, last = { port = 65535, prefix_list_ids = ["pl-1"] } } }

    idempotency = { reply_bytes = 1 }
    release     = { provisioned_concurrent_executions = 16 }
    zip         = { s3_bucket = "zips", s3_key = "shop.zip" }
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:210987654321:secret:app-AbCdEf", kms_key_arn = "arn:aws:kms:eu-central-1:210987654321:key/1" }
      port                   = 6432
    }
  }
}

# An HTTP API that waits as long as the function, MariaDB's family, a statement limit of the function's own, another region's
# secret where the VPC reaches it.
run "accepts_what_just_goes_together" {
  command = plan

  variables {
    engine          = "mariadb"
    parameter_group = { family = "mariadb11.4", statement_timeout = "10s" }
    connections     = { max_connections = 1 }
    http_api        = { authorization_type = "AWS_IAM" }
    function        = { timeout = 30 }
    network         = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], secrets_endpoint = { security_group_id = "sg-1" } }
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-AbCdEf" }
    }
  }
}

run "accepts_more_environments_behind_a_proxy_on_postgres" {
  command = plan

  variables {
    proxy    = {}
    function = { reserved_concurrent_executions = 50 }
  }
}

run "refuses_an_http_api_that_leaves_before_the_function" {
  command = plan

  variables {
    http_api = { authorization_type = "AWS_IAM" }
    function = { timeout = 31 }
  }

  expect_failures = [aws_apigatewayv2_integration.this]
}

run "refuses_more_kept_ready_than_reserved" {
  command = plan

  variables {
    release = { provisioned_concurrent_executions = 11 }
  }

  expect_failures = [aws_lambda_provisioned_concurrency_config.this]
}

run "refuses_none_kept_ready" {
  command = plan

  variables {
    release = { provisioned_concurrent_executions = 0 }
  }

  expect_failures = [aws_lambda_provisioned_concurrency_config.this]
}

# Validations of variables, one of each variable at a time. Each of them has to fail.

run "refuses_values_1" {
  command = plan

  variables {
    # an unknown engine
    engine = "oracle"
    # an unknown architecture
    architecture = "riscv"
    # two zips
    zip = { directory = "tests/zips", filename = "tests/zips/lambda-rds-postgres-x86_64.zip" }
    # no reserved concurrency
    function = { reserved_concurrent_executions = -1 }
    # a single subnet
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1"] }
    # an unknown auth
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      auth                   = "password"
    }
    # a duration without a unit
    connections = { query_timeout = "10" }
    # a share above one
    budget = { max_connections = 100, share = 1.01 }
    # a limit of milliseconds
    parameter_group = { family = "postgres17", idle_session_timeout = "500ms" }
    # a queue name that aws refuses
    queues = { "users.fifo" = {} }
    # a schedule without an expression
    schedules = { nightly = { schedule_expression = "daily", query = "q" } }
    # an http api without an authorizer
    http_api = {}
    # an unknown url authorization
    function_url = { authorization_type = "JWT" }
    # logs for ever
    logs = { retention_in_days = 0 }
    # a destination that is none
    async = { on_failure = { arn = "arn:aws:s3:::failures" } }
    # an alias that is a number
    release = { alias = "1" }
    # a path without slashes
    iam = { path = "apps" }
    # a server of no https
    agents = { mcp = { authorization_server = "http://login.example.com" } }
    # a source without a setting
    session = { set = ["= claims.tenant"] }
    # an unknown form of numbers
    replies = { int64 = "text" }
    # more than a reply holds
    idempotency = { reply_bytes = 6000001 }
  }

  expect_failures = [var.engine, var.architecture, var.zip, var.function, var.network, var.database, var.connections, var.budget, var.parameter_group, var.queues, var.schedules, var.http_api, var.function_url, var.logs, var.async, var.release, var.iam, var.agents, var.session, var.replies, var.idempotency]
}

run "refuses_values_2" {
  command = plan

  variables {
    # no zip
    zip = {}
    # an unknown tracing mode
    function = { tracing_mode = "On" }
    # an unknown read from
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      read_from              = "readers"
    }
    # half a session
    connections = { max_connections = 1.5 }
    # a budget without a source
    budget = {}
    # a batch of eleven without a window
    queues = { users = { batch_size = 11 } }
    # a schedule name that aws refuses
    schedules = { "every night" = { schedule_expression = "rate(1 day)", query = "q" } }
    # an unknown authorizer
    http_api = { authorization_type = "CUSTOM" }
    # a log level that drops the metrics
    logs = { level = "WARN" }
    # six groups
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-1", "sg-2", "sg-3", "sg-4", "sg-5", "sg-6"] }
    # three more attempts
    async = { maximum_retry_attempts = 3 }
    # a version that is none
    release = { function_version = "$LATEST" }
    # a role name too long
    iam = { name_prefix = "a-prefix-of-more-than-thirty-six-characters-" }
    # everybody as caller
    function_url = { callers = { all = "*" } }
    # a wildcard for agents
    agents = { bedrock = { all = "arn:aws:bedrock:eu-central-1:123456789012:agent/*" } }
    # an unknown compression
    replies = { compress = "gzip" }
    # a table in quotes
    idempotency = { table = "\"keys\"" }
    # a statement without a unit
    parameter_group = { family = "postgres17", statement_timeout = "60" }
  }

  expect_failures = [var.zip, var.function, var.database, var.connections, var.budget, var.queues, var.schedules, var.http_api, var.logs, var.network, var.async, var.release, var.iam, var.function_url, var.agents, var.replies, var.idempotency, var.parameter_group]
}

run "refuses_values_3" {
  command = plan

  variables {
    # a bucket without a key
    zip = { s3_bucket = "zips" }
    # settings that lambda makes
    function = { environment = { AWS_REGION = "x" } }
    # an endpoint with its port as host
    database = { host = "app.abc.eu-central-1.rds.amazonaws.com:5432", name = "app", security_group_id = "sg-1", secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
    # a window on a fifo queue
    queues = { users = { fifo = true, maximum_batching_window_in_seconds = 5 } }
    # params that are no object
    schedules = { nightly = { schedule_expression = "rate(1 day)", query = "q", params = "[1]" } }
    # an egress without a place
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { second = { port = 5432 } } }
    # a negative number of others
    budget = { max_connections = 100, others = { api = -1 } }
    # an event age that lambda refuses
    async = { maximum_event_age_in_seconds = 59 }
    # a version that a canary moves
    release = { function_version = "3", canary = {} }
    # a policy by a name that is taken
    iam = { policies = { network = "{}" } }
    # callers of an open url
    function_url = { authorization_type = "NONE", callers = { one = "arn:aws:iam::123456789012:role/one" } }
    # no tools
    agents = { agentcore = { tools = "[]" } }
    # a certificate of iam
    http_api = { authorization_type = "NONE", domain = { name = "api.example.com", certificate_arn = "arn:aws:iam::123456789012:server-certificate/api" } }
    # a class of logs that keeps nothing
    logs = { log_group_class = "DELIVERY" }
    # a connect without a unit
    connections = { connect_timeout = "5" }
    # a path without its slash
    replies = { base_path = "v1" }
    # no byte
    idempotency = { reply_bytes = 0 }
  }

  expect_failures = [var.zip, var.function, var.database, var.queues, var.schedules, var.network, var.budget, var.async, var.release, var.iam, var.function_url, var.agents, var.http_api, var.logs, var.connections, var.replies, var.idempotency]
}

run "refuses_values_4" {
  command = plan

  variables {
    # a password in the environment
    function = { environment = { DB_PASSWORD = "x" } }
    # an instance and a cluster
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      db_cluster_identifier  = "app"
    }
    # an endpoint without a place
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], secrets_endpoint = {} }
    # no generation
    connections = { generations = 0 }
    # a canary that nothing takes back
    release = { canary = { alarms = [] } }
    # policies for a role of ones own
    iam = { role = { arn = "arn:aws:iam::123456789012:role/own" }, policies = { second = "{}" } }
    # tools of another format
    agents = { agentcore = { tools = "{\"tools\": []}" } }
    # no address left
    http_api = { authorization_type = "NONE", disable_execute_api_endpoint = true }
    # a key without a bucket
    zip = { directory = "tests/zips", s3_key = "lambda-rds-postgres-x86_64.zip" }
    # a limit without a unit
    replies = { http_timeout = "28" }
    # a name of 64 letters
    idempotency = { table = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" }
    # a name of 32 letters
    queues = { qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq = {} }
    # a name of 22 letters
    schedules = { ssssssssssssssssssssss = { schedule_expression = "rate(1 day)", query = "q" } }
    # a success that is none
    async = { on_success = { arn = "arn:aws:s3:::done" } }
    # a caller by a name with a blank
    function_url = { callers = { "a b" = "arn:aws:iam::123456789012:role/one" } }
  }

  expect_failures = [var.function, var.database, var.network, var.connections, var.release, var.iam, var.agents, var.http_api, var.zip, var.replies, var.idempotency, var.queues, var.schedules, var.async, var.function_url]
}

run "refuses_values_5" {
  command = plan

  variables {
    # an identifier as resource id
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
    # six layers
    function = { layers = [for n in range(6) : "arn:aws:lambda:eu-central-1:123456789012:layer:l:${n}"] }
    # an egress from groups of ones own
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-1"], egress = { second = { port = 5432, cidr_blocks = ["10.0.0.0/24"] } } }
    # tokens of anybody
    agents = { agentcore = { tools = file("tests/tools.json"), jwt = { discovery_url = "https://issuer.example.com/.well-known/openid-configuration" } } }
    # a domain with its scheme
    http_api = { authorization_type = "NONE", domain = { name = "https://api.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/of-the-api" } }
    # a reserve of hours
    connections = { deadline_reserve = "1h" }
    # a document in yaml
    replies = { openapi = "openapi.yaml" }
    # nothing to expect
    schedules = { nightly = { schedule_expression = "rate()", query = "q" } }
    # less than no attempt
    async = { maximum_retry_attempts = -1 }
    # an alias with a mark
    release = { alias = "live!" }
    # a path without its last slash
    iam = { path = "/apps" }
    # dead letters of a name too long by one
    name   = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    queues = { qqqqqqqqqqqqqqqqqqqqqqqqq = { fifo = true, maximum_concurrency = 2 } }
    # a table of 64 letters in a schema
    idempotency = { table = "app.kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" }
  }

  expect_failures = [var.database, var.function, var.network, var.agents, var.http_api, var.connections, var.replies, var.schedules, var.async, var.release, var.iam, var.queues, var.idempotency]
}

run "refuses_values_6" {
  command = plan

  variables {
    # a database without a place
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
    }
    # another databases password
    function = { environment = { SECOND_PASSWORD = "x" } }
    # an egress by a name that is taken
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { secrets = { port = 5432, cidr_blocks = ["10.0.0.0/24"] } } }
    # an issuer for its metadata
    agents = { agentcore = { tools = file("tests/tools.json"), jwt = { discovery_url = "https://issuer.example.com", audience = ["app"] } } }
    # no session
    connections = { max_connections = 0 }
    # an unknown way to fail
    replies = { direct_errors = "throw" }
    # an age above six hours
    async = { maximum_event_age_in_seconds = 21601 }
    # a role name too long by one
    iam = { name_prefix = "ppppppppppppppppppppppppppppppppppppp" }
    # a jwt for callers of iam
    http_api = { authorization_type = "AWS_IAM", jwt = { issuer = "https://issuer.example.com", audience = ["app"] } }
    # a name in upper case
    queues = { Users = {} }
  }

  expect_failures = [var.database, var.function, var.network, var.agents, var.connections, var.replies, var.async, var.iam, var.http_api, var.queues]
}

run "refuses_values_7" {
  command = plan

  variables {
    # a database by group and addresses
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      security_group_id      = "sg-database"
      cidr_blocks            = ["10.0.0.0/24"]
    }
    # a variable name that lambda refuses
    function = { environment = { "1ST" = "x" } }
    # a port that is none
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { second = { port = 65536, cidr_blocks = ["10.0.0.0/24"] } } }
    # tokens for a gateway of others
    agents = { agentcore = { tools = file("tests/tools.json"), gateway = { id = "of-others-abcdefghij" }, jwt = { discovery_url = "https://issuer.example.com/.well-known/openid-configuration", audience = ["app"] } } }
    # a name of 41 letters
    name = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    # half a generation
    connections = { generations = 1.5 }
    # an empty path
    replies = { base_path = "/" }
    # a domain that ends with a dot
    http_api = { authorization_type = "NONE", domain = { name = "api.example.com.", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/of-the-api" } }
  }

  expect_failures = [var.database, var.function, var.network, var.agents, var.name, var.connections, var.replies, var.http_api]
}

run "refuses_values_8" {
  command = plan

  variables {
    # a search that agentcore does not know
    agents = { agentcore = { tools = file("tests/tools.json"), search_type = "FULL" } }
    # managed instances that are too small
    function = { memory_size = 2047, managed_instances = { capacity_provider_arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop", environments = 1 } }
    # a proxy by passwords
    proxy = { auth = "password" }
    # a digit at the beginning
    name = "1shop"
    # an egress by a name in upper case
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { Second = { port = 5432, cidr_blocks = ["10.0.0.0/24"] } } }
    # an unknown pooler
    connections = { pooler = "session" }
    # more than lambda streams
    replies = { stream_bytes = 209715201 }
  }

  expect_failures = [var.agents, var.function, var.proxy, var.name, var.network, var.connections, var.replies]
}

run "refuses_values_9" {
  command = plan

  variables {
    # more than a reply holds
    agents = { tool_bytes = 6000001 }
    # no share
    budget = { max_connections = 100, share = 0 }
    # a proxy by a name that is not one
    proxy = { existing = { name = "of-others", endpoint = "proxy.example.com", security_group_id = "sg-proxy" } }
    # a hyphen at the end
    name = "shop-"
    # half an environment
    function = { reserved_concurrent_executions = 1.5 }
    # a port of zero
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { second = { port = 0, cidr_blocks = ["10.0.0.0/24"] } } }
    # an unknown pipeline
    connections = { pipeline = "on" }
    # a stream of nothing
    replies = { stream_bytes = 0 }
  }

  expect_failures = [var.agents, var.budget, var.proxy, var.name, var.function, var.network, var.connections, var.replies]
}

run "refuses_values_10" {
  command = plan

  variables {
    # an id for an arn
    proxy = { existing = { name = "of-others", endpoint = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com", arn = "prx-0123456789abcdef0", security_group_id = "sg-proxy" } }
    # two settings in one
    session = { set = ["app.tenant = claims.tenant; app.user = claims.sub"] }
    # a table with its database
    idempotency = { table = "db.app.keys" }
    # a name with two hyphens
    name = "shop--api"
    # managed instances without an environment
    function = { memory_size = 2048, managed_instances = { capacity_provider_arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop", environments = 0 } }
    # an egress by group and addresses
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { second = { port = 5432, security_group_id = "sg-1", cidr_blocks = ["10.0.0.0/24"] } } }
    # an unknown time
    connections = { connect_at = "never" }
    # no byte
    agents = { tool_bytes = 0 }
    # half a byte of a stream
    replies = { stream_bytes = 1.5 }
  }

  expect_failures = [var.proxy, var.session, var.idempotency, var.name, var.function, var.network, var.connections, var.agents, var.replies]
}

run "refuses_values_11" {
  command = plan

  variables {
    # a proxy without a place
    proxy = { existing = { name = "of-others", endpoint = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com" } }
    # a setting without a source
    session = { set = ["app.tenant"] }
    # half a byte
    idempotency = { reply_bytes = 1.5 }
    # a name that aws refuses
    name = "Shop"
    # managed instances that take no call
    function = { memory_size = 2048, managed_instances = { capacity_provider_arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop", environments = 1, per_execution_environment_max_concurrency = 0 } }
    # an egress by group and list
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { second = { port = 5432, security_group_id = "sg-1", prefix_list_ids = ["pl-1"] } } }
    # half a byte
    agents = { tool_bytes = 1.5 }
  }

  expect_failures = [var.proxy, var.session, var.idempotency, var.name, var.function, var.network, var.agents]
}

run "refuses_values_12" {
  command = plan

  variables {
    # a name of lambdas own
    function = { environment = { AWS_LAMBDA_FUNCTION_NAME = "x" } }
    # the proxys own name
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { proxy = { port = 5432, cidr_blocks = ["10.0.0.0/24"] } } }
    # a server name with its scheme
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      tls_server_name        = "https://db.example.com"
    }
    # a policy by a name with a blank
    iam = { policies = { "a b" = "{}" } }
    # an agent by a name with a blank
    agents = { bedrock = { "a b" = "arn:aws:bedrock:eu-central-1:123456789012:agent/ABCDEFGHIJ" } }
  }

  expect_failures = [var.function, var.network, var.database, var.iam, var.agents]
}

run "refuses_values_13" {
  command = plan

  variables {
    # a password in lower case
    function = { environment = { db_password = "x" } }
    # a pattern of two places
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      instance_pattern       = "?.?.example.com"
    }
    # tools without a description
    agents = { agentcore = { tools = "[{\"name\": \"a\", \"inputSchema\": {\"type\": \"object\"}}]" } }
    # an egress by the databases name
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { database = { port = 5432, cidr_blocks = ["10.0.0.0/24"] } } }
    # a name with an underscore
    name = "shop_api"
  }

  expect_failures = [var.function, var.database, var.agents, var.network, var.name]
}

run "refuses_values_14" {
  command = plan

  variables {
    # the folder that lambda sets
    function = { environment = { LAMBDA_TASK_ROOT = "/opt" } }
    # a reader by a name that is not one
    proxy = { existing = { name = "of-others", endpoint = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com", reader_endpoint = "reader.example.com", security_group_id = "sg-proxy" } }
    # an egress by a name with a hyphen
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], egress = { "second-one" = { port = 5432, cidr_blocks = ["10.0.0.0/24"] } } }
  }

  expect_failures = [var.function, var.proxy, var.network]
}

run "refuses_values_15" {
  command = plan

  variables {
    # a proxy by group and list
    proxy = { existing = { name = "of-others", endpoint = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com", security_group_id = "sg-proxy", prefix_list_ids = ["pl-proxy"] } }
    # no environment at all
    function = { reserved_concurrent_executions = 0 }
    # an endpoint by group and addresses
    network = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], secrets_endpoint = { security_group_id = "sg-1", cidr_blocks = ["10.0.0.0/24"] } }
  }

  expect_failures = [var.proxy, var.function, var.network]
}

run "refuses_values_16" {
  command = plan

  variables {
    # a variable name with a hyphen
    function = { environment = { SECOND-HOST = "x" } }
    # a proxy by group and addresses
    proxy = { existing = { name = "of-others", endpoint = "of-others.proxy-abc.eu-central-1.rds.amazonaws.com", security_group_id = "sg-proxy", cidr_blocks = ["10.0.0.0/24"] } }
  }

  expect_failures = [var.function, var.proxy]
}

run "refuses_values_17" {
  command = plan

  variables {
    # a key that lambda sets
    function = { environment = { AWS_SECRET_ACCESS_KEY = "x" } }
    # a database by group and list
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      prefix_list_ids        = ["pl-database"]
    }
  }

  expect_failures = [var.function, var.database]
}

run "refuses_values_18" {
  command = plan

  variables {
    # a token that lambda sets
    function = { environment = { AWS_SESSION_TOKEN = "x" } }
    # a resource id in lower case
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      auth                   = "iam"
      user                   = "app"
      resource_id            = "db-abc"
    }
  }

  expect_failures = [var.function, var.database]
}

run "refuses_values_19" {
  command = plan

  variables {
    # a reader with its port
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      reader_host            = "reader.example.com:5432"
    }
  }

  expect_failures = [var.database]
}

run "refuses_values_20" {
  command = plan

  variables {
    # a name of tokens with its path
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      iam_host               = "db.example.com/app"
    }
  }

  expect_failures = [var.database]
}

run "refuses_values_21" {
  command = plan

  variables {
    # a pattern of no place
    database = {
      host                   = "app.abc.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-database"
      db_instance_identifier = "app"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      instance_pattern       = "db.example.com"
    }
  }

  expect_failures = [var.database]
}

# Values at the limits of what is taken, so that a validation which refuses too much fails as well.
run "accepts_values_at_their_limits" {
  command = plan

  variables {
    name        = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    function    = { reserved_concurrent_executions = 2, layers = [for n in range(5) : "arn:aws:lambda:eu-central-1:123456789012:layer:l:${n}"] }
    network     = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-1", "sg-2", "sg-3", "sg-4", "sg-5"] }
    connections = { generations = 1, pooler = "none", pipeline = "auto", connect_at = "init" }
    replies     = { int64 = "number", compress = "auto", base_path = "/a/b", http_timeout = "500ms", openapi = "openapi.json", direct_errors = "reply", stream = false, stream_bytes = 209715200 }
    idempotency = { table = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk.ttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt", reply_bytes = 6000000 }
    budget      = { max_connections = 100, share = 1, others = { none = 0 } }
    queues      = { qqqqqqqqqqqqqqqqqqqqqqqqqq = { batch_size = 10, maximum_concurrency = 2 } }
    schedules   = { sssssssssssssssssssss = { schedule_expression = "at(2030-01-01T00:00:00)", query = "q" } }
    async       = { maximum_event_age_in_seconds = 21600, maximum_retry_attempts = 0, on_failure = { arn = "arn:aws:sqs:eu-central-1:123456789012:failures" } }
    release     = { alias = "1a", provisioned_concurrent_executions = 1 }
    http_api    = { authorization_type = "NONE", domain = { name = "*.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/0" } }
    agents      = { tool_bytes = 6000000 }
    logs        = { retention_in_days = 1, level = "TRACE" }
  }
}

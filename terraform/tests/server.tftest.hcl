# Before and in the database: the proxy, the parameter group.

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

run "a_proxy_wants_tls_and_sets_the_limits" {
  variables {
    proxy = {}
  }

  assert {
    condition     = aws_db_proxy.this["this"].require_tls && aws_db_proxy.this["this"].engine_family == "POSTGRESQL" && one(aws_db_proxy.this["this"].auth).iam_auth == "DISABLED"
    error_message = "TLS, and the login that database.auth says."
  }

  assert {
    condition     = aws_db_proxy_default_target_group.this["this"].connection_pool_config[0].init_query == "SET statement_timeout = 10000; SET idle_in_transaction_session_timeout = 10000" && aws_db_proxy_default_target_group.this["this"].connection_pool_config[0].max_connections_percent == 50
    error_message = "The limits come from the initialization query, the size from the budget."
  }

  assert {
    condition     = output.environment.DB_HOST == "proxy.proxy-abc.eu-central-1.rds.amazonaws.com" && sort(keys(aws_vpc_security_group_egress_rule.function)) == tolist(["proxy", "secrets"]) && aws_vpc_security_group_ingress_rule.database["proxy"].referenced_security_group_id == aws_security_group.proxy["this"].id
    error_message = "Function to proxy to database, and no way round."
  }

  assert {
    condition     = contains(keys(output.alarms), "pinned")
    error_message = "Pinning has an alarm."
  }
}

run "a_proxy_with_iam_lets_nobody_in_without" {
  variables {
    engine = "aurora-mysql"
    proxy  = {}
    database = {
      host                  = "app.cluster-abc.eu-central-1.rds.amazonaws.com"
      name                  = "app"
      security_group_id     = "sg-database"
      db_cluster_identifier = "app"
      auth                  = "iam"
      user                  = "app"
      secret                = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
    }
  }

  assert {
    condition     = one(aws_db_proxy.this["this"].auth).iam_auth == "REQUIRED" && aws_db_proxy.this["this"].engine_family == "MYSQL" && aws_db_proxy_target.this["this"].db_cluster_identifier == "app"
    error_message = "IAM is required, on the cluster."
  }

  assert {
    condition     = aws_db_proxy_default_target_group.this["this"].connection_pool_config[0].init_query == "SET max_execution_time = 10000"
    error_message = "MySQL's own limit."
  }
}

run "postgres_limits" {
  variables {
    parameter_group = { family = "postgres17" }
  }

  assert {
    condition     = { for parameter in aws_db_parameter_group.this["this"].parameter : parameter.name => parameter.value } == { "idle_session_timeout" = "900000", "idle_in_transaction_session_timeout" = "60000", "statement_timeout" = "60000", "rds.force_ssl" = "1" }
    error_message = "PostgreSQL's limits are in milliseconds."
  }
}

run "mysql_limits" {
  variables {
    engine          = "mysql"
    parameter_group = { family = "mysql8.4" }
  }

  assert {
    condition     = { for parameter in aws_db_parameter_group.this["this"].parameter : parameter.name => parameter.value } == { "wait_timeout" = "900", "max_execution_time" = "60000", "require_secure_transport" = "1" }
    error_message = "MySQL's idle limit is in seconds, the other in milliseconds."
  }
}

run "mariadb_limits" {
  variables {
    engine          = "mariadb"
    parameter_group = { family = "mariadb11.4" }
  }

  assert {
    condition     = { for parameter in aws_db_parameter_group.this["this"].parameter : parameter.name => parameter.value } == { "wait_timeout" = "900", "max_statement_time" = "60", "require_secure_transport" = "1" }
    error_message = "MariaDB's limits are in seconds."
  }
}

run "aurora_limits_are_a_clusters" {
  variables {
    engine          = "aurora-mysql"
    parameter_group = { family = "aurora-mysql8.0", idle_session_timeout = "5m" }
  }

  assert {
    condition     = length(aws_db_parameter_group.this) == 0 && { for parameter in aws_rds_cluster_parameter_group.this["this"].parameter : parameter.name => parameter.value } == { "wait_timeout" = "300", "max_execution_time" = "60000", "require_secure_transport" = "ON" }
    error_message = "A cluster's group."
  }
}

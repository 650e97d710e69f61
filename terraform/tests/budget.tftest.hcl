# How many connections a database is taken to have.

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

run "the_budget_is_told" {
  command = plan

  variables {
    function    = { reserved_concurrent_executions = 5 }
    connections = { max_connections = 2 }
  }

  assert {
    condition     = output.connection_budget == { max_connections = 100, allowed = 50, needed = 30, others = 0, spare = 20 } && output.connections_needed == 30
    error_message = "5 environments × 2 sessions × 3, of half of 100."
  }
}

run "others_and_generations_are_counted" {
  command = plan

  variables {
    function    = { reserved_concurrent_executions = 5 }
    connections = { max_connections = 2, generations = 4 }
    budget      = { max_connections = 100, share = 0.8, others = { api = 10, reports = 15 } }
  }

  assert {
    condition     = output.connection_budget == { max_connections = 100, allowed = 80, needed = 50, others = 25, spare = 5 }
    error_message = "5 environments × 2 sessions × 5, and 25 of others, of 80."
  }
}

# A reader that goes leaves its reads to the writer.
run "readers_count_at_the_writer" {
  command = plan

  variables {
    engine   = "aurora-postgres"
    function = { reserved_concurrent_executions = 5 }
    database = {
      host                  = "app.cluster-abc.eu-central-1.rds.amazonaws.com"
      name                  = "app"
      security_group_id     = "sg-database"
      secret                = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      db_cluster_identifier = "app"
      read_from             = "reader"
    }
  }

  assert {
    condition     = output.connections_needed == 30
    error_message = "5 environments × 1 session, twice × 3."
  }
}

# AWS's tables for Aurora Serverless v2; classes stay a little below what was seen on real ones.

run "postgres_micro" {
  command = plan

  variables {
    engine   = "postgres"
    function = { reserved_concurrent_executions = 2 }
    budget   = { instance_class = "db.t4g.micro", share = 1 }
  }

  assert {
    condition     = output.connection_budget.max_connections == 74
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "postgres_large" {
  command = plan

  variables {
    engine   = "postgres"
    function = { reserved_concurrent_executions = 2 }
    budget   = { instance_class = "db.r6g.large", share = 1 }
  }

  assert {
    condition     = output.connection_budget.max_connections == 1561
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "postgres_has_an_upper_limit" {
  command = plan

  variables {
    engine   = "postgres"
    function = { reserved_concurrent_executions = 2 }
    budget   = { instance_class = "db.r7g.16xlarge", share = 1 }
  }

  assert {
    condition     = output.connection_budget.max_connections == 5000
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "mysql_medium" {
  command = plan

  variables {
    engine   = "mysql"
    function = { reserved_concurrent_executions = 2 }
    budget   = { instance_class = "db.t4g.medium", share = 1 }
  }

  assert {
    condition     = output.connection_budget.max_connections == 281
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "mariadb_medium" {
  command = plan

  variables {
    engine   = "mariadb"
    function = { reserved_concurrent_executions = 2 }
    budget   = { instance_class = "db.t4g.medium", share = 1 }
  }

  assert {
    condition     = output.connection_budget.max_connections == 140
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "aurora_mysql_medium" {
  command = plan

  variables {
    engine   = "aurora-mysql"
    function = { reserved_concurrent_executions = 2 }
    budget   = { instance_class = "db.t4g.medium", share = 1 }
  }

  assert {
    condition     = output.connection_budget.max_connections == 90
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "aurora_mysql_large" {
  command = plan

  variables {
    engine   = "aurora-mysql"
    function = { reserved_concurrent_executions = 2 }
    budget   = { instance_class = "db.r6g.large", share = 1 }
  }

  assert {
    condition     = output.connection_budget.max_connections == 1000
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "aurora_postgres_serverless" {
  command = plan

  variables {
    engine   = "aurora-postgres"
    function = { reserved_concurrent_executions = 2 }
    budget   = { serverless = { min_capacity = 1, max_capacity = 16 } }
  }

  assert {
    condition     = output.connection_budget.max_connections == 3360
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "aurora_postgres_serverless_from_half" {
  command = plan

  variables {
    engine   = "aurora-postgres"
    function = { reserved_concurrent_executions = 2 }
    budget   = { serverless = { min_capacity = 0.5, max_capacity = 16 } }
  }

  assert {
    condition     = output.connection_budget.max_connections == 2000
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "aurora_postgres_serverless_between_steps" {
  command = plan

  variables {
    engine   = "aurora-postgres"
    function = { reserved_concurrent_executions = 2 }
    budget   = { serverless = { min_capacity = 0, max_capacity = 7.5 } }
  }

  assert {
    condition     = output.connection_budget.max_connections == 823
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "aurora_mysql_serverless" {
  command = plan

  variables {
    engine   = "aurora-mysql"
    function = { reserved_concurrent_executions = 2 }
    budget   = { serverless = { min_capacity = 0.5, max_capacity = 8 } }
  }

  assert {
    condition     = output.connection_budget.max_connections == 1000
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

run "what_is_known_wins" {
  command = plan

  variables {
    engine   = "postgres"
    function = { reserved_concurrent_executions = 2 }
    budget   = { max_connections = 400, instance_class = "db.t4g.micro" }
  }

  assert {
    condition     = output.connection_budget.max_connections == 400
    error_message = "${output.connection_budget.max_connections} connections."
  }
}

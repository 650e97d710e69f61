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

run "connections_by_class_and_capacity" {
  command = plan

  module {
    source = "./tests/budgets"
  }

  variables {
    budgets = {
      "postgres on t4g.micro"              = { engine = "postgres", instance_class = "db.t4g.micro" }
      "postgres on t4g.small"              = { engine = "postgres", instance_class = "db.t4g.small" }
      "postgres on t3.medium"              = { engine = "postgres", instance_class = "db.t3.medium" }
      "postgres on m6g.large"              = { engine = "postgres", instance_class = "db.m6g.large" }
      "postgres on c6gd.large"             = { engine = "postgres", instance_class = "db.c6gd.large" }
      "postgres on r6g.large"              = { engine = "postgres", instance_class = "db.r6g.large" }
      "postgres on x2g.large"              = { engine = "postgres", instance_class = "db.x2g.large" }
      "postgres on z1d.large"              = { engine = "postgres", instance_class = "db.z1d.large" }
      "postgres on m7g.xlarge"             = { engine = "postgres", instance_class = "db.m7g.xlarge" }
      "postgres on m6i.2xlarge"            = { engine = "postgres", instance_class = "db.m6i.2xlarge" }
      "postgres on r7g.16xlarge"           = { engine = "postgres", instance_class = "db.r7g.16xlarge" }
      "mysql on t4g.medium"                = { engine = "mysql", instance_class = "db.t4g.medium" }
      "mysql on r6g.24xlarge"              = { engine = "mysql", instance_class = "db.r6g.24xlarge" }
      "mariadb on t4g.medium"              = { engine = "mariadb", instance_class = "db.t4g.medium" }
      "mariadb on r6g.16xlarge"            = { engine = "mariadb", instance_class = "db.r6g.16xlarge" }
      "aurora-postgres on r6g.large"       = { engine = "aurora-postgres", instance_class = "db.r6g.large" }
      "aurora-postgres on r6g.4xlarge"     = { engine = "aurora-postgres", instance_class = "db.r6g.4xlarge" }
      "aurora-mysql on t3.small"           = { engine = "aurora-mysql", instance_class = "db.t3.small" }
      "aurora-mysql on t4g.medium"         = { engine = "aurora-mysql", instance_class = "db.t4g.medium" }
      "aurora-mysql on t3.large"           = { engine = "aurora-mysql", instance_class = "db.t3.large" }
      "aurora-mysql on r6g.large"          = { engine = "aurora-mysql", instance_class = "db.r6g.large" }
      "aurora-mysql on r6g.xlarge"         = { engine = "aurora-mysql", instance_class = "db.r6g.xlarge" }
      "aurora-mysql on r6g.2xlarge"        = { engine = "aurora-mysql", instance_class = "db.r6g.2xlarge" }
      "aurora-mysql on r6g.4xlarge"        = { engine = "aurora-mysql", instance_class = "db.r6g.4xlarge" }
      "aurora-mysql on r6g.8xlarge"        = { engine = "aurora-mysql", instance_class = "db.r6g.8xlarge" }
      "aurora-mysql on r5.12xlarge"        = { engine = "aurora-mysql", instance_class = "db.r5.12xlarge" }
      "aurora-mysql on r5.24xlarge"        = { engine = "aurora-mysql", instance_class = "db.r5.24xlarge" }
      "aurora-postgres from 1 to 1 ACU"    = { engine = "aurora-postgres", serverless = { min_capacity = 1, max_capacity = 1 } }
      "aurora-postgres from 1 to 4 ACU"    = { engine = "aurora-postgres", serverless = { min_capacity = 1, max_capacity = 4 } }
      "aurora-postgres from 1 to 8 ACU"    = { engine = "aurora-postgres", serverless = { min_capacity = 1, max_capacity = 8 } }
      "aurora-postgres from 1 to 16 ACU"   = { engine = "aurora-postgres", serverless = { min_capacity = 1, max_capacity = 16 } }
      "aurora-postgres from 1 to 32 ACU"   = { engine = "aurora-postgres", serverless = { min_capacity = 1, max_capacity = 32 } }
      "aurora-postgres from 0.5 to 16 ACU" = { engine = "aurora-postgres", serverless = { min_capacity = 0.5, max_capacity = 16 } }
      "aurora-postgres from 0 to 7.5 ACU"  = { engine = "aurora-postgres", serverless = { min_capacity = 0, max_capacity = 7.5 } }
      "aurora-mysql from 1 to 1 ACU"       = { engine = "aurora-mysql", serverless = { min_capacity = 1, max_capacity = 1 } }
      "aurora-mysql from 1 to 4 ACU"       = { engine = "aurora-mysql", serverless = { min_capacity = 1, max_capacity = 4 } }
      "aurora-mysql from 0.5 to 8 ACU"     = { engine = "aurora-mysql", serverless = { min_capacity = 0.5, max_capacity = 8 } }
      "aurora-mysql from 0 to 16 ACU"      = { engine = "aurora-mysql", serverless = { min_capacity = 0, max_capacity = 16 } }
      "aurora-mysql from 1 to 32 ACU"      = { engine = "aurora-mysql", serverless = { min_capacity = 1, max_capacity = 32 } }
      "aurora-mysql from 1 to 64 ACU"      = { engine = "aurora-mysql", serverless = { min_capacity = 1, max_capacity = 64 } }
      "aurora-mysql from 1 to 128 ACU"     = { engine = "aurora-mysql", serverless = { min_capacity = 1, max_capacity = 128 } }
      "aurora-mysql from 1 to 256 ACU"     = { engine = "aurora-mysql", serverless = { min_capacity = 1, max_capacity = 256 } }
      "what is known"                      = { engine = "postgres", max_connections = 400, instance_class = "db.t4g.micro" }
    }
  }

  assert {
    condition = output.max_connections == {
      "postgres on t4g.micro"              = 74
      "postgres on t4g.small"              = 173
      "postgres on t3.medium"              = 371
      "postgres on m6g.large"              = 768
      "postgres on c6gd.large"             = 371
      "postgres on r6g.large"              = 1561
      "postgres on x2g.large"              = 3147
      "postgres on z1d.large"              = 1561
      "postgres on m7g.xlarge"             = 1561
      "postgres on m6i.2xlarge"            = 3147
      "postgres on r7g.16xlarge"           = 5000
      "mysql on t4g.medium"                = 281
      "mysql on r6g.24xlarge"              = 57653
      "mariadb on t4g.medium"              = 140
      "mariadb on r6g.16xlarge"            = 12000
      "aurora-postgres on r6g.large"       = 1561
      "aurora-postgres on r6g.4xlarge"     = 5000
      "aurora-mysql on t3.small"           = 45
      "aurora-mysql on t4g.medium"         = 90
      "aurora-mysql on t3.large"           = 135
      "aurora-mysql on r6g.large"          = 1000
      "aurora-mysql on r6g.xlarge"         = 2000
      "aurora-mysql on r6g.2xlarge"        = 3000
      "aurora-mysql on r6g.4xlarge"        = 4000
      "aurora-mysql on r6g.8xlarge"        = 5000
      "aurora-mysql on r5.12xlarge"        = 6000
      "aurora-mysql on r5.24xlarge"        = 7000
      "aurora-postgres from 1 to 1 ACU"    = 189
      "aurora-postgres from 1 to 4 ACU"    = 823
      "aurora-postgres from 1 to 8 ACU"    = 1669
      "aurora-postgres from 1 to 16 ACU"   = 3360
      "aurora-postgres from 1 to 32 ACU"   = 5000
      "aurora-postgres from 0.5 to 16 ACU" = 2000
      "aurora-postgres from 0 to 7.5 ACU"  = 823
      "aurora-mysql from 1 to 1 ACU"       = 90
      "aurora-mysql from 1 to 4 ACU"       = 135
      "aurora-mysql from 0.5 to 8 ACU"     = 1000
      "aurora-mysql from 0 to 16 ACU"      = 2000
      "aurora-mysql from 1 to 32 ACU"      = 3000
      "aurora-mysql from 1 to 64 ACU"      = 4000
      "aurora-mysql from 1 to 128 ACU"     = 5000
      "aurora-mysql from 1 to 256 ACU"     = 6000
      "what is known"                      = 400
    }
    error_message = jsonencode(output.max_connections)
  }
}

# Each example, planned and applied. What AWS would say is mocked.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  zip_directory = "tests/zips"
  vpc_id        = "vpc-1"
  subnet_ids    = ["subnet-1", "subnet-2"]
  database = {
    host              = "app.abc.eu-central-1.rds.amazonaws.com"
    name              = "app"
    security_group_id = "sg-database"
    identifier        = "app"
    instance_class    = "db.t4g.small"
  }
  secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"

  # Of some examples only.
  database_user        = "app"
  database_resource_id = "db-ABC"
  jwt                  = { issuer = "https://issuer.example.com", audience = ["app"] }
}

run "existing_database_plans" {
  command = plan

  module {
    source = "./examples/existing-database"
  }
}

run "existing_database_applies" {
  module {
    source = "./examples/existing-database"
  }

  assert {
    condition     = output.connection_budget.needed <= output.connection_budget.allowed
    error_message = "The example keeps its budget."
  }
}

run "complete_postgres_plans" {
  command = plan

  module {
    source = "./examples/complete-postgres"
  }
}

run "complete_postgres_applies" {
  module {
    source = "./examples/complete-postgres"
  }

  assert {
    condition     = output.connection_budget.needed <= output.connection_budget.allowed
    error_message = "The example keeps its budget."
  }

  assert {
    condition     = !aws_db_instance.this.publicly_accessible && aws_db_instance.this.storage_encrypted && aws_db_instance.this.deletion_protection && aws_db_instance.this.manage_master_user_password && aws_db_instance.this.backup_retention_period >= 7 && aws_db_instance.this.skip_final_snapshot != true
    error_message = "The database must be private, encrypted, protected and backed up."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.private : subnet.map_public_ip_on_launch != true]) && alltrue([for group in aws_cloudwatch_log_group.database : group.retention_in_days > 0])
    error_message = "Private subnets; logs that end."
  }
}

run "complete_mysql_plans" {
  command = plan

  module {
    source = "./examples/complete-mysql"
  }
}

run "complete_mysql_applies" {
  module {
    source = "./examples/complete-mysql"
  }

  assert {
    condition     = output.connection_budget.needed <= output.connection_budget.allowed
    error_message = "The example keeps its budget."
  }

  assert {
    condition     = !aws_db_instance.this.publicly_accessible && aws_db_instance.this.storage_encrypted && aws_db_instance.this.deletion_protection && aws_db_instance.this.manage_master_user_password && aws_db_instance.this.backup_retention_period >= 7 && aws_db_instance.this.skip_final_snapshot != true
    error_message = "The database must be private, encrypted, protected and backed up."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.private : subnet.map_public_ip_on_launch != true]) && alltrue([for group in aws_cloudwatch_log_group.database : group.retention_in_days > 0])
    error_message = "Private subnets; logs that end."
  }
}

run "aurora_serverless_plans" {
  command = plan

  module {
    source = "./examples/aurora-serverless"
  }
}

run "aurora_serverless_applies" {
  module {
    source = "./examples/aurora-serverless"
  }

  assert {
    condition     = output.connection_budget.needed <= output.connection_budget.allowed
    error_message = "The example keeps its budget."
  }

  assert {
    condition     = alltrue([for instance in aws_rds_cluster_instance.this : !instance.publicly_accessible]) && aws_rds_cluster.this.storage_encrypted && aws_rds_cluster.this.deletion_protection && aws_rds_cluster.this.manage_master_user_password && aws_rds_cluster.this.backup_retention_period >= 7 && aws_rds_cluster.this.skip_final_snapshot != true
    error_message = "The cluster must be private, encrypted, protected and backed up."
  }

  assert {
    condition     = sort(keys(aws_rds_cluster_instance.this)) == tolist(["reader", "writer"]) && aws_cloudwatch_log_group.database.retention_in_days > 0
    error_message = "A writer and a reader; logs that end."
  }
}

run "rds_proxy_plans" {
  command = plan

  module {
    source = "./examples/rds-proxy"
  }
}

run "rds_proxy_applies" {
  module {
    source = "./examples/rds-proxy"
  }

  assert {
    condition     = output.connection_budget.needed > output.connection_budget.allowed
    error_message = "The proxy is there because the function alone would break the budget."
  }
}

run "iam_auth_plans" {
  command = plan

  module {
    source = "./examples/iam-auth"
  }
}

run "iam_auth_applies" {
  module {
    source = "./examples/iam-auth"
  }

  assert {
    condition     = output.connection_budget.needed <= output.connection_budget.allowed
    error_message = "The example keeps its budget."
  }
}

run "sqs_and_schedule_plans" {
  command = plan

  module {
    source = "./examples/sqs-and-schedule"
  }
}

run "sqs_and_schedule_applies" {
  module {
    source = "./examples/sqs-and-schedule"
  }

  assert {
    condition     = output.connection_budget.needed <= output.connection_budget.allowed
    error_message = "The example keeps its budget."
  }
}

run "http_api_plans" {
  command = plan

  module {
    source = "./examples/http-api"
  }
}

run "http_api_applies" {
  module {
    source = "./examples/http-api"
  }

  assert {
    condition     = output.connection_budget.needed <= output.connection_budget.allowed
    error_message = "The example keeps its budget."
  }
}

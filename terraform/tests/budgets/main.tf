# Many calls of the module at once, for tests/budget.tftest.hcl: how many connections each is taken to have.
# With as little beside it as can be, since each is planned.

terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "budgets" {
  description = "The engine and the budget of each."
  type        = any
}

module "function" {
  for_each = var.budgets
  source   = "../.."

  name     = "shop"
  engine   = each.value.engine
  zip      = { directory = "tests/zips" }
  network  = { vpc_id = "vpc-1", subnet_ids = ["subnet-1", "subnet-2"], security_group_ids = ["sg-own"], secrets_endpoint = { cidr_blocks = ["0.0.0.0/0"] } }
  database = { host = "app.abc.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-database", security_group_rule = false, secret = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" } }
  iam      = { role = { arn = "arn:aws:iam::123456789012:role/own" } }
  function = { reserved_concurrent_executions = 1 }

  budget = {
    max_connections = try(each.value.max_connections, null)
    instance_class  = try(each.value.instance_class, null)
    serverless      = try(each.value.serverless, null)
    share           = 1
  }
}

output "max_connections" {
  description = "By the name of each."
  value       = { for name, function in module.function : name => function.connection_budget.max_connections }
}

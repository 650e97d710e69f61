# Many databases at once, for tests/budget.tftest.hcl: how many connections each is taken to have.

variable "budgets" {
  description = "The engine and the budget of each."
  type        = any
}

module "database" {
  for_each = var.budgets
  source   = "../../modules/max-connections"

  engine = each.value.engine
  budget = {
    max_connections = try(each.value.max_connections, null)
    instance_class  = try(each.value.instance_class, null)
    serverless      = try(each.value.serverless, null)
  }
}

output "max_connections" {
  description = "By the name of each."
  value       = { for name, database in module.database : name => database.max_connections }
}

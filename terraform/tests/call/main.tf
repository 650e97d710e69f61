# A call of the module, for tests/golden.tftest.hcl: what a test gives, and all that comes of it.

terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "call" {
  description = "The module's variables."
  type        = any
}

module "function" {
  source = "../.."

  name            = try(var.call.name, null)
  engine          = try(var.call.engine, null)
  architecture    = try(var.call.architecture, null)
  zip             = try(var.call.zip, null)
  function        = try(var.call.function, null)
  network         = try(var.call.network, null)
  database        = try(var.call.database, null)
  connections     = try(var.call.connections, null)
  session         = try(var.call.session, null)
  replies         = try(var.call.replies, null)
  idempotency     = try(var.call.idempotency, null)
  budget          = try(var.call.budget, null)
  proxy           = try(var.call.proxy, null)
  parameter_group = try(var.call.parameter_group, null)
  queues          = try(var.call.queues, null)
  schedules       = try(var.call.schedules, null)
  async           = try(var.call.async, null)
  release         = try(var.call.release, null)
  iam             = try(var.call.iam, null)
  tags            = try(var.call.tags, null)
  http_api        = try(var.call.http_api, null)
  function_url    = try(var.call.function_url, null)
  agents          = try(var.call.agents, null)
  logs            = try(var.call.logs, null)
  alarms          = try(var.call.alarms, null)
}

output "outputs" {
  description = "The module's outputs."
  value       = { for name, value in module.function : name => value if name != "resources" }
}

output "resources" {
  description = "What it creates."
  value       = module.function.resources
}

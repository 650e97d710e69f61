# Functions on one database with what the examples leave out, to be applied and destroyed by terraform/check.

provider "aws" {
  region = "eu-central-1"
}

variable "zip_directory" {
  description = "Where the zips are."
  type        = string
}

locals {
  shared = {
    network = { vpc_id = "vpc-0123456789abcdef0", subnet_ids = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"] }
    database = {
      host                   = "app.abcdefghijkl.eu-central-1.rds.amazonaws.com"
      name                   = "app"
      security_group_id      = "sg-0123456789abcdef0"
      secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
      db_instance_identifier = "app"
    }
  }
}

resource "aws_sqs_queue" "orders" {
  name                       = "orders"
  visibility_timeout_seconds = 150
  sqs_managed_sse_enabled    = true
}

module "released" {
  source = "../.."

  name     = "released"
  engine   = "postgres"
  zip      = { directory = var.zip_directory }
  network  = local.shared.network
  database = local.shared.database
  budget   = { max_connections = 200, others = { proxied = module.proxied.connections_needed } }

  release      = { canary = {}, provisioned_concurrent_executions = 2 }
  queues       = { orders = { existing = { arn = aws_sqs_queue.orders.arn } }, users = {} }
  schedules    = { nightly = { schedule_expression = "rate(1 day)", query = "active_users" } }
  http_api     = { authorization_type = "AWS_IAM" }
  function_url = { callers = { reports = "arn:aws:iam::210987654321:role/reports" } }
  iam          = { path = "/apps/", name_prefix = "team-" }
  tags         = { team = "data" }
}

module "proxied" {
  source = "../.."

  name     = "proxied"
  engine   = "postgres"
  zip      = { directory = var.zip_directory }
  network  = local.shared.network
  database = local.shared.database
  budget   = { max_connections = 200, share = 0.3, others = { released = module.released.connections_needed } }

  proxy           = {}
  parameter_group = { family = "postgres17" }
  async           = {}
}

# Behind the proxy of that one, and with what else is there already or not there at all.
module "behind" {
  source = "../.."

  name     = "behind"
  engine   = "postgres"
  zip      = { directory = var.zip_directory }
  network  = merge(local.shared.network, { ipv6_allowed_for_dual_stack = true })
  database = merge(local.shared.database, { security_group_id = null })
  budget   = { max_connections = 200, share = 0.3 }

  proxy = { existing = {
    name              = module.proxied.resources["aws_db_proxy.this"]["this"].name
    endpoint          = module.proxied.proxy_endpoint
    security_group_id = module.proxied.resources["aws_security_group.proxy"]["this"].id
  } }
  http_api     = { authorization_type = "AWS_IAM", domain = { name = "api.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/0", hosted_zone = { id = "Z0" } }, disable_execute_api_endpoint = true }
  function_url = {}
  replies      = { stream = true }
  agents       = { mcp = {}, agentcore = { tools = file("../tools.json") } }
  logs         = { log_group_class = "INFREQUENT_ACCESS" }
}

# No password from end to end, and readers by a read-only endpoint.
module "passwordless" {
  source = "../.."

  name     = "passwordless"
  engine   = "aurora-postgres"
  zip      = { directory = var.zip_directory }
  network  = local.shared.network
  database = { host = "app.cluster-abcdefghijkl.eu-central-1.rds.amazonaws.com", name = "app", security_group_id = "sg-0123456789abcdef0", auth = "iam", user = "reporting", resource_id = "cluster-ABCDEFGHIJKL", read_from = "reader", db_cluster_identifier = "app" }
  budget   = { max_connections = 1000 }
  proxy    = { auth = "iam" }
}

module "managed" {
  source = "../.."

  name     = "managed"
  engine   = "postgres"
  zip      = { directory = var.zip_directory }
  network  = merge(local.shared.network, { security_group_ids = ["sg-0123456789abcdef1"] })
  database = local.shared.database
  budget   = { max_connections = 500 }
  function = { memory_size = 2048, managed_instances = { capacity_provider_arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:shop", environments = 4 } }
}

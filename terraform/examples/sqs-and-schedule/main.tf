# Work that nobody waits for: messages from a queue, one transaction each, and a query every night.

module "function" {
  source = "../.."

  name         = var.name
  engine       = "postgres"
  architecture = var.architecture
  zip          = { directory = var.zip_directory }

  network = {
    vpc_id     = var.vpc_id
    subnet_ids = var.subnet_ids
  }

  database = {
    host                   = var.database.host
    name                   = var.database.name
    security_group_id      = var.database.security_group_id
    db_instance_identifier = var.database.identifier
    secret                 = { arn = var.secret_arn }
  }

  budget = {
    instance_class = var.database.instance_class
    share          = 0.25
  }

  # Ten messages of up to 5 s each.
  connections = { query_timeout = "5s" }
  function    = { timeout = 60, reserved_concurrent_executions = 6 }

  queues = {
    users = { maximum_concurrency = 3 }
    renames = {
      fifo                = true
      maximum_concurrency = 2
    }
  }

  schedules = {
    nightly = {
      schedule_expression          = "cron(0 3 * * ? *)"
      schedule_expression_timezone = "Europe/Berlin"
      query                        = "active_users"
      params                       = jsonencode({ active = false, limit = 500 })
    }
  }

  alarms = {
    actions = var.alarm_actions
  }
}

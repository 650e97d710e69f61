# The server's own limits, for when a function is killed and its SIGTERM never comes. They hold for everybody who uses the
# database; a session that needs longer sets its own.

locals {
  parameter_groups = var.parameter_group == null ? {} : { this = var.parameter_group }

  parameters = var.parameter_group == null ? {} : {
    for name, value in {
      postgres = {
        "idle_session_timeout"                = local.durations.idle
        "idle_in_transaction_session_timeout" = local.durations.statement
        "statement_timeout"                   = local.durations.statement
        "rds.force_ssl"                       = 1
      }
      mysql = {
        "wait_timeout"             = local.durations.idle / 1000
        "max_execution_time"       = local.durations.statement
        "require_secure_transport" = local.aurora ? "ON" : "1"
      }
      mariadb = {
        "wait_timeout"             = local.durations.idle / 1000
        "max_statement_time"       = local.durations.statement / 1000
        "require_secure_transport" = "1"
      }
    }[trimprefix(var.engine, "aurora-")] : name => tostring(value)
  }
}

resource "aws_db_parameter_group" "this" {
  for_each = { for name, group in local.parameter_groups : name => group if !local.aurora }

  name_prefix = "${var.name}-"
  description = "Idle and statement limits for ${var.name}"
  family      = each.value.family
  tags        = var.tags

  dynamic "parameter" {
    for_each = local.parameters
    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = can(regex(local.engine.family, each.value.family))
      error_message = "parameter_group.family ${each.value.family} is not one of engine ${var.engine}, or has no idle limit (PostgreSQL before 14)."
    }

    precondition {
      condition     = local.durations.statement >= local.durations.query
      error_message = "parameter_group.statement_timeout (${each.value.statement_timeout}) is below connections.query_timeout (${var.connections.query_timeout}): the server would end queries that are allowed."
    }
  }
}

resource "aws_rds_cluster_parameter_group" "this" {
  for_each = { for name, group in local.parameter_groups : name => group if local.aurora }

  name_prefix = "${var.name}-"
  description = "Idle and statement limits for ${var.name}"
  family      = each.value.family
  tags        = var.tags

  dynamic "parameter" {
    for_each = local.parameters
    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = can(regex(local.engine.family, each.value.family))
      error_message = "parameter_group.family ${each.value.family} is not one of engine ${var.engine}, or has no idle limit (PostgreSQL before 14)."
    }

    precondition {
      condition     = local.durations.statement >= local.durations.query
      error_message = "parameter_group.statement_timeout (${each.value.statement_timeout}) is below connections.query_timeout (${var.connections.query_timeout}): the server would end queries that are allowed."
    }
  }
}

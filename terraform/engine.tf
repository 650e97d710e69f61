# What differs between the engines, once. Durations of the server's parameters are in the unit that each wants.

locals {
  engines = {
    postgres = {
      zip          = "postgres"
      port         = 5432
      family       = "^postgres(1[4-9]|[2-9][0-9])$"
      proxy_family = "POSTGRESQL"
    }
    mysql = {
      zip          = "mysql"
      port         = 3306
      family       = "^mysql[0-9.]+$"
      proxy_family = "MYSQL"
    }
    mariadb = {
      zip          = "mysql"
      port         = 3306
      family       = "^mariadb[0-9.]+$"
      proxy_family = "MYSQL"
    }
    aurora-postgres = {
      zip          = "aurora-postgres"
      port         = 5432
      family       = "^aurora-postgresql(1[4-9]|[2-9][0-9])$"
      proxy_family = "POSTGRESQL"
    }
    aurora-mysql = {
      zip          = "aurora-mysql"
      port         = 3306
      family       = "^aurora-mysql[0-9.]+$"
      proxy_family = "MYSQL"
    }
  }

  engine   = local.engines[var.engine]
  aurora   = startswith(var.engine, "aurora-")
  postgres = local.engine.proxy_family == "POSTGRESQL"
  port     = coalesce(var.database.port, local.engine.port)

  # The other family's port is a mix-up, not a choice.
  foreign_port = local.postgres ? 3306 : 5432

  milliseconds = { ms = 1, s = 1000, m = 60000 }
  durations = {
    for name, text in merge(
      {
        connect = var.connections.connect_timeout
        query   = var.connections.query_timeout
        reserve = var.connections.deadline_reserve
      },
      var.parameter_group == null ? {} : {
        idle      = var.parameter_group.idle_session_timeout
        statement = var.parameter_group.statement_timeout
      },
    ) : name => tonumber(regex("^[0-9]+", text)) * local.milliseconds[regex("[a-z]+$", text)]
  }
}

# How many connections the database has, and how many of them this function can come to hold.
#
# Environments of the last deploy are frozen with their sessions while those of the new one open theirs. And an environment
# at work may open one more connection beside each session: to cancel a statement; in a cluster, to ask the writer by its
# own name and by the cluster's.

module "max_connections" {
  source = "./modules/max-connections"

  engine = var.engine
  budget = var.budget
}

locals {
  # 0 where nothing tells, which a precondition refuses.
  max_connections = module.max_connections.max_connections

  # How many environments there may be, how many calls each takes at once, and how many sessions it then has.
  environments  = local.managed == null ? var.function.reserved_concurrent_executions : local.managed.environments
  calls_each    = local.managed == null ? 1 : local.managed.per_execution_environment_max_concurrency
  calls_at_once = local.environments * local.calls_each
  max_sessions  = coalesce(var.connections.max_connections, local.calls_each)

  # Of one environment, on one server. Reads come back to the writer when no reader is left.
  sessions = local.max_sessions * (var.database.read_from == "reader" ? 2 : 1)

  # From the function's own variables only, so that two instances of this module may each name the other's.
  connections_needed = local.environments * local.sessions * (var.connections.generations + 1)

  budget = {
    max_connections = local.max_connections
    allowed         = floor(local.max_connections * var.budget.share)
    needed          = local.connections_needed
    others          = sum(concat([0], values(var.budget.others)))
    spare           = floor(local.max_connections * var.budget.share) - local.connections_needed - sum(concat([0], values(var.budget.others)))
  }

  # Behind a proxy that multiplexes, frozen environments hold none of the database's connections: the proxy's own pool is
  # what counts. On MySQL binary prepared statements pin, so there nothing is multiplexed.
  multiplexed   = var.proxy != null && local.postgres
  proxy_percent = try(coalesce(var.proxy.max_connections_percent, floor(var.budget.share * 100)), null)
}

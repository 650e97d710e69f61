# How many connections the database has, and how many of them this function can come to hold.
#
# Environments of the last deploy are frozen with their sessions while those of the new one open theirs. And an environment
# at work may open one more connection beside each session: to cancel a statement; in a cluster, to ask the writer by its
# own name and by the cluster's.

locals {
  # Memory of a class in GiB, by its size in units of `large`, and by its family. AWS's naming has held since 2013.
  class = try(regex("^db\\.(?P<family>[a-z])[a-z0-9]*\\.(?P<size>(?:[0-9]+x|x)?large|medium|small|micro)$", var.budget.instance_class), null)
  units = local.class == null ? null : lookup(
    { micro = 0.125, small = 0.25, medium = 0.5, large = 1, xlarge = 2 },
    local.class.size,
    try(2 * tonumber(regex("^[0-9]+", local.class.size)), 0),
  )
  memory = local.class == null ? null : try({ t = 8, m = 8, c = 4, r = 16, x = 32, z = 16 }[local.class.family] * local.units, null)

  # The formulas of the default parameter groups divide DBInstanceClassMemory, which is less than the class has: the
  # system and RDS itself take theirs. 1 GiB gives some 80 on PostgreSQL, not 112, and 16 GiB 1,600, not 1,802. This
  # estimate stays a little below what was seen. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html
  usable_bytes = local.memory == null ? null : (local.memory - 0.25) * 0.88 * 1073741824

  # Aurora MySQL's are steps, by GiB and by ACU; Aurora Serverless v2 goes by its maximum.
  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/AuroraMySQL.Managing.Performance.html
  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html
  aurora_mysql_by_memory = { 2 = 45, 4 = 90, 8 = 135, 16 = 1000, 32 = 2000, 64 = 3000, 128 = 4000, 256 = 5000, 384 = 6000, 768 = 7000 }
  aurora_mysql_by_acu    = { 1 = 90, 4 = 135, 8 = 1000, 16 = 2000, 32 = 3000, 64 = 4000, 128 = 5000, 192 = 6000 }
  aurora_postgres_by_acu = { 1 = 189, 4 = 823, 8 = 1669, 16 = 3360, 32 = 5000 }

  class_connections = local.memory == null ? null : {
    postgres        = min(floor(local.usable_bytes / 9531392), 5000)
    mysql           = floor(local.usable_bytes / 12582880)
    mariadb         = min(floor(local.usable_bytes / 25165760), 12000)
    aurora-postgres = min(floor(local.usable_bytes / 9531392), 5000)
    aurora-mysql    = max(0, [for gib, connections in local.aurora_mysql_by_memory : connections if gib <= local.memory]...)
  }[var.engine]

  # With a minimum of 0 or 0.5 ACU, PostgreSQL is capped at 2,000.
  serverless_connections = var.budget.serverless == null || !local.aurora ? null : min(
    max(0, [
      for acu, connections in(local.postgres ? local.aurora_postgres_by_acu : local.aurora_mysql_by_acu) :
      connections if acu <= var.budget.serverless.max_capacity
    ]...),
    local.postgres && var.budget.serverless.min_capacity < 1 ? 2000 : 16000,
  )

  # 0 where nothing tells, which a precondition refuses.
  max_connections = try(coalesce(var.budget.max_connections, local.serverless_connections, local.class_connections), 0)

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

# How many connections a database has, by what is told of it. AWS's tables for Aurora MySQL and for Aurora Serverless v2; the
# other classes stay a little below what was seen on real ones. What is known wins.

variable "engine" {
  description = "As the module's."
  type        = string
}

variable "budget" {
  description = "As the module's: max_connections, instance_class or serverless."
  type = object({
    max_connections = optional(number)
    instance_class  = optional(string)
    serverless = optional(object({
      min_capacity = number
      max_capacity = number
    }))
  })
}

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
  serverless_connections = var.budget.serverless == null || !startswith(var.engine, "aurora-") ? null : min(
    max(0, [
      for acu, connections in(var.engine == "aurora-postgres" ? local.aurora_postgres_by_acu : local.aurora_mysql_by_acu) :
      connections if acu <= var.budget.serverless.max_capacity
    ]...),
    var.engine == "aurora-postgres" && var.budget.serverless.min_capacity < 1 ? 2000 : 16000,
  )
}

output "max_connections" {
  description = "0 where nothing tells."
  value       = try(coalesce(var.budget.max_connections, local.serverless_connections, local.class_connections), 0)
}

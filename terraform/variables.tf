variable "name" {
  description = "The function's name. Everything else that is created is named after it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.name)) && !can(regex("--|-$", var.name))
    error_message = "name must have 1 to 40 characters: lower-case letters, digits and single hyphens, a letter first and no hyphen last. RDS Proxy and IAM allow no more."
  }
}

variable "engine" {
  description = "The database's engine: postgres, mysql, mariadb, aurora-postgres or aurora-mysql. It picks the zip (mariadb has mysql's)."
  type        = string

  validation {
    condition     = contains(["postgres", "mysql", "mariadb", "aurora-postgres", "aurora-mysql"], var.engine)
    error_message = "engine must be postgres, mysql, mariadb, aurora-postgres or aurora-mysql."
  }
}

variable "architecture" {
  description = "The processor that the zip was built for: x86_64 or arm64 (Graviton)."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be x86_64 or arm64."
  }
}

variable "zip" {
  description = <<-EOT
    Where the function's zip is, one of three:
    - `directory`: a folder with what `cargo xtask zip` made; engine and architecture pick the file.
    - `filename`: a file.
    - `s3_bucket` and `s3_key`, and `s3_object_version` so that a new object is noticed.
  EOT
  type = object({
    directory         = optional(string)
    filename          = optional(string)
    s3_bucket         = optional(string)
    s3_key            = optional(string)
    s3_object_version = optional(string)
  })
  default = { directory = "target/lambda" }

  validation {
    condition     = length([for place in [var.zip.directory, var.zip.filename, var.zip.s3_bucket] : place if place != null]) == 1
    error_message = "zip must have exactly one of directory, filename and s3_bucket."
  }

  validation {
    condition     = (var.zip.s3_bucket == null) == (var.zip.s3_key == null)
    error_message = "zip.s3_bucket and zip.s3_key belong together."
  }
}

variable "function" {
  description = <<-EOT
    The function itself, by Lambda's argument names:
    - `timeout` in seconds; it must cover connect, query and reserve of `connections`.
    - `reserved_concurrent_executions`: how many environments there may be at once. What bounds the database's connections.
    - `environment`: further settings, such as `LAMBDA_RDS_DIAGNOSE`; not those that this module sets.
    - `tracing_mode`: `Active` for X-Ray.
    - `kms_key_arn`: a key of yours for the environment; it holds no secret.
  EOT
  type = object({
    description                    = optional(string, "SQL over a private database, by lambda-rds")
    memory_size                    = optional(number, 256)
    timeout                        = optional(number, 20)
    reserved_concurrent_executions = optional(number, 10)
    environment                    = optional(map(string), {})
    tracing_mode                   = optional(string, "PassThrough")
    kms_key_arn                    = optional(string)
  })
  default = {}

  validation {
    condition     = var.function.reserved_concurrent_executions >= 1 && floor(var.function.reserved_concurrent_executions) == var.function.reserved_concurrent_executions
    error_message = "function.reserved_concurrent_executions must be a whole number of at least 1: without it nothing bounds the number of connections."
  }

  validation {
    condition     = contains(["Active", "PassThrough"], var.function.tracing_mode)
    error_message = "function.tracing_mode must be Active or PassThrough."
  }

  validation {
    condition     = alltrue([for key, value in var.function.environment : can(regex("^(DB|LAMBDA_RDS|RUST)_[A-Z0-9_]+$", key))])
    error_message = "function.environment takes settings of lambda-rds only: DB_* and LAMBDA_RDS_* (and RUST_BACKTRACE)."
  }

  validation {
    condition     = length(setintersection(keys(var.function.environment), ["DB_PASSWORD", "DB_ALLOW_PASSWORD"])) == 0
    error_message = "function.environment must not hold a password: whoever may see the function's settings would see it. Use database.secret."
  }
}

variable "network" {
  description = <<-EOT
    The existing VPC:
    - `subnet_ids`: private subnets, in two availability zones or more and at most one per zone. They need no route to the internet.
    - `secrets_endpoint`: an interface endpoint for Secrets Manager that is there already, with private DNS, by its security group. Without it one is created, unless `database.auth` is `iam`.
  EOT
  type = object({
    vpc_id     = string
    subnet_ids = list(string)
    secrets_endpoint = optional(object({
      security_group_id = string
    }))
  })

  validation {
    condition     = length(var.network.subnet_ids) >= 2
    error_message = "network.subnet_ids needs two subnets at least, in different availability zones: with one, that zone's failure is yours."
  }
}

variable "database" {
  description = <<-EOT
    The existing database:
    - `host`, `port` (the engine's own by default) and `name`, as the function's `DB_HOST`, `DB_PORT` and `DB_NAME`.
    - `security_group_id`: the database's; a rule that lets the function in is added to it.
    - `auth`: `secret` or `iam`. With `secret`, `secret.arn` is the full ARN of a secret with `username` and `password`, and `secret.kms_key_arn` its key if that is one of yours. With `iam`, `user` and the database's `resource_id` (`db-…` or `cluster-…`).
    - `read_from`: Aurora only, `writer` or `reader`.
    - `db_instance_identifier` or `db_cluster_identifier`: for the alarms on the database, and for the proxy.
  EOT
  type = object({
    host              = string
    port              = optional(number)
    name              = string
    security_group_id = string
    auth              = optional(string, "secret")
    secret = optional(object({
      arn         = string
      kms_key_arn = optional(string)
    }))
    user                   = optional(string)
    resource_id            = optional(string)
    read_from              = optional(string, "writer")
    db_instance_identifier = optional(string)
    db_cluster_identifier  = optional(string)
  })

  validation {
    condition     = contains(["secret", "iam"], var.database.auth)
    error_message = "database.auth must be secret or iam."
  }

  validation {
    condition     = contains(["writer", "reader"], var.database.read_from)
    error_message = "database.read_from must be writer or reader."
  }

  validation {
    condition     = can(regex("^[0-9A-Za-z._-]+$", var.database.host))
    error_message = "database.host must be a host name: no scheme, port or path. Of aws_db_instance take `address`, not `endpoint`, which has the port."
  }

  validation {
    condition     = var.database.db_instance_identifier == null || var.database.db_cluster_identifier == null
    error_message = "database.db_instance_identifier is for an instance of its own, db_cluster_identifier for a cluster: give one."
  }
}

variable "connections" {
  description = <<-EOT
    How the function connects, as its `DB_MAX_CONNECTIONS` (sessions per environment and endpoint), `DB_CONNECT_TIMEOUT`, `DB_QUERY_TIMEOUT` and `DB_DEADLINE_RESERVE`. Durations read `5s`, `500ms` or `1m`.
  EOT
  type = object({
    max_connections  = optional(number, 1)
    connect_timeout  = optional(string, "5s")
    query_timeout    = optional(string, "10s")
    deadline_reserve = optional(string, "250ms")
  })
  default = {}

  validation {
    condition     = alltrue([for text in [var.connections.connect_timeout, var.connections.query_timeout, var.connections.deadline_reserve] : can(regex("^[0-9]+(ms|s|m)$", text))])
    error_message = "connections: durations read 5s, 500ms or 1m."
  }

  validation {
    condition     = var.connections.max_connections >= 1 && floor(var.connections.max_connections) == var.connections.max_connections
    error_message = "connections.max_connections must be a whole number of at least 1."
  }
}

variable "budget" {
  description = <<-EOT
    How many connections the database has, and which share of them this function may take:
    - `max_connections` if you know it (`SHOW max_connections`), else `instance_class` (`db.t4g.small`), else `serverless` with the cluster's capacity in ACUs.
    - `share` of it, from 0 to 1. The rest is for others, for administrators and for the server itself.
  EOT
  type = object({
    max_connections = optional(number)
    instance_class  = optional(string)
    serverless = optional(object({
      min_capacity = number
      max_capacity = number
    }))
    share = optional(number, 0.5)
  })

  validation {
    condition     = var.budget.share > 0 && var.budget.share <= 1
    error_message = "budget.share must be above 0 and at most 1."
  }

  validation {
    condition     = length([for source in [var.budget.max_connections, var.budget.instance_class, var.budget.serverless] : source if source != null]) >= 1
    error_message = "budget needs max_connections, instance_class or serverless: nothing else tells how many connections the database has."
  }
}

variable "proxy" {
  description = <<-EOT
    An RDS Proxy before the database, with TLS required; the function then connects to it. It logs in to the database with `database.secret`, the function to it as `database.auth` says.
    - `subnet_ids`: the function's unless given.
    - `max_connections_percent` of the database's connections; the budget's share unless given.
    - `connection_borrow_timeout` in seconds: how long a call waits for one of them.
    - `idle_client_timeout` in seconds: after it, connections of frozen environments are closed.
  EOT
  type = object({
    subnet_ids                = optional(list(string))
    max_connections_percent   = optional(number)
    connection_borrow_timeout = optional(number, 3)
    idle_client_timeout       = optional(number, 900)
  })
  default = null
}

variable "parameter_group" {
  description = <<-EOT
    A parameter group (for Aurora a cluster's) with the server's own limits, for the database to use; its name is an output.
    - `family`: such as `postgres17`, `mysql8.4` or `aurora-postgresql17`.
    - `idle_session_timeout`: the server closes sessions that are idle for longer, which frozen environments leave behind.
    - `statement_timeout`: the longest that any statement of anybody may take, unless its session says otherwise.
  EOT
  type = object({
    family               = string
    idle_session_timeout = optional(string, "15m")
    statement_timeout    = optional(string, "60s")
  })
  default = null

  validation {
    condition     = var.parameter_group == null ? true : alltrue([for text in [var.parameter_group.idle_session_timeout, var.parameter_group.statement_timeout] : can(regex("^[0-9]+(s|m)$", text))])
    error_message = "parameter_group: durations read 60s or 15m."
  }
}

variable "queues" {
  description = <<-EOT
    SQS queues whose messages the function serves, by name. Each is created with a dead-letter queue; failed messages come back alone (`ReportBatchItemFailures`).
    - `maximum_concurrency`: how many environments the queue may use at once, 2 at least.
    - `max_receive_count`: after so many failures a message goes to the dead-letter queue.
  EOT
  type = map(object({
    fifo                               = optional(bool, false)
    batch_size                         = optional(number, 10)
    maximum_batching_window_in_seconds = optional(number, 0)
    maximum_concurrency                = optional(number, 2)
    max_receive_count                  = optional(number, 5)
    message_retention_seconds          = optional(number, 345600)
  }))
  default = {}

  validation {
    condition     = alltrue([for name, queue in var.queues : can(regex("^[a-z][a-z0-9-]{0,30}$", name))])
    error_message = "queues: names have lower-case letters, digits and hyphens (a FIFO queue's .fifo is added)."
  }

  validation {
    condition     = alltrue([for queue in values(var.queues) : queue.batch_size <= 10 || (!queue.fifo && queue.maximum_batching_window_in_seconds >= 1)])
    error_message = "queues: a batch_size above 10 needs maximum_batching_window_in_seconds of 1 or more, and no FIFO queue."
  }

  validation {
    condition     = alltrue([for queue in values(var.queues) : !queue.fifo || queue.maximum_batching_window_in_seconds == 0])
    error_message = "queues: a FIFO queue has no maximum_batching_window_in_seconds."
  }
}

variable "schedules" {
  description = <<-EOT
    Queries that run by the clock, by name. A failure is raised (`onError: raise`), tried again, and at last kept in the queue of failures.
    - `schedule_expression`: `rate(5 minutes)` or `cron(0 3 * * ? *)`, in `schedule_expression_timezone`.
    - `query`, and `params` as JSON: `jsonencode({ days = 30 })`.
  EOT
  type = map(object({
    schedule_expression          = string
    schedule_expression_timezone = optional(string, "UTC")
    query                        = string
    params                       = optional(string, "{}")
    maximum_event_age_in_seconds = optional(number, 3600)
  }))
  default = {}

  validation {
    condition     = alltrue([for name, schedule in var.schedules : can(regex("^[a-z][a-z0-9_-]{0,20}$", name))])
    error_message = "schedules: names have up to 21 lower-case letters, digits, hyphens and underscores."
  }

  validation {
    condition     = alltrue([for schedule in values(var.schedules) : can(regex("^(rate|cron|at)\\(.+\\)$", schedule.schedule_expression))])
    error_message = "schedules: schedule_expression must be rate(…), cron(…) or at(…)."
  }

  validation {
    condition     = alltrue([for schedule in values(var.schedules) : can(keys(jsondecode(schedule.params)))])
    error_message = "schedules: params must be a JSON object; write jsonencode({ … })."
  }
}

variable "http_api" {
  description = <<-EOT
    An API Gateway HTTP API before the function.
    - `authorization_type`: `JWT` with `jwt`, whose claims queries bind (`from claims.sub`), `AWS_IAM`, or `NONE`, which lets everybody in.
    - `cors_origin`: whom browsers let read the replies.
    - `throttling_*`: the rate per second and the burst that the whole API takes.
  EOT
  type = object({
    authorization_type = optional(string, "JWT")
    jwt = optional(object({
      issuer   = string
      audience = list(string)
      scopes   = optional(list(string), [])
    }))
    cors_origin            = optional(string)
    throttling_rate_limit  = optional(number, 100)
    throttling_burst_limit = optional(number, 50)
  })
  default = null

  validation {
    condition     = var.http_api == null ? true : contains(["JWT", "AWS_IAM", "NONE"], var.http_api.authorization_type)
    error_message = "http_api.authorization_type must be JWT, AWS_IAM or NONE."
  }

  validation {
    condition     = var.http_api == null ? true : (var.http_api.authorization_type == "JWT") == (var.http_api.jwt != null)
    error_message = "http_api needs jwt (issuer and audience), or an authorization_type of AWS_IAM, or NONE, which lets everybody in."
  }
}

variable "function_url" {
  description = "A function URL. `authorization_type` is `AWS_IAM`, or `NONE`, which lets everybody in."
  type = object({
    authorization_type = optional(string, "AWS_IAM")
  })
  default = null

  validation {
    condition     = var.function_url == null ? true : contains(["AWS_IAM", "NONE"], var.function_url.authorization_type)
    error_message = "function_url.authorization_type must be AWS_IAM or NONE."
  }
}

variable "logs" {
  description = <<-EOT
    The log groups. `level` is the function's (`LAMBDA_RDS_LOG` in `function.environment` says it more finely). With `kms_key_id`, that key's policy must let CloudWatch Logs use it.
  EOT
  type = object({
    retention_in_days = optional(number, 30)
    kms_key_id        = optional(string)
    level             = optional(string, "INFO")
  })
  default = {}

  validation {
    condition     = var.logs.retention_in_days > 0
    error_message = "logs.retention_in_days must be above 0: 0 keeps logs for ever."
  }

  validation {
    condition     = contains(["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"], var.logs.level)
    error_message = "logs.level must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL."
  }
}

variable "alarms" {
  description = <<-EOT
    What the alarms do, and where they start.
    - `actions`: ARNs, such as an SNS topic's, for alarm and all-clear. Without any the alarms are only seen in the console.
    - `thresholds`: other thresholds than the defaults, by alarm; the output `alarms` lists them.
  EOT
  type = object({
    actions    = optional(list(string), [])
    thresholds = optional(map(number), {})
  })
  default = {}
}

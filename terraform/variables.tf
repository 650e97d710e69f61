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
  nullable    = false

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
  default  = { directory = "target/lambda" }
  nullable = false

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
    - `environment`: settings that no variable has (`LAMBDA_RDS_DIAGNOSE`, `LAMBDA_RDS_QUERIES`, `DB_TLS`, `DB_TLS_CA`, `DB_SECRET_TTL`), and whatever layers and a second database want; not what this module sets, and no password.
    - `tracing_mode`: `Active` for X-Ray.
    - `kms_key_arn`: a key of yours for the environment; it holds no secret.
    - `layers`: ARNs of layer versions, such as an OpenTelemetry collector's.
    - `code_signing_config_arn`: Lambda then takes signed zips only.
    - `managed_instances`: on Lambda Managed Instances, by the capacity provider's ARN. The network is the provider's then: name its groups in `network.security_group_ids`. `environments` is how many there may be at most, which only the provider's vCPUs bound; each has as many sessions as it takes calls at once, unless `connections.max_connections` says otherwise. A function cannot go from the one to the other.
  EOT
  type = object({
    description                    = optional(string, "SQL over a private database, by lambda-rds")
    memory_size                    = optional(number, 256)
    timeout                        = optional(number, 20)
    reserved_concurrent_executions = optional(number, 10)
    environment                    = optional(map(string), {})
    tracing_mode                   = optional(string, "PassThrough")
    kms_key_arn                    = optional(string)
    layers                         = optional(list(string), [])
    code_signing_config_arn        = optional(string)
    managed_instances = optional(object({
      capacity_provider_arn                     = string
      environments                              = number
      per_execution_environment_max_concurrency = optional(number, 16)
      execution_environment_memory_gib_per_vcpu = optional(number, 2)
    }))
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.function.reserved_concurrent_executions >= 1 && floor(var.function.reserved_concurrent_executions) == var.function.reserved_concurrent_executions
    error_message = "function.reserved_concurrent_executions must be a whole number of at least 1: without it nothing bounds the number of connections."
  }

  validation {
    condition     = var.function.managed_instances == null ? true : var.function.memory_size >= 2048 && var.function.managed_instances.environments >= 1 && var.function.managed_instances.per_execution_environment_max_concurrency >= 1
    error_message = "function.managed_instances: an environment has a memory_size of 2048 at least and takes one call at least, and there is one environment at least."
  }

  validation {
    condition     = length(var.function.layers) <= 5
    error_message = "function.layers: Lambda takes five at most."
  }

  validation {
    condition     = contains(["Active", "PassThrough"], var.function.tracing_mode)
    error_message = "function.tracing_mode must be Active or PassThrough."
  }

  validation {
    condition     = alltrue([for key, value in var.function.environment : can(regex("^[A-Za-z][A-Za-z0-9_]+$", key)) && !can(regex("^(AWS_(REGION|DEFAULT_REGION|EXECUTION_ENV|ACCESS_KEY|ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|PROFILE)|AWS_LAMBDA_(FUNCTION|INITIALIZATION|LOG|RUNTIME)_.*|LAMBDA_TASK_ROOT|LAMBDA_RUNTIME_DIR)$", key))])
    error_message = "function.environment: names have letters, digits and underscores, a letter first, and are none of those that Lambda sets itself (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_LAMBDA_FUNCTION_NAME …)."
  }

  validation {
    condition     = alltrue([for key, value in var.function.environment : !strcontains(upper(key), "PASSWORD")])
    error_message = "function.environment must not hold a password: whoever may see the function's settings would see it. Use database.secret."
  }
}

variable "network" {
  description = <<-EOT
    The existing VPC:
    - `subnet_ids`: private subnets, in two availability zones or more and at most one per zone. They need no route to the internet.
    - `security_group_ids`: groups of your own for the function. Then none is created, and what they let out is up to them.
    - `secrets_endpoint`: how Secrets Manager is reached already under its usual name. By the security group of an interface endpoint with private DNS, which gets a rule for the function unless `security_group_rule` is false; or by `cidr_blocks` or `prefix_list_ids`: an endpoint's elsewhere, or `0.0.0.0/0` by NAT. Without it an endpoint is created, unless `database.auth` is `iam`.
    - `egress`: whom else the function may speak to, by name: a second database, a collector. Each by group, addresses or prefix lists.
    - `ipv6_allowed_for_dual_stack`: the function has IPv6 addresses as well, in subnets that have them.
  EOT
  type = object({
    vpc_id             = string
    subnet_ids         = list(string)
    security_group_ids = optional(list(string), [])
    secrets_endpoint = optional(object({
      security_group_id   = optional(string)
      security_group_rule = optional(bool, true)
      cidr_blocks         = optional(list(string), [])
      prefix_list_ids     = optional(list(string), [])
    }))
    egress = optional(map(object({
      port              = number
      security_group_id = optional(string)
      cidr_blocks       = optional(list(string), [])
      prefix_list_ids   = optional(list(string), [])
    })), {})
    ipv6_allowed_for_dual_stack = optional(bool, false)
  })

  validation {
    condition     = length(var.network.security_group_ids) <= 5
    error_message = "network.security_group_ids: Lambda takes five at most."
  }

  validation {
    condition = alltrue([
      for place in concat(values(var.network.egress), var.network.secrets_endpoint[*]) :
      (length(place.cidr_blocks) + length(place.prefix_list_ids) > 0) != (place.security_group_id != null)
    ])
    error_message = "network.egress and network.secrets_endpoint name either a security_group_id, or cidr_blocks and prefix_list_ids."
  }

  validation {
    condition     = length(var.network.security_group_ids) == 0 || length(var.network.egress) == 0
    error_message = "network.egress is for the group that this module creates; with network.security_group_ids none is, so let those groups say it."
  }

  validation {
    condition     = alltrue([for name, place in var.network.egress : can(regex("^[a-z][a-z0-9_]*$", name)) && !contains(["database", "proxy", "secrets"], name) && place.port >= 1 && place.port <= 65535])
    error_message = "network.egress: names have lower-case letters, digits and underscores, and are not database, proxy or secrets; ports are from 1 to 65535."
  }

  validation {
    condition     = length(var.network.subnet_ids) >= 2
    error_message = "network.subnet_ids needs two subnets at least, in different availability zones: with one, that zone's failure is yours."
  }
}

variable "database" {
  description = <<-EOT
    The existing database:
    - `host`, `port` (the engine's own by default) and `name`, as the function's `DB_HOST`, `DB_PORT` and `DB_NAME`.
    - `security_group_id`: the database's; a rule that lets the function in is added to it, unless `security_group_rule` is false. Or, where there is no such group, `cidr_blocks` and `prefix_list_ids`: where the function may go to. With `proxy.existing` none of them is needed.
    - `auth`: `secret` or `iam`. With `secret`, `secret.arn` is the full ARN of a secret with `username` and `password`, and `secret.kms_key_arn` its key if that is one of yours. With `iam`, `user` and the database's `resource_id` (`db-…` or `cluster-…`).
    - `read_from`: Aurora only, `writer` or `reader`. Behind a proxy, `reader` makes a read-only endpoint of it.
    - `reader_host`: Aurora, without a proxy: a custom endpoint for the reads (`DB_READER_HOST`), where it is not the cluster's own.
    - `instance_pattern`: Aurora: the hosts of the members, where the cluster's is a name of yours (`DB_INSTANCE_PATTERN`).
    - `tls_server_name` and `iam_host`: the name in the server's certificate, and the one that tokens are signed for, where `host` is a name of yours (`DB_TLS_SERVER_NAME`, `DB_IAM_HOST`).
    - `db_instance_identifier` or `db_cluster_identifier`: for the alarms on the database, and for the proxy.
  EOT
  type = object({
    host                = string
    port                = optional(number)
    name                = string
    security_group_id   = optional(string)
    security_group_rule = optional(bool, true)
    cidr_blocks         = optional(list(string), [])
    prefix_list_ids     = optional(list(string), [])
    auth                = optional(string, "secret")
    secret = optional(object({
      arn         = string
      kms_key_arn = optional(string)
    }))
    user                   = optional(string)
    resource_id            = optional(string)
    read_from              = optional(string, "writer")
    reader_host            = optional(string)
    instance_pattern       = optional(string)
    tls_server_name        = optional(string)
    iam_host               = optional(string)
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
    condition     = alltrue([for host in [var.database.reader_host, var.database.tls_server_name, var.database.iam_host] : host == null ? true : can(regex("^[0-9A-Za-z._-]+$", host))])
    error_message = "database.reader_host, tls_server_name and iam_host are host names: no scheme, port or path."
  }

  validation {
    condition     = var.database.instance_pattern == null ? true : can(regex("^[0-9A-Za-z._-]*\\?[0-9A-Za-z._-]*(:[0-9]{1,5})?$", var.database.instance_pattern))
    error_message = "database.instance_pattern must be a host name with one ? for the instance, and a port if it is another: ?.db.example.com:6432."
  }

  validation {
    condition     = (length(var.database.cidr_blocks) + length(var.database.prefix_list_ids) > 0) != (var.database.security_group_id != null) || (try(var.proxy.existing, null) != null && var.database.security_group_id == null)
    error_message = "database needs its security_group_id, or else cidr_blocks or prefix_list_ids where the function finds it."
  }

  validation {
    condition     = var.database.resource_id == null ? true : can(regex("^(db-[A-Z0-9]+|cluster-[A-Z0-9]+|prx-[a-z0-9]+)$", var.database.resource_id))
    error_message = "database.resource_id must be what RDS calls the resource id, db-… or cluster-… (of a proxy prx-…), not the identifier: a permission for that lets nobody in. aws rds describe-db-instances --query 'DBInstances[].[DBInstanceIdentifier,DbiResourceId]'"
  }

  validation {
    condition     = var.database.db_instance_identifier == null || var.database.db_cluster_identifier == null
    error_message = "database.db_instance_identifier is for an instance of its own, db_cluster_identifier for a cluster: give one."
  }
}

variable "connections" {
  description = <<-EOT
    How the function connects, as its `DB_MAX_CONNECTIONS` (sessions per environment and endpoint; one, unless it runs on managed instances), `DB_CONNECT_TIMEOUT`, `DB_QUERY_TIMEOUT` and `DB_DEADLINE_RESERVE`. Durations read `5s`, `500ms` or `1m`. `generations` is how many deploys' environments may be connected at once: two after a deploy; three if you deploy again before the server's idle limit has closed the first ones' sessions.
    - `pooler`: `transaction` behind PgBouncer in that mode or ProxySQL (`DB_POOLER`); RDS Proxy is known by its name.
    - `pipeline`: `off` where what stands between takes no statement ahead of the last one's reply (`DB_PIPELINE`).
    - `connect_at`: `first-use` for a function whose calls do not all need the database (`DB_CONNECT_AT`).
  EOT
  type = object({
    max_connections  = optional(number)
    pooler           = optional(string)
    pipeline         = optional(string)
    connect_at       = optional(string)
    connect_timeout  = optional(string, "5s")
    query_timeout    = optional(string, "10s")
    deadline_reserve = optional(string, "250ms")
    generations      = optional(number, 2)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for text in [var.connections.connect_timeout, var.connections.query_timeout, var.connections.deadline_reserve] : can(regex("^[0-9]+(ms|s|m)$", text))])
    error_message = "connections: durations read 5s, 500ms or 1m."
  }

  validation {
    condition     = var.connections.pooler == null ? true : contains(["auto", "none", "transaction"], var.connections.pooler)
    error_message = "connections.pooler must be auto, none or transaction."
  }

  validation {
    condition     = var.connections.pipeline == null ? true : contains(["auto", "off"], var.connections.pipeline)
    error_message = "connections.pipeline must be auto or off."
  }

  validation {
    condition     = var.connections.connect_at == null ? true : contains(["init", "first-use"], var.connections.connect_at)
    error_message = "connections.connect_at must be init or first-use."
  }

  validation {
    condition     = var.connections.max_connections == null ? true : var.connections.max_connections >= 1 && floor(var.connections.max_connections) == var.connections.max_connections
    error_message = "connections.max_connections must be a whole number of at least 1."
  }

  validation {
    condition     = var.connections.generations >= 1 && floor(var.connections.generations) == var.connections.generations
    error_message = "connections.generations must be a whole number of at least 1."
  }
}

variable "session" {
  description = <<-EOT
    What every query's transaction is told of its caller, for row-level security on PostgreSQL; a query may narrow it.
    - `set`: settings, as `app.tenant = claims.tenant` (the function's `LAMBDA_RDS_SET`).
    - `role`: `member`, or `claims.role in {member, auditor}` (`LAMBDA_RDS_ROLE`).
  EOT
  type = object({
    set  = optional(list(string), [])
    role = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for setting in var.session.set : can(regex("^[^=;]+=[^;]+$", setting))])
    error_message = "session.set are settings such as \"app.tenant = claims.tenant\", each for itself, without a semicolon."
  }
}

variable "replies" {
  description = <<-EOT
    How the function answers, over HTTP and otherwise, as its settings of these names (`LAMBDA_RDS_INT64` …); their defaults hold for what is not given.
    - `int64`: `number`, or `string` so that JavaScript keeps 64-bit integers.
    - `compress`: `auto`, or `off` behind a REST API of yours whose `binaryMediaTypes` lack `*/*`.
    - `base_path`: what paths have before the query's name, such as `/v1`; the routes of `http_api` begin with it.
    - `http_timeout`: a further limit for calls over HTTP, `28s` unless given; more for a function URL, which waits as long as the function.
    - `http_batch`: whether a POST to the base path may be a `transaction` or a `batch`.
    - `openapi`: `true` answers `GET /openapi.json`; or a file in the zip that `lambda-rds openapi` wrote.
    - `direct_errors`: `reply`, or `raise`, so that direct invokes that fail are function errors.
    - `default_query`: the query of an invoke that names none.
    - `stream`: rows are sent while they are read, up to `stream_bytes` (200 MB unless given): to the function URL, whose invoke mode is then `RESPONSE_STREAM`; to a REST API of yours whose integration has the response transfer mode `STREAM`; and to `InvokeWithResponseStream`. A direct invoke is answered with the body alone.
  EOT
  type = object({
    int64         = optional(string)
    compress      = optional(string)
    base_path     = optional(string)
    http_timeout  = optional(string)
    http_batch    = optional(bool)
    openapi       = optional(string)
    direct_errors = optional(string)
    default_query = optional(string)
    stream        = optional(bool)
    stream_bytes  = optional(number)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.replies.int64 == null ? true : contains(["number", "string"], var.replies.int64)
    error_message = "replies.int64 must be number or string."
  }

  validation {
    condition     = var.replies.compress == null ? true : contains(["auto", "off"], var.replies.compress)
    error_message = "replies.compress must be auto or off."
  }

  validation {
    condition     = var.replies.base_path == null ? true : can(regex("^(/[0-9A-Za-z._~-]+)+/?$", var.replies.base_path))
    error_message = "replies.base_path must begin with a slash, such as /v1."
  }

  validation {
    condition     = var.replies.http_timeout == null ? true : can(regex("^[0-9]+(ms|s|m)$", var.replies.http_timeout))
    error_message = "replies.http_timeout is a duration, which reads 5s, 500ms or 1m."
  }

  validation {
    condition     = var.replies.openapi == null ? true : can(regex("^(true|false|.+\\.json)$", var.replies.openapi))
    error_message = "replies.openapi must be true, false or a JSON file in the zip."
  }

  validation {
    condition     = var.replies.direct_errors == null ? true : contains(["reply", "raise"], var.replies.direct_errors)
    error_message = "replies.direct_errors must be reply or raise."
  }

  validation {
    condition     = var.replies.stream_bytes == null ? true : var.replies.stream_bytes >= 1 && var.replies.stream_bytes <= 209715200 && floor(var.replies.stream_bytes) == var.replies.stream_bytes
    error_message = "replies.stream_bytes must be a whole number from 1 to 209715200."
  }
}

variable "idempotency" {
  description = <<-EOT
    Where the keys of queries with `-- idempotency_key:` are kept; `lambda-rds tables` prints what makes the table.
    - `table`: its name, with its schema or without (`DB_IDEMPOTENCY_TABLE`); `lambda_rds_idempotency` unless given.
    - `reply_bytes`: how many bytes of reply are kept at most (`DB_IDEMPOTENCY_REPLY`).
  EOT
  type = object({
    table       = optional(string)
    reply_bytes = optional(number)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.idempotency.table == null ? true : can(regex("^[A-Za-z0-9_$]{1,63}(\\.[A-Za-z0-9_$]{1,63})?$", var.idempotency.table))
    error_message = "idempotency.table must be the name of a table, with its schema or without: letters, digits, _ and $, up to 63 each."
  }

  validation {
    condition     = var.idempotency.reply_bytes == null ? true : var.idempotency.reply_bytes >= 1 && var.idempotency.reply_bytes <= 6000000 && floor(var.idempotency.reply_bytes) == var.idempotency.reply_bytes
    error_message = "idempotency.reply_bytes must be a whole number from 1 to 6000000."
  }
}

variable "budget" {
  description = <<-EOT
    How many connections the database has, and which share of them this function may take:
    - `max_connections` if you know it (`SHOW max_connections`), else `instance_class` (`db.t4g.small`), else `serverless` with the cluster's capacity in ACUs.
    - `share` of it, from 0 to 1, for this function and for `others`. The rest is for administrators and for the server itself.
    - `others`: connections that other functions and clients may come to need out of the same share, by name. Of another instance of this module: `connections_needed`, its output; two may name each other.
  EOT
  type = object({
    max_connections = optional(number)
    instance_class  = optional(string)
    serverless = optional(object({
      min_capacity = number
      max_capacity = number
    }))
    share  = optional(number, 0.5)
    others = optional(map(number), {})
  })

  validation {
    condition     = alltrue([for connections in values(var.budget.others) : connections >= 0])
    error_message = "budget.others are numbers of connections."
  }

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
    An RDS Proxy before the database, with TLS required; the function then connects to it, as `database.auth` says.
    - `auth`: how the proxy logs in to the database: `secret`, with `database.secret`; or `iam`, so that there is no password from end to end: then `database.auth` is `iam`, too, and `database.resource_id` the database's.
    - `existing`: a proxy that is there already, by its `name` and `endpoint`; none is created. `arn` is for `database.auth = "iam"`, `reader_endpoint` (a read-only endpoint of it) for `database.read_from = "reader"`. It is found by its `security_group_id`, which gets a rule for the function unless `security_group_rule` is false, or by `cidr_blocks` or `prefix_list_ids`. What else is said here has to be what it has.
    - `subnet_ids`: the function's unless given.
    - `max_connections_percent` of the database's connections; the budget's share unless given.
    - `connection_borrow_timeout` in seconds: how long a call waits for one of them.
    - `idle_client_timeout` in seconds: after it, connections of frozen environments are closed.
  EOT
  type = object({
    auth = optional(string, "secret")
    existing = optional(object({
      name                = string
      endpoint            = string
      reader_endpoint     = optional(string)
      arn                 = optional(string)
      security_group_id   = optional(string)
      security_group_rule = optional(bool, true)
      cidr_blocks         = optional(list(string), [])
      prefix_list_ids     = optional(list(string), [])
    }))
    subnet_ids                = optional(list(string))
    max_connections_percent   = optional(number)
    connection_borrow_timeout = optional(number, 3)
    idle_client_timeout       = optional(number, 900)
  })
  default = null

  validation {
    condition     = var.proxy == null ? true : contains(["secret", "iam"], var.proxy.auth)
    error_message = "proxy.auth must be secret or iam."
  }

  validation {
    condition     = try(var.proxy.existing, null) == null ? true : alltrue([for host in concat([var.proxy.existing.endpoint], var.proxy.existing.reader_endpoint[*]) : can(regex("^[0-9a-z-]+(\\.endpoint)?\\.proxy-[0-9a-z-]+\\.[0-9A-Za-z.-]+$", host))])
    error_message = "proxy.existing: endpoint and reader_endpoint are names that RDS gives a proxy (….proxy-….rds.amazonaws.com), by which the function knows that it is one. aws rds describe-db-proxies --query 'DBProxies[].[DBProxyName,Endpoint,DBProxyArn]'"
  }

  validation {
    condition     = try(var.proxy.existing.arn, null) == null ? true : can(regex("^arn:[a-z-]+:rds:[a-z0-9-]+:[0-9]{12}:db-proxy:prx-[a-z0-9]+$", var.proxy.existing.arn))
    error_message = "proxy.existing.arn must be the proxy's ARN, which ends in db-proxy:prx-…."
  }

  validation {
    condition     = try(var.proxy.existing, null) == null ? true : (length(var.proxy.existing.cidr_blocks) + length(var.proxy.existing.prefix_list_ids) > 0) != (var.proxy.existing.security_group_id != null)
    error_message = "proxy.existing needs its security_group_id, or else cidr_blocks or prefix_list_ids where the function finds it."
  }
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
    - `existing`: a queue that is there already, by its `arn` (and its `kms_key_arn` if that is one of yours): none is created, and its dead-letter queue and visibility timeout (six times the function's) are up to its owner.
    - `maximum_concurrency`: how many environments the queue may use at once, 2 at least.
    - `max_receive_count`: after so many failures a message goes to the dead-letter queue.
  EOT
  type = map(object({
    existing = optional(object({
      arn         = string
      kms_key_arn = optional(string)
    }))
    fifo                               = optional(bool, false)
    batch_size                         = optional(number, 10)
    maximum_batching_window_in_seconds = optional(number, 0)
    maximum_concurrency                = optional(number, 2)
    max_receive_count                  = optional(number, 5)
    message_retention_seconds          = optional(number, 345600)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name, queue in var.queues : can(regex("^[a-z][a-z0-9-]{0,30}$", name))])
    error_message = "queues: names have lower-case letters, digits and hyphens (a FIFO queue's .fifo is added)."
  }

  validation {
    condition     = alltrue([for name, queue in var.queues : length("${var.name}-${name}-dead-letters${queue.fifo ? ".fifo" : ""}") <= 80])
    error_message = "queues: \"NAME-QUEUE-dead-letters\", with .fifo where it is one, must have 80 characters at most, which is all that SQS takes."
  }

  validation {
    condition     = alltrue([for queue in values(var.queues) : queue.batch_size <= 10 || queue.maximum_batching_window_in_seconds >= 1])
    error_message = "queues: a batch_size above 10 needs maximum_batching_window_in_seconds of 1 or more, which a FIFO queue has not."
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
  default  = {}
  nullable = false

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

variable "async" {
  description = <<-EOT
    Calls that nobody waits for (`InvocationType=Event`, schedules): how often and how long Lambda tries again, and where the record of a call goes at last. `on_failure` and `on_success` are an SQS queue, an SNS topic, a Lambda function or an event bus, by `arn`. Without `on_failure` a queue of failures is created.
  EOT
  type = object({
    maximum_event_age_in_seconds = optional(number, 3600)
    maximum_retry_attempts       = optional(number, 2)
    on_failure                   = optional(object({ arn = string }))
    on_success                   = optional(object({ arn = string }))
  })
  default = null

  validation {
    condition     = var.async == null ? true : alltrue([for place in concat(var.async.on_failure[*], var.async.on_success[*]) : can(regex("^arn:[a-z-]+:(sqs|sns|lambda|events):", place.arn))])
    error_message = "async.on_failure and async.on_success must be ARNs of SQS, SNS, Lambda or EventBridge."
  }

  validation {
    condition     = var.async == null ? true : var.async.maximum_retry_attempts >= 0 && var.async.maximum_retry_attempts <= 2 && var.async.maximum_event_age_in_seconds >= 60 && var.async.maximum_event_age_in_seconds <= 21600
    error_message = "async: Lambda tries again 0, 1 or 2 times, within 60 to 21600 seconds."
  }
}

variable "release" {
  description = <<-EOT
    Versions. Without it everything calls `$LATEST`, which a deploy replaces at once. With it each deploy is published as a version, and what this module creates calls the `alias`.
    - `function_version`: the version that the alias points to; the newest unless given. To roll back: the number of the last good one.
    - `canary`: CodeDeploy moves the alias, as `deployment_config_name` says, and back by itself when one of `alarms` (by the names that the output `alarms` has) goes off meanwhile. Terraform then only publishes; the output `deployment` is what to give to `aws deploy create-deployment --cli-input-json`.
    - `provisioned_concurrent_executions`: environments that are kept ready for the alias. They count as reserved.
  EOT
  type = object({
    alias            = optional(string, "live")
    function_version = optional(string)
    canary = optional(object({
      deployment_config_name = optional(string, "CodeDeployDefault.LambdaCanary10Percent10Minutes")
      alarms                 = optional(list(string), ["errors", "faults"])
    }))
    provisioned_concurrent_executions = optional(number)
  })
  default = null

  validation {
    condition     = var.release == null ? true : can(regex("^[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*$", var.release.alias))
    error_message = "release.alias must have letters, digits, hyphens and underscores, and not be a number."
  }

  validation {
    condition     = var.release == null ? true : var.release.function_version == null || (var.release.canary == null && can(regex("^[0-9]+$", var.release.function_version)))
    error_message = "release.function_version must be a version's number, and not be there with canary, which moves the alias itself."
  }

  validation {
    condition     = try(length(var.release.canary.alarms) > 0, true)
    error_message = "release.canary.alarms must name an alarm: without one nothing would take a bad deploy back."
  }
}

variable "iam" {
  description = <<-EOT
    The roles.
    - `path`, `permissions_boundary` and `name_prefix` of those that are created.
    - `role`, `proxy_role`, `scheduler_role`, `deployment_role` and `gateway_role`: roles of your own in their place, by `arn`. Nothing is added to them; what each has to permit is in the output `policies`.
    - `policies`: further policies of the function's role, by name, as JSON: for what a second database or a layer needs.
  EOT
  type = object({
    path                 = optional(string, "/")
    permissions_boundary = optional(string)
    name_prefix          = optional(string, "")
    role                 = optional(object({ arn = string }))
    proxy_role           = optional(object({ arn = string }))
    scheduler_role       = optional(object({ arn = string }))
    deployment_role      = optional(object({ arn = string }))
    gateway_role         = optional(object({ arn = string }))
    policies             = optional(map(string), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(regex("^/([!-~]+/)?$", var.iam.path))
    error_message = "iam.path must begin and end with a slash."
  }

  validation {
    condition     = length("${var.iam.name_prefix}${var.name}") <= 40
    error_message = "iam.name_prefix and name must have 40 characters at most together: the region and a word follow, and IAM takes 64."
  }

  validation {
    condition     = alltrue([for name, policy in var.iam.policies : can(regex("^[a-zA-Z0-9_-]+$", name)) && !contains(["logs", "network", "secret", "connect", "queues", "failures", "destinations", "tracing"], name)])
    error_message = "iam.policies: names have letters, digits, hyphens and underscores, and are none of this module's own (logs, network, secret, connect, queues, failures, destinations, tracing)."
  }

  validation {
    condition     = var.iam.role == null || length(var.iam.policies) == 0
    error_message = "iam.policies are for the role that this module creates; add them to your role yourself."
  }
}

variable "tags" {
  description = "Tags of everything that is created and can have some, beside the provider's `default_tags`."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "http_api" {
  description = <<-EOT
    An API Gateway HTTP API before the function.
    - `authorization_type`: `JWT` with `jwt`, whose claims queries bind (`from claims.sub`), `AWS_IAM`, or `NONE`, which lets everybody in.
    - `cors_origin`: whom browsers let read the replies. `cors_headers` are the headers that its pages may send beside `authorization` and `content-type`: those of queries with `from header.*`.
    - `domain`: a name of your own, with its certificate in ACM in this region. With `hosted_zone`, by `id`, its record is made in Route 53; else point it at the output `http_api_domain`. `disable_execute_api_endpoint` then shuts the address that AWS gave.
    - `throttling_*`: the rate per second and the burst that the whole API takes.
  EOT
  type = object({
    authorization_type = optional(string, "JWT")
    jwt = optional(object({
      issuer   = string
      audience = list(string)
      scopes   = optional(list(string), [])
    }))
    cors_origin  = optional(string)
    cors_headers = optional(list(string), [])
    domain = optional(object({
      name            = string
      certificate_arn = string
      hosted_zone     = optional(object({ id = string }))
    }))
    disable_execute_api_endpoint = optional(bool, false)
    throttling_rate_limit        = optional(number, 100)
    throttling_burst_limit       = optional(number, 50)
  })
  default = null

  validation {
    condition     = try(var.http_api.domain, null) == null ? true : can(regex("^[a-z0-9*]([a-z0-9.-]*[a-z0-9])?$", var.http_api.domain.name)) && can(regex("^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/.+$", var.http_api.domain.certificate_arn))
    error_message = "http_api.domain has a name in lower case (api.example.com: no scheme, no path) and the ARN of a certificate in ACM."
  }

  validation {
    condition     = var.http_api == null ? true : !var.http_api.disable_execute_api_endpoint || var.http_api.domain != null
    error_message = "http_api.disable_execute_api_endpoint without http_api.domain would leave no address."
  }

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
  description = <<-EOT
    A function URL. `authorization_type` is `AWS_IAM`, or `NONE`, which lets everybody in. Who calls with `AWS_IAM` needs two permissions: the output `function_url_policy` has them. `callers` are principals that get both from the function itself, by name: roles of other accounts, say.
  EOT
  type = object({
    authorization_type = optional(string, "AWS_IAM")
    callers            = optional(map(string), {})
  })
  default = null

  validation {
    condition     = var.function_url == null ? true : contains(["AWS_IAM", "NONE"], var.function_url.authorization_type)
    error_message = "function_url.authorization_type must be AWS_IAM or NONE."
  }

  validation {
    condition     = var.function_url == null ? true : alltrue([for name, principal in var.function_url.callers : can(regex("^[a-zA-Z0-9_-]+$", name)) && principal != "*"]) && (var.function_url.authorization_type == "AWS_IAM" || length(var.function_url.callers) == 0)
    error_message = "function_url.callers are accounts, roles or users, for an authorization_type of AWS_IAM; names have letters, digits, hyphens and underscores."
  }
}

variable "agents" {
  description = <<-EOT
    Agents, for the queries with `-- tool:`.
    - `mcp`: the function speaks the Model Context Protocol at `POST {base}/mcp`, of the HTTP API and of the function URL. `authorization_server` is who gives the tokens, told by `/.well-known/oauth-protected-resource`; `http_api.jwt.issuer` unless given.
    - `bedrock`: the Bedrock agents that may call, by name: the ARN of each.
    - `agentcore`: a gateway of AgentCore, and the function as its target. `tools` is what `lambda-rds tools --format agentcore` wrote: `file("tools.json")`. `jwt` is whose tokens the gateway takes, by `discovery_url` and at least one of `audience`, `clients` and `scopes`; without it callers are of IAM. `gateway`: one that is there already, by `id`; its role has to permit what the output `policies` has under `gateway`. `allowed_request_headers` are handed on, for `from header.*`.
    - `tool_bytes`: how much an agent gets at most.
  EOT
  type = object({
    mcp = optional(object({
      authorization_server = optional(string)
    }))
    bedrock = optional(map(string), {})
    agentcore = optional(object({
      tools   = string
      gateway = optional(object({ id = string }))
      jwt = optional(object({
        discovery_url = string
        audience      = optional(list(string), [])
        clients       = optional(list(string), [])
        scopes        = optional(list(string), [])
      }))
      instructions            = optional(string)
      search_type             = optional(string)
      allowed_request_headers = optional(list(string), [])
    }))
    tool_bytes = optional(number)
  })
  default  = {}
  nullable = false

  validation {
    condition     = try(startswith(var.agents.mcp.authorization_server, "https://"), true)
    error_message = "agents.mcp.authorization_server must be a URL that begins with https://."
  }

  validation {
    condition     = alltrue([for name, arn in var.agents.bedrock : can(regex("^[a-zA-Z0-9_-]+$", name)) && can(regex("^arn:[a-z-]+:bedrock:[a-z0-9-]+:[0-9]{12}:agent/[0-9A-Z]{10}$", arn))])
    error_message = "agents.bedrock are the ARNs of agents (arn:aws:bedrock:REGION:ACCOUNT:agent/ID), each of one; names have letters, digits, hyphens and underscores."
  }

  validation {
    condition     = var.agents.agentcore == null ? true : can([for tool in jsondecode(var.agents.agentcore.tools) : "${tool.name}${tool.description}${tool.inputSchema.type}"]) && try(length(jsondecode(var.agents.agentcore.tools)) > 0, false)
    error_message = "agents.agentcore.tools must be what lambda-rds tools --format agentcore writes, with one tool at least: file(\"tools.json\")."
  }

  validation {
    condition     = try(var.agents.agentcore.jwt, null) == null ? true : endswith(var.agents.agentcore.jwt.discovery_url, "/.well-known/openid-configuration") && length(concat(var.agents.agentcore.jwt.audience, var.agents.agentcore.jwt.clients, var.agents.agentcore.jwt.scopes)) > 0
    error_message = "agents.agentcore.jwt has a discovery_url that ends in /.well-known/openid-configuration, and an audience, clients or scopes: else the gateway would take every token of that issuer."
  }

  validation {
    condition     = try(var.agents.agentcore.gateway, null) == null || try(var.agents.agentcore.jwt, null) == null
    error_message = "agents.agentcore.jwt is for the gateway that this module creates; with gateway there is one already."
  }

  validation {
    condition     = try(var.agents.agentcore.search_type, null) == null ? true : var.agents.agentcore.search_type == "SEMANTIC"
    error_message = "agents.agentcore.search_type is SEMANTIC or not there."
  }

  validation {
    condition     = var.agents.tool_bytes == null ? true : var.agents.tool_bytes >= 1 && var.agents.tool_bytes <= 6000000 && floor(var.agents.tool_bytes) == var.agents.tool_bytes
    error_message = "agents.tool_bytes must be a whole number from 1 to 6000000."
  }
}

variable "logs" {
  description = <<-EOT
    The log groups. `level` is the function's: TRACE, DEBUG or INFO. Above INFO, Lambda would drop the metrics as well; for fewer lines there is `filter` (`LAMBDA_RDS_LOG`), such as `warn`. `values` lets the function log parameters' values (`LAMBDA_RDS_LOG_VALUES`). With `kms_key_id`, that key's policy must let CloudWatch Logs use it. `log_group_class` is that of the gateway's and the proxy's groups, `STANDARD` or `INFREQUENT_ACCESS`; the function's own is `STANDARD`, since CloudWatch takes no metrics from the other.
  EOT
  type = object({
    retention_in_days = optional(number, 30)
    kms_key_id        = optional(string)
    level             = optional(string, "INFO")
    filter            = optional(string)
    values            = optional(bool)
    log_group_class   = optional(string, "STANDARD")
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.logs.retention_in_days > 0
    error_message = "logs.retention_in_days must be above 0: 0 keeps logs for ever."
  }

  validation {
    condition     = contains(["STANDARD", "INFREQUENT_ACCESS"], var.logs.log_group_class)
    error_message = "logs.log_group_class must be STANDARD or INFREQUENT_ACCESS."
  }

  validation {
    condition     = contains(["TRACE", "DEBUG", "INFO"], var.logs.level)
    error_message = "logs.level must be TRACE, DEBUG or INFO. Above INFO, Lambda drops the lines with the function's metrics too, and the alarms see nothing; for fewer lines set logs.filter = \"warn\"."
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
  default  = {}
  nullable = false
}

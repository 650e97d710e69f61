data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  # Made here and not taken from the function, whose role has to name it first.
  function_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}"

  zip_name = "lambda-rds-${local.engine.zip}-${var.architecture}.zip"
  zip_file = var.zip.directory == null ? var.zip.filename : "${var.zip.directory}/${local.zip_name}"
  zip_base = basename(coalesce(local.zip_file, var.zip.s3_key, "-"))

  # Every key below is decided by the kind of set-up alone, so that a plan shows which settings the function gets even
  # where a value, such as a new database's host, is only known after apply.
  environment = merge(
    {
      DB_ENGINE           = local.engine.zip
      DB_HOST             = local.host
      DB_PORT             = tostring(local.port)
      DB_NAME             = var.database.name
      DB_MAX_CONNECTIONS  = tostring(local.max_sessions)
      DB_CONNECT_TIMEOUT  = var.connections.connect_timeout
      DB_QUERY_TIMEOUT    = var.connections.query_timeout
      DB_DEADLINE_RESERVE = var.connections.deadline_reserve
    },
    var.database.auth == "iam" ? { DB_AUTH = "iam", DB_USER = var.database.user } : {},
    local.function_reads_secret ? { DB_SECRET_ID = try(var.database.secret.arn, "") } : {},
    { for name, endpoint in aws_vpc_endpoint.secrets : "AWS_ENDPOINT_URL_SECRETS_MANAGER" => "https://${endpoint.dns_entry[0].dns_name}" },
    var.database.read_from == "reader" ? { DB_READ_FROM = "reader" } : {},
    var.database.read_from == "reader" && var.proxy != null ? { DB_READER_HOST = local.reader_host } : {},
    var.database.reader_host == null ? {} : { DB_READER_HOST = var.database.reader_host },
    var.database.instance_pattern == null ? {} : { DB_INSTANCE_PATTERN = var.database.instance_pattern },
    var.database.tls_server_name == null ? {} : { DB_TLS_SERVER_NAME = var.database.tls_server_name },
    var.database.iam_host == null ? {} : { DB_IAM_HOST = var.database.iam_host },
    var.connections.pooler == null ? {} : { DB_POOLER = var.connections.pooler },
    var.connections.pipeline == null ? {} : { DB_PIPELINE = var.connections.pipeline },
    var.connections.connect_at == null ? {} : { DB_CONNECT_AT = var.connections.connect_at },
    var.logs.filter == null ? {} : { LAMBDA_RDS_LOG = var.logs.filter },
    var.logs.values == null ? {} : { LAMBDA_RDS_LOG_VALUES = tostring(var.logs.values) },
    { for name, value in var.replies : "LAMBDA_RDS_${upper(name)}" => tostring(value) if value != null },
    try(var.http_api.cors_origin, null) == null ? {} : { LAMBDA_RDS_CORS_ORIGIN = var.http_api.cors_origin },
    length(var.session.set) == 0 ? {} : { LAMBDA_RDS_SET = join("; ", var.session.set) },
    var.session.role == null ? {} : { LAMBDA_RDS_ROLE = var.session.role },
    var.idempotency.table == null ? {} : { DB_IDEMPOTENCY_TABLE = var.idempotency.table },
    var.idempotency.reply_bytes == null ? {} : { DB_IDEMPOTENCY_REPLY = tostring(var.idempotency.reply_bytes) },
    var.agents.mcp == null ? {} : { LAMBDA_RDS_MCP = "true" },
    !local.authorizes ? {} : { LAMBDA_RDS_MCP_AUTHORIZATION_SERVER = local.authorization_server },
    var.agents.tool_bytes == null ? {} : { LAMBDA_RDS_TOOL_BYTES = tostring(var.agents.tool_bytes) },
  )

  # Managed Instances: the network is the capacity provider's, and what bounds the environments is its vCPUs.
  managed = var.function.managed_instances
}

resource "aws_lambda_function" "this" {
  function_name = var.name
  description   = var.function.description
  role          = local.role_arn
  publish       = var.release != null || local.managed != null
  publish_to    = var.release == null && local.managed != null ? "LATEST_PUBLISHED" : null
  tags          = var.tags

  runtime       = "provided.al2023"
  handler       = "bootstrap"
  architectures = [var.architecture]

  filename          = local.zip_file
  source_code_hash  = try(filebase64sha256(local.zip_file), null)
  s3_bucket         = var.zip.s3_bucket
  s3_key            = var.zip.s3_key
  s3_object_version = var.zip.s3_object_version

  memory_size                    = var.function.memory_size
  timeout                        = var.function.timeout
  reserved_concurrent_executions = local.managed == null ? var.function.reserved_concurrent_executions : null
  kms_key_arn                    = var.function.kms_key_arn
  layers                         = var.function.layers
  code_signing_config_arn        = var.function.code_signing_config_arn

  environment {
    variables = merge(var.function.environment, local.environment)
  }

  dynamic "vpc_config" {
    for_each = local.managed == null ? [var.network] : []
    content {
      subnet_ids                  = vpc_config.value.subnet_ids
      security_group_ids          = values(local.function_groups)
      ipv6_allowed_for_dual_stack = vpc_config.value.ipv6_allowed_for_dual_stack
    }
  }

  dynamic "capacity_provider_config" {
    for_each = local.managed[*]
    content {
      lambda_managed_instances_capacity_provider_config {
        capacity_provider_arn                     = capacity_provider_config.value.capacity_provider_arn
        per_execution_environment_max_concurrency = capacity_provider_config.value.per_execution_environment_max_concurrency
        execution_environment_memory_gib_per_vcpu = capacity_provider_config.value.execution_environment_memory_gib_per_vcpu
      }
    }
  }

  logging_config {
    log_format            = "JSON"
    log_group             = aws_cloudwatch_log_group.function.name
    application_log_level = var.logs.level
    system_log_level      = "INFO" # REPORT lines are of this level
  }

  tracing_config {
    mode = var.function.tracing_mode
  }

  # Lambda checks the role when the function is made, and logs by it at once; INIT then wants its secret and database.
  depends_on = [
    aws_iam_role_policy.function,
    aws_iam_role_policy.network,
    aws_vpc_security_group_egress_rule.function,
    aws_vpc_security_group_ingress_rule.database,
    aws_vpc_security_group_ingress_rule.proxy,
    aws_vpc_security_group_ingress_rule.secrets,
    aws_vpc_security_group_egress_rule.proxy,
    aws_db_proxy_target.this,
  ]

  lifecycle {
    precondition {
      condition     = local.zip_file == null ? true : fileexists(local.zip_file)
      error_message = "There is no zip at ${coalesce(local.zip_file, "-")}. Make it: cargo xtask zip --engine ${local.engine.zip} --arch ${var.architecture}"
    }

    precondition {
      condition     = can(regex("^lambda-rds-.+-(x86_64|arm64)\\.zip$", local.zip_base)) ? local.zip_base == local.zip_name : true
      error_message = "${local.zip_base} is not the zip of engine ${var.engine} on ${var.architecture}, which is ${local.zip_name}. Change zip, engine or architecture."
    }

    precondition {
      condition     = local.port != local.foreign_port
      error_message = "database.port is ${local.port}, where the other kind of server listens, and engine is ${var.engine} (${local.engine.port}). Change the one that is wrong."
    }

    precondition {
      condition     = var.function.timeout * 1000 >= local.durations.connect + local.durations.query + local.durations.reserve
      error_message = "function.timeout is ${var.function.timeout} s, but connecting (${var.connections.connect_timeout}), a query (${var.connections.query_timeout}) and the reserve (${var.connections.deadline_reserve}) can take ${(local.durations.connect + local.durations.query + local.durations.reserve) / 1000} s. Raise the timeout or lower one of the three."
    }

    precondition {
      condition     = local.max_connections > 0
      error_message = "The number of connections is not known: budget.instance_class ${coalesce(var.budget.instance_class, "(not set)")} says nothing for ${var.engine}${var.budget.serverless != null && !local.aurora ? ", and serverless capacity is for Aurora" : ""}. Set budget.max_connections to what SHOW max_connections (SHOW VARIABLES LIKE 'max_connections' on MySQL) says."
    }

    precondition {
      condition     = local.max_connections == 0 || local.multiplexed || local.budget.spare >= 0
      error_message = "Too many connections, by ${- local.budget.spare}: this function can open ${local.budget.needed} (${local.environments} environments × ${local.sessions} sessions × ${var.connections.generations + 1}: those at work, one more of each to cancel ${local.aurora ? "or to look for the writer" : "a statement"}, and those of ${var.connections.generations - 1} deploys before), others may need ${local.budget.others}, and the share is ${local.budget.allowed} (${var.budget.share} of ${local.budget.max_connections}). Lower ${local.managed == null ? "function.reserved_concurrent_executions" : "function.managed_instances.environments"} to ${max(0, floor((local.budget.allowed - local.budget.others) / local.sessions / (var.connections.generations + 1)))}, take a larger database, or put a proxy between (PostgreSQL)."
    }

    precondition {
      condition     = var.database.auth == "iam" || var.database.secret != null
      error_message = "database.auth is secret and database.secret is not set, so the function would have no permission to read any. Set database.secret.arn, or auth = \"iam\"."
    }

    precondition {
      condition     = var.database.secret == null || can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+-[A-Za-z0-9]{6}$", try(var.database.secret.arn, "")))
      error_message = "database.secret.arn must be the secret's full ARN with the six characters at its end; a permission for a name or a part matches nothing."
    }

    precondition {
      condition     = try(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:([0-9]{12}):", var.database.secret.arn)[0], local.account) == local.account || try(var.database.secret.kms_key_arn, null) != null
      error_message = "database.secret is another account's, which only works with a key of that account's own: without database.secret.kms_key_arn the role gets no permission to decrypt it."
    }

    precondition {
      condition     = var.network.secrets_endpoint != null || !local.function_reads_secret || try(regex("^arn:[a-z-]+:secretsmanager:([a-z0-9-]+):", var.database.secret.arn)[0], local.region) == local.region
      error_message = "database.secret is in another region than the function (${local.region}), and an interface endpoint reaches its own region only. Replicate the secret to ${local.region}."
    }

    precondition {
      condition     = var.database.auth != "iam" || (var.database.user != null && local.connect_resource != null)
      error_message = "database.auth is iam: set database.user, and ${local.existing_proxy == null ? "database.resource_id (db-… or cluster-…)" : "proxy.existing.arn"}, which the permission rds-db:connect names."
    }

    precondition {
      condition     = var.database.read_from == "writer" || (local.aurora && (local.existing_proxy == null || try(local.existing_proxy.reader_endpoint, null) != null))
      error_message = "database.read_from is reader, which needs an engine of Aurora (it is ${var.engine}), and of a proxy that is there already its read-only endpoint (proxy.existing.reader_endpoint)."
    }

    precondition {
      condition     = (var.database.reader_host == null && var.database.instance_pattern == null) || (local.aurora && var.proxy == null)
      error_message = "database.reader_host and instance_pattern are for a cluster that the function searches itself: an engine of Aurora (it is ${var.engine}), and no proxy."
    }

    precondition {
      condition     = local.postgres || (length(var.session.set) == 0 && var.session.role == null)
      error_message = "session is for PostgreSQL, whose policies see it, and engine is ${var.engine}: there each query takes what it must know as a parameter (from claims.tenant)."
    }

    precondition {
      condition     = length(setintersection(keys(var.function.environment), keys(local.environment))) == 0
      error_message = "function.environment sets ${join(", ", setintersection(keys(var.function.environment), keys(local.environment)))}, which this module sets from its other variables."
    }

    precondition {
      condition     = length(setintersection(keys(var.function.environment), ["DB_SECRET_ID", "DB_AUTH", "DB_USER"])) == 0
      error_message = "function.environment must not name a secret or a user: the role would have no permission for it. Use database."
    }

    precondition {
      condition     = sum(concat([0], values(var.queues)[*].maximum_concurrency)) <= local.calls_at_once
      error_message = "queues may make ${sum(concat([0], values(var.queues)[*].maximum_concurrency))} calls at once, and the function takes ${local.calls_at_once} (${local.managed == null ? "function.reserved_concurrent_executions" : "function.managed_instances"}): throttled messages count as received and end in the dead-letter queue. Lower maximum_concurrency."
    }

    precondition {
      condition     = local.managed == null || length(var.network.security_group_ids) > 0
      error_message = "function.managed_instances: the function is in the capacity provider's groups, so network.security_group_ids has to name them."
    }
  }
}

locals {
  existing_proxy = var.proxy == null ? null : var.proxy.existing
  proxies        = var.proxy == null || local.existing_proxy != null ? {} : { this = var.proxy }
  end_to_end     = try(var.proxy.auth, "secret") == "iam"

  # Where the function connects to.
  host        = var.proxy == null ? var.database.host : local.existing_proxy == null ? aws_db_proxy.this["this"].endpoint : local.existing_proxy.endpoint
  reader_host = local.existing_proxy == null ? one(values(aws_db_proxy_endpoint.reader)[*].endpoint) : local.existing_proxy.reader_endpoint

  # Behind the proxy there is no cancel, and session settings of ours would pin; so the proxy sets the limits on the
  # connections that it opens. A query's own limit is the function's timer.
  init_query = (
    local.postgres ? "SET statement_timeout = ${local.durations.query}; SET idle_in_transaction_session_timeout = ${local.durations.query}" :
    var.engine == "mariadb" ? "SET max_statement_time = ${local.durations.query / 1000}" :
    "SET max_execution_time = ${local.durations.query}"
  )

  # How it logs in to the database: as the function's own user, or by the secret.
  proxy_policies = merge(
    local.end_to_end ? {
      connect = [{
        Effect   = "Allow"
        Action   = ["rds-db:connect"]
        Resource = ["${local.database_users}:${coalesce(var.database.resource_id, "-")}/${coalesce(var.database.user, "-")}"]
      }]
    } : {},
    local.end_to_end ? {} : { secret = flatten(local.read_secret) },
  )
}

resource "aws_db_proxy" "this" {
  for_each = local.proxies

  name                   = var.name
  engine_family          = local.engine.proxy_family
  role_arn               = var.iam.proxy_role == null ? aws_iam_role.proxy["this"].arn : var.iam.proxy_role.arn
  tags                   = var.tags
  require_tls            = true
  idle_client_timeout    = each.value.idle_client_timeout
  vpc_subnet_ids         = coalesce(each.value.subnet_ids, var.network.subnet_ids)
  vpc_security_group_ids = [aws_security_group.proxy["this"].id]

  default_auth_scheme = local.end_to_end ? "IAM_AUTH" : "NONE"

  dynamic "auth" {
    for_each = local.end_to_end ? [] : [var.database]
    content {
      auth_scheme = "SECRETS"
      secret_arn  = try(auth.value.secret.arn, "")
      iam_auth    = auth.value.auth == "iam" ? "REQUIRED" : "DISABLED"
    }
  }

  depends_on = [aws_iam_role_policy.proxy, aws_cloudwatch_log_group.proxy]

  lifecycle {
    precondition {
      condition     = local.end_to_end || var.database.secret != null
      error_message = "A proxy logs in to the database with a secret, also where the function uses IAM: set database.secret, or proxy.auth = \"iam\"."
    }

    precondition {
      condition     = !local.end_to_end || (var.database.auth == "iam" && var.database.resource_id != null)
      error_message = "proxy.auth is iam, so there is no password at all: set database.auth = \"iam\", and database.resource_id (db-… or cluster-…), where the proxy may log in."
    }

    precondition {
      condition     = try(var.budget.serverless.min_capacity, 1) > 0
      error_message = "A proxy keeps connections open, so a cluster with min_capacity 0 would never pause: leave the proxy out, or set budget.serverless.min_capacity (and the cluster's) to 0.5 or more."
    }

    precondition {
      condition     = var.database.db_instance_identifier != null || var.database.db_cluster_identifier != null
      error_message = "A proxy needs database.db_instance_identifier or database.db_cluster_identifier: it finds the database by it, not by its host."
    }

    precondition {
      condition     = local.proxy_percent <= var.budget.share * 100
      error_message = "proxy.max_connections_percent is ${local.proxy_percent}, more than budget.share (${var.budget.share}) leaves to this function."
    }

    precondition {
      condition     = each.value.connection_borrow_timeout * 1000 < local.durations.query
      error_message = "proxy.connection_borrow_timeout (${each.value.connection_borrow_timeout} s) must be below connections.query_timeout (${var.connections.query_timeout}), or the call is over before the proxy says that it has no connection."
    }
  }
}

# RDS would make the group itself, and keep the logs for ever.
resource "aws_cloudwatch_log_group" "proxy" {
  for_each = local.proxies

  name              = "/aws/rds/proxy/${var.name}"
  log_group_class   = var.logs.log_group_class
  retention_in_days = var.logs.retention_in_days
  kms_key_id        = var.logs.kms_key_id
  tags              = var.tags
}

resource "aws_db_proxy_default_target_group" "this" {
  for_each = local.proxies

  db_proxy_name = aws_db_proxy.this[each.key].name

  connection_pool_config {
    init_query                = local.init_query
    max_connections_percent   = local.proxy_percent
    connection_borrow_timeout = each.value.connection_borrow_timeout

    # Half of them. The provider would send 50, which RDS refuses where it is more than the maximum.
    max_idle_connections_percent = floor(local.proxy_percent / 2)
  }
}

resource "aws_db_proxy_target" "this" {
  for_each = local.proxies

  db_proxy_name          = aws_db_proxy.this[each.key].name
  target_group_name      = aws_db_proxy_default_target_group.this[each.key].name
  db_instance_identifier = var.database.db_instance_identifier
  db_cluster_identifier  = var.database.db_cluster_identifier
}

# For reads, where the cluster's readers serve them.
resource "aws_db_proxy_endpoint" "reader" {
  for_each = { for name, proxy in local.proxies : name => proxy if var.database.read_from == "reader" }

  db_proxy_name          = aws_db_proxy.this[each.key].name
  db_proxy_endpoint_name = "${var.name}-reader"
  target_role            = "READ_ONLY"
  vpc_subnet_ids         = coalesce(each.value.subnet_ids, var.network.subnet_ids)
  vpc_security_group_ids = [aws_security_group.proxy["this"].id]
  tags                   = var.tags

  # Whether there are readers the proxy knows by its target.
  depends_on = [aws_db_proxy_target.this]

  lifecycle {
    precondition {
      condition     = var.database.db_cluster_identifier != null
      error_message = "database.read_from is reader behind a proxy, whose read-only endpoint is for a cluster: set database.db_cluster_identifier."
    }
  }
}

resource "aws_security_group" "proxy" {
  for_each = local.proxies

  name_prefix = "${var.name}-proxy-"
  description = "lambda-rds ${var.name}: the proxy"
  vpc_id      = var.network.vpc_id
  tags        = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "proxy" {
  for_each = { for name, group in local.function_groups : name => group if local.proxy_rule }

  security_group_id            = local.by_proxy.group
  description                  = "${var.name} to the proxy"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "proxy" {
  for_each = { for name, place in local.rules_to.proxy : name => place if length(local.proxies) > 0 }

  security_group_id            = aws_security_group.proxy["this"].id
  description                  = "${var.name}'s proxy to the database"
  referenced_security_group_id = each.value.group
  cidr_ipv4                    = try(strcontains(each.value.cidr, ":"), true) ? null : each.value.cidr
  cidr_ipv6                    = try(strcontains(each.value.cidr, ":"), false) ? each.value.cidr : null
  prefix_list_id               = each.value.list
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = var.tags
}

resource "aws_iam_role" "proxy" {
  for_each = { for name, proxy in local.proxies : name => proxy if var.iam.proxy_role == null }

  name                 = "${local.role_name}-proxy"
  description          = "The proxy of lambda-rds ${var.name}"
  path                 = var.iam.path
  permissions_boundary = var.iam.permissions_boundary
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "rds.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "proxy" {
  for_each = { for name, statements in local.proxy_policies : name => statements if length(aws_iam_role.proxy) > 0 }

  name   = each.key
  role   = aws_iam_role.proxy["this"].name
  policy = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

# A warning, not a refusal: calls wait for a connection then, which may be what is wanted.
check "proxy_pool" {
  assert {
    condition     = var.proxy == null ? true : local.environments * local.max_sessions <= floor(local.max_connections * coalesce(local.proxy_percent, 100) / 100)
    error_message = "${local.environments * local.max_sessions} calls may run at once, and the proxy has ${floor(local.max_connections * coalesce(local.proxy_percent, 100) / 100)} connections: the rest wait up to proxy.connection_borrow_timeout."
  }
}

# Who may speak to whom. Groups name each other where they can, and each rule is a resource of its own, so that rules
# which somebody else adds to the database's group stay.

locals {
  function_reads_secret = var.database.auth == "secret"
  creates_endpoint      = local.function_reads_secret && var.network.secrets_endpoint == null
  creates_group         = length(var.network.security_group_ids) == 0

  # The function's groups, by keys that are known before the groups are.
  function_groups = local.creates_group ? { this = aws_security_group.function["this"].id } : { for index, id in var.network.security_group_ids : tostring(index) => id }

  # The places that the function, or the proxy, may speak to: by group, or by addresses and prefix lists.
  by_database = {
    what            = "the database"
    port            = local.port
    group           = var.database.security_group_id
    cidr_blocks     = var.database.cidr_blocks
    prefix_list_ids = var.database.prefix_list_ids
  }
  by_secrets = {
    what            = "Secrets Manager"
    port            = 443
    group           = local.creates_endpoint ? try(aws_security_group.secrets["this"].id, null) : try(var.network.secrets_endpoint.security_group_id, null)
    cidr_blocks     = try(var.network.secrets_endpoint.cidr_blocks, [])
    prefix_list_ids = try(var.network.secrets_endpoint.prefix_list_ids, [])
  }
  by_proxy = {
    what            = "the proxy"
    port            = local.port
    group           = local.existing_proxy == null ? one(values(aws_security_group.proxy)[*].id) : local.existing_proxy.security_group_id
    cidr_blocks     = local.existing_proxy == null ? [] : local.existing_proxy.cidr_blocks
    prefix_list_ids = local.existing_proxy == null ? [] : local.existing_proxy.prefix_list_ids
  }
  places = merge(
    var.proxy == null ? { database = local.by_database } : { proxy = local.by_proxy },
    local.function_reads_secret ? { secrets = local.by_secrets } : {},
    { for name, place in var.network.egress : name => {
      what            = name
      port            = place.port
      group           = place.security_group_id
      cidr_blocks     = place.cidr_blocks
      prefix_list_ids = place.prefix_list_ids
    } },
  )

  # One rule for each group, range and list.
  rules_to = { for set, places in { function = local.places, proxy = { database = local.by_database } } : set => merge([
    for name, place in places : merge(
      length(place.cidr_blocks) + length(place.prefix_list_ids) > 0 ? {} : { (name) = merge(place, { cidr = null, list = null }) },
      { for index, cidr in place.cidr_blocks : "${name}_${index}" => merge(place, { group = null, cidr = cidr, list = null }) },
      { for index, list in place.prefix_list_ids : "${name}_list_${index}" => merge(place, { group = null, cidr = null, list = list }) },
    )
  ]...) }

  # Whether the group at the other end gets a rule that lets in.
  database_rule = var.database.security_group_rule && length(var.database.cidr_blocks) + length(var.database.prefix_list_ids) == 0
  proxy_rule = length(local.proxies) > 0 || (
    try(local.existing_proxy.security_group_rule, false) &&
    length(local.by_proxy.cidr_blocks) + length(local.by_proxy.prefix_list_ids) == 0
  )
  secrets_rule = local.creates_endpoint || (
    local.function_reads_secret &&
    try(var.network.secrets_endpoint.security_group_rule, false) &&
    length(local.by_secrets.cidr_blocks) + length(local.by_secrets.prefix_list_ids) == 0
  )
}

resource "aws_security_group" "function" {
  for_each = local.creates_group ? toset(["this"]) : toset([])

  name_prefix = "${var.name}-"
  description = "lambda-rds ${var.name}: nothing comes in"
  vpc_id      = var.network.vpc_id
  tags        = var.tags

  # Destroying the group waits until Lambda has taken the interfaces down, which takes the policy.
  depends_on = [aws_iam_role_policy.network]

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "function" {
  for_each = { for name, place in local.rules_to.function : name => place if local.creates_group }

  security_group_id            = aws_security_group.function["this"].id
  description                  = "${var.name} to ${each.value.what}"
  referenced_security_group_id = each.value.group
  cidr_ipv4                    = try(strcontains(each.value.cidr, ":"), true) ? null : each.value.cidr
  cidr_ipv6                    = try(strcontains(each.value.cidr, ":"), false) ? each.value.cidr : null
  prefix_list_id               = each.value.list
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = var.tags
}

# The database lets in the function, or the proxy in its place.
resource "aws_vpc_security_group_ingress_rule" "database" {
  for_each = { for name, group in merge(var.proxy == null ? local.function_groups : {}, { for group in aws_security_group.proxy : "proxy" => group.id }) : name => group if local.database_rule }

  security_group_id            = var.database.security_group_id
  description                  = "${var.name}${var.proxy == null ? "" : "'s proxy"} to the database"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = var.tags
}

# The endpoint is for this function alone: it has no private DNS name, which would draw every call for Secrets Manager in
# the VPC to it and be refused where the VPC has such a name already. The function is told its address instead.
resource "aws_vpc_endpoint" "secrets" {
  for_each = local.creates_endpoint ? toset(["this"]) : toset([])

  vpc_id              = var.network.vpc_id
  service_name        = "com.amazonaws.${local.region}.secretsmanager"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = var.network.subnet_ids
  security_group_ids  = [aws_security_group.secrets["this"].id]
  private_dns_enabled = false

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ThisFunctionThisSecret"
      Effect    = "Allow"
      Principal = "*"
      Action    = ["secretsmanager:GetSecretValue"]
      Resource  = [try(var.database.secret.arn, "")]
      Condition = { ArnEquals = { "aws:PrincipalArn" = local.role_arn } }
    }]
  })

  tags = merge({ Name = "${var.name}-secrets" }, var.tags)
}

resource "aws_security_group" "secrets" {
  for_each = local.creates_endpoint ? toset(["this"]) : toset([])

  name_prefix = "${var.name}-secrets-"
  description = "lambda-rds ${var.name}: the endpoint of Secrets Manager"
  vpc_id      = var.network.vpc_id
  tags        = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "secrets" {
  for_each = { for name, group in local.function_groups : name => group if local.secrets_rule }

  security_group_id            = local.by_secrets.group
  description                  = "${var.name} to Secrets Manager"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  tags                         = var.tags
}

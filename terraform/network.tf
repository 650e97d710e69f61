# Who may speak to whom. Groups name each other, never addresses, and each rule is a resource of its own, so that rules
# which somebody else adds to the database's group stay.

locals {
  function_reads_secret = var.database.auth == "secret"
  creates_endpoint      = local.function_reads_secret && var.network.secrets_endpoint == null

  # What the function speaks to: the proxy where there is one, else the database.
  upstreams = merge(
    var.proxy == null ? {
      database = { group = var.database.security_group_id, port = local.port, what = "the database" }
      } : {
      proxy = { group = aws_security_group.proxy["this"].id, port = local.port, what = "the proxy" }
    },
    local.function_reads_secret ? {
      secrets = { group = local.secrets_group, port = 443, what = "Secrets Manager's endpoint" }
    } : {},
  )

  secrets_group = try(aws_security_group.secrets["this"].id, var.network.secrets_endpoint.security_group_id, null)
}

resource "aws_security_group" "function" {
  name_prefix = "${var.name}-"
  description = "lambda-rds ${var.name}: nothing comes in"
  vpc_id      = var.network.vpc_id

  # Destroying the group waits until Lambda has taken the interfaces down, which takes the policy.
  depends_on = [aws_iam_role_policy.network]

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "function" {
  for_each = local.upstreams

  security_group_id            = aws_security_group.function.id
  description                  = "${var.name} to ${each.value.what}"
  referenced_security_group_id = each.value.group
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

# The database lets in the function, or the proxy in its place.
resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = var.database.security_group_id
  description                  = "${var.name}${var.proxy == null ? "" : "'s proxy"} to the database"
  referenced_security_group_id = var.proxy == null ? aws_security_group.function.id : aws_security_group.proxy["this"].id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
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
      Condition = { ArnEquals = { "aws:PrincipalArn" = aws_iam_role.function.arn } }
    }]
  })

  tags = { Name = "${var.name}-secrets" }
}

resource "aws_security_group" "secrets" {
  for_each = local.creates_endpoint ? toset(["this"]) : toset([])

  name_prefix = "${var.name}-secrets-"
  description = "lambda-rds ${var.name}: the endpoint of Secrets Manager"
  vpc_id      = var.network.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "secrets" {
  for_each = local.function_reads_secret ? toset(["this"]) : toset([])

  security_group_id            = local.secrets_group
  description                  = "${var.name} to Secrets Manager"
  referenced_security_group_id = aws_security_group.function.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

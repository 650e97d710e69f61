# Versions and who calls which: `$LATEST`, or an alias that Terraform or CodeDeploy moves.

locals {
  releases = var.release == null ? {} : { this = var.release }
  canaries = { for name, release in local.releases : name => release.canary if release.canary != null }

  # Whom everything here calls.
  alias     = one(concat(values(aws_lambda_alias.this), values(aws_lambda_alias.canary)))
  called    = var.release == null ? aws_lambda_function.this.arn : local.alias.arn
  invoked   = var.release == null ? aws_lambda_function.this.invoke_arn : local.alias.invoke_arn
  qualifier = var.release == null ? null : local.alias.name

  deployment_policy = [
    {
      Effect   = "Allow"
      Action   = ["lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetProvisionedConcurrencyConfig"]
      Resource = [local.function_arn, "${local.function_arn}:*"]
    },
    {
      Effect   = "Allow"
      Action   = ["cloudwatch:DescribeAlarms"]
      Resource = [for name in try(var.release.canary.alarms, []) : aws_cloudwatch_metric_alarm.this[name].arn]
    },
  ]
}

resource "aws_lambda_alias" "this" {
  for_each = { for name, release in local.releases : name => release if release.canary == null }

  name             = each.value.alias
  description      = "What is called of lambda-rds ${var.name}"
  function_name    = aws_lambda_function.this.function_name
  function_version = coalesce(each.value.function_version, aws_lambda_function.this.version)
}

# The same, moved by CodeDeploy.
resource "aws_lambda_alias" "canary" {
  for_each = local.canaries

  name             = var.release.alias
  description      = "What is called of lambda-rds ${var.name}"
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version

  lifecycle {
    ignore_changes = [function_version, routing_config]
  }
}

resource "aws_lambda_provisioned_concurrency_config" "this" {
  for_each = { for name, release in local.releases : name => release if release.provisioned_concurrent_executions != null }

  function_name                     = aws_lambda_function.this.function_name
  qualifier                         = local.qualifier
  provisioned_concurrent_executions = each.value.provisioned_concurrent_executions

  lifecycle {
    precondition {
      condition     = local.managed == null && each.value.provisioned_concurrent_executions >= 1 && each.value.provisioned_concurrent_executions <= var.function.reserved_concurrent_executions
      error_message = "release.provisioned_concurrent_executions is ${each.value.provisioned_concurrent_executions}: it must be 1 at least, and at most function.reserved_concurrent_executions (${var.function.reserved_concurrent_executions}), of which it is a part. Managed instances are always ready and take none."
    }
  }
}

resource "aws_codedeploy_app" "this" {
  for_each = local.canaries

  name             = var.name
  compute_platform = "Lambda"
  tags             = var.tags
}

resource "aws_codedeploy_deployment_group" "this" {
  for_each = local.canaries

  app_name               = aws_codedeploy_app.this[each.key].name
  deployment_group_name  = var.name
  deployment_config_name = each.value.deployment_config_name
  service_role_arn       = var.iam.deployment_role == null ? aws_iam_role.deployment["this"].arn : var.iam.deployment_role.arn
  tags                   = var.tags

  deployment_style {
    deployment_option = "WITH_TRAFFIC_CONTROL"
    deployment_type   = "BLUE_GREEN"
  }

  auto_rollback_configuration {
    enabled = true
    events  = ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"]
  }

  alarm_configuration {
    enabled = true
    alarms  = [for name in each.value.alarms : aws_cloudwatch_metric_alarm.this[name].alarm_name]
  }

  depends_on = [aws_iam_role_policy.deployment]
}

resource "aws_iam_role" "deployment" {
  for_each = { for name, canary in local.canaries : name => canary if var.iam.deployment_role == null }

  name                 = "${local.role_name}-release"
  description          = "CodeDeploy for lambda-rds ${var.name}"
  path                 = var.iam.path
  permissions_boundary = var.iam.permissions_boundary
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "codedeploy.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "deployment" {
  for_each = aws_iam_role.deployment

  name   = "deployments"
  role   = each.value.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.deployment_policy })
}

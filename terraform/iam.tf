# The role that the function runs as. Each policy is one reason for a permission; what has no name yet (log streams) is
# bounded by account, region and kind.

locals {
  ec2 = "arn:${local.partition}:ec2:${local.region}:${local.account}"

  # Behind a proxy the resource is the proxy, whose id is the end of its ARN.
  connect_resource = var.proxy == null ? var.database.resource_id : reverse(split(":", aws_db_proxy.this["this"].arn))[0]

  read_secret = [for secret in [var.database.secret] : concat(
    [{
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = [secret.arn]
    }],
    secret.kms_key_arn == null ? [] : [{
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [secret.kms_key_arn]
      Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${local.region}.amazonaws.com" } }
    }],
  ) if secret != null]

  policies = merge(
    {
      logs = [{
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.function.arn}:log-stream:*"]
      }]
    },
    local.function_reads_secret ? { secret = flatten(local.read_secret) } : {},
    var.database.auth == "iam" ? {
      connect = [{
        Effect   = "Allow"
        Action   = ["rds-db:connect"]
        Resource = ["arn:${local.partition}:rds-db:${local.region}:${local.account}:dbuser:${coalesce(local.connect_resource, "-")}/${coalesce(var.database.user, "-")}"]
      }]
    } : {},
    length(var.queues) == 0 ? {} : {
      queues = [{
        Effect   = "Allow"
        Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
        Resource = [for queue in aws_sqs_queue.source : queue.arn]
      }]
    },
    length(var.schedules) == 0 ? {} : {
      failures = [{
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [for queue in aws_sqs_queue.failures : queue.arn]
      }]
    },
    var.function.tracing_mode == "PassThrough" ? {} : {
      # X-Ray knows no resources for these two.
      tracing = [{
        Sid       = "Trace"
        Effect    = "Allow"
        Action    = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
        Resource  = ["*"]
        Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
      }]
    },
  )
}

resource "aws_iam_role" "function" {
  name        = var.name
  description = "lambda-rds ${var.name}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "function" {
  for_each = local.policies

  name   = each.key
  role   = aws_iam_role.function.name
  policy = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

# Lambda's own work: it makes the function's network interfaces by the function's role, and takes them down by it, some
# minutes after the function is gone. So this policy goes last: what the interfaces hold (the group; subnets that are made
# beside the module) is not named in it, and the group depends on it. CreateFunction asks for these permissions when there
# is no interface yet, without any resource, so that narrower ones are refused.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
resource "aws_iam_role_policy" "network" {
  name = "network"
  role = aws_iam_role.function.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "KeepInterfaces"
        Effect   = "Allow"
        Action   = ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"]
        Resource = ["${local.ec2}:*/*"]
      },
      {
        # EC2 knows no resources for these two.
        Sid      = "LookAtInterfaces"
        Effect   = "Allow"
        Action   = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"]
        Resource = ["*"]
      },
      {
        # Of Lambda, not of the code in the function.
        Sid       = "NotTheCode"
        Effect    = "Deny"
        Action    = ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"]
        Resource  = ["*"]
        Condition = { ArnEquals = { "lambda:SourceFunctionArn" = local.function_arn } }
      },
    ]
  })
}

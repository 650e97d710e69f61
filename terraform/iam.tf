# The role that the function runs as. Each policy is one reason for a permission; what has no name yet (log streams) is
# bounded by account, region and kind.

locals {
  ec2 = "arn:${local.partition}:ec2:${local.region}:${local.account}"

  # Roles are the account's, not the region's: a second region must not want the same name.
  role_name = "${var.iam.name_prefix}${var.name}-${local.region}"
  own_role  = var.iam.role != null
  role_arn  = local.own_role ? var.iam.role.arn : aws_iam_role.function["this"].arn

  database_users = "arn:${local.partition}:rds-db:${local.region}:${local.account}:dbuser"

  # Behind a proxy the resource is the proxy, whose id is the end of its ARN.
  proxy_arn        = local.existing_proxy == null ? one(values(aws_db_proxy.this)[*].arn) : local.existing_proxy.arn
  connect_resource = var.proxy == null ? var.database.resource_id : try(reverse(split(":", local.proxy_arn))[0], null)

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

  # What sends to a destination, by the service in its ARN.
  send = { sqs = "sqs:SendMessage", sns = "sns:Publish", lambda = "lambda:InvokeFunction", events = "events:PutEvents" }

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
        Resource = ["${local.database_users}:${coalesce(local.connect_resource, "-")}/${coalesce(var.database.user, "-")}"]
      }]
    } : {},
    length(var.queues) == 0 ? {} : {
      queues = concat(
        [{
          Effect   = "Allow"
          Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
          Resource = values(local.queue_arns)
        }],
        [for name, queue in var.queues : {
          Effect    = "Allow"
          Action    = ["kms:Decrypt"]
          Resource  = [queue.existing.kms_key_arn]
          Condition = { StringEquals = { "kms:ViaService" = "sqs.${local.region}.amazonaws.com" } }
        } if try(queue.existing.kms_key_arn, null) != null],
      )
    },
    length(local.failures) == 0 ? {} : {
      failures = [{
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [for queue in aws_sqs_queue.failures : queue.arn]
      }]
    },
    length(local.destinations) == 0 ? {} : {
      destinations = [for place in local.destinations : {
        Effect   = "Allow"
        Action   = [local.send[split(":", place.arn)[2]]]
        Resource = [place.arn]
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

  # Lambda's own work: it makes the function's network interfaces by the function's role, and takes them down by it, some
  # minutes after the function is gone. CreateFunction asks for these permissions when there is no interface yet, without
  # any resource, so that narrower ones are refused.
  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
  network_policy = [
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

  # What each role has to permit, as documents; also where the role is the caller's.
  documents = {
    function   = { for name, statements in merge(local.policies, local.managed == null ? { network = local.network_policy } : {}) : name => jsonencode({ Version = "2012-10-17", Statement = statements }) }
    proxy      = { for name, statements in local.proxy_policies : name => jsonencode({ Version = "2012-10-17", Statement = statements }) if length(local.proxies) > 0 }
    scheduler  = { for name in local.schedulers : "schedules" => jsonencode({ Version = "2012-10-17", Statement = local.schedule_policy }) }
    deployment = { for name, canary in local.canaries : "deployments" => jsonencode({ Version = "2012-10-17", Statement = local.deployment_policy }) }
    gateway    = { for name, agentcore in local.agentcores : "tools" => jsonencode({ Version = "2012-10-17", Statement = local.gateway_policy }) }
  }
}

resource "aws_iam_role" "function" {
  for_each = local.own_role ? toset([]) : toset(["this"])

  name                 = local.role_name
  description          = "lambda-rds ${var.name}"
  path                 = var.iam.path
  permissions_boundary = var.iam.permissions_boundary
  tags                 = var.tags

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
  for_each = local.own_role ? {} : merge({ for name, statements in local.policies : name => jsonencode({ Version = "2012-10-17", Statement = statements }) }, var.iam.policies)

  name   = each.key
  role   = aws_iam_role.function["this"].name
  policy = each.value
}

# This policy goes last: Lambda takes the interfaces down by it. So what they hold (the group; subnets that are made
# beside the module) is not named in it, and the group depends on it.
resource "aws_iam_role_policy" "network" {
  for_each = local.own_role || local.managed != null ? toset([]) : toset(["this"])

  name   = "network"
  role   = aws_iam_role.function["this"].name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.network_policy })
}

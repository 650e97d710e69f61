locals {
  schedulers = length(var.schedules) == 0 ? toset([]) : toset(["this"])

  # Calls that nobody waits for, and the queue that keeps what came to nothing: what the scheduler could not deliver, and
  # what failed, unless that goes elsewhere.
  asynchronous  = length(var.schedules) == 0 && var.async == null ? {} : { this = merge({ maximum_event_age_in_seconds = 3600, maximum_retry_attempts = 2, on_failure = null, on_success = null }, var.async) }
  failures_kept = try(var.async.on_failure, null) == null
  failures      = length(var.schedules) > 0 || (var.async != null && local.failures_kept) ? toset(["this"]) : toset([])
  destinations  = try(concat(var.async.on_failure[*], var.async.on_success[*]), [])

  schedule_policy = concat(
    [{
      Effect   = "Allow"
      Action   = ["lambda:InvokeFunction"]
      Resource = [local.called]
    }],
    [for queue in aws_sqs_queue.failures : {
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = [queue.arn]
    }],
  )
}

resource "aws_scheduler_schedule" "this" {
  for_each = var.schedules

  name                         = "${var.name}-${each.key}"
  schedule_expression          = each.value.schedule_expression
  schedule_expression_timezone = each.value.schedule_expression_timezone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = local.called
    role_arn = var.iam.scheduler_role == null ? aws_iam_role.scheduler["this"].arn : var.iam.scheduler_role.arn

    # Raised, or a failure would be a reply that nobody reads.
    input = jsonencode({
      query   = each.value.query
      params  = jsondecode(each.value.params)
      onError = "raise"
    })

    retry_policy {
      maximum_event_age_in_seconds = each.value.maximum_event_age_in_seconds
      maximum_retry_attempts       = 3
    }

    dead_letter_config {
      arn = aws_sqs_queue.failures["this"].arn
    }
  }

  depends_on = [aws_iam_role_policy.scheduler]
}

# The scheduler hands the call over and is done; running it again is up to Lambda.
resource "aws_lambda_function_event_invoke_config" "this" {
  for_each = local.asynchronous

  function_name                = aws_lambda_function.this.function_name
  qualifier                    = local.qualifier
  maximum_event_age_in_seconds = each.value.maximum_event_age_in_seconds
  maximum_retry_attempts       = each.value.maximum_retry_attempts

  destination_config {
    on_failure {
      destination = local.failures_kept ? aws_sqs_queue.failures["this"].arn : each.value.on_failure.arn
    }

    dynamic "on_success" {
      for_each = each.value.on_success[*]
      content {
        destination = on_success.value.arn
      }
    }
  }

  # Lambda checks that the role may send to it.
  depends_on = [aws_iam_role_policy.function]
}

resource "aws_sqs_queue" "failures" {
  for_each = local.failures

  name                      = "${var.name}-failures"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

resource "aws_iam_role" "scheduler" {
  for_each = { for name in local.schedulers : name => name if var.iam.scheduler_role == null }

  name                 = "${local.role_name}-schedule"
  description          = "The schedules of lambda-rds ${var.name}"
  path                 = var.iam.path
  permissions_boundary = var.iam.permissions_boundary
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  for_each = aws_iam_role.scheduler

  name   = "schedules"
  role   = each.value.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.schedule_policy })
}

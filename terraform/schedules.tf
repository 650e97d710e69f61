locals {
  # One queue keeps what came to nothing: calls that the scheduler could not deliver, and those that failed.
  failures = length(var.schedules) == 0 ? toset([]) : toset(["this"])
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
    arn      = aws_lambda_function.this.arn
    role_arn = aws_iam_role.scheduler["this"].arn

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
}

# The scheduler hands the call over and is done; running it again is up to Lambda.
resource "aws_lambda_function_event_invoke_config" "this" {
  for_each = local.failures

  function_name                = aws_lambda_function.this.function_name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.failures[each.key].arn
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
}

resource "aws_iam_role" "scheduler" {
  for_each = local.failures

  name        = "${var.name}-scheduler"
  description = "The schedules of lambda-rds ${var.name}"

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
  for_each = local.failures

  name = "schedules"
  role = aws_iam_role.scheduler[each.key].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["lambda:InvokeFunction"]
        Resource = [aws_lambda_function.this.arn]
      },
      {
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.failures[each.key].arn]
      },
    ]
  })
}

locals {
  made_queues = { for name, queue in var.queues : name => queue if queue.existing == null }
  queue_arns  = { for name, queue in var.queues : name => queue.existing == null ? aws_sqs_queue.source[name].arn : queue.existing.arn }
}

resource "aws_sqs_queue" "source" {
  for_each = local.made_queues

  name                      = "${var.name}-${each.key}${each.value.fifo ? ".fifo" : ""}"
  fifo_queue                = each.value.fifo
  message_retention_seconds = each.value.message_retention_seconds
  sqs_managed_sse_enabled   = true
  tags                      = var.tags

  # What AWS advises, so that throttled batches come back before they count as failures.
  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
  visibility_timeout_seconds = 6 * var.function.timeout + each.value.maximum_batching_window_in_seconds

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[each.key].arn
    maxReceiveCount     = each.value.max_receive_count
  })
}

resource "aws_sqs_queue" "dead_letters" {
  for_each = local.made_queues

  name                      = "${var.name}-${each.key}-dead-letters${each.value.fifo ? ".fifo" : ""}"
  fifo_queue                = each.value.fifo
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  for_each = local.made_queues

  queue_url = aws_sqs_queue.dead_letters[each.key].id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.source[each.key].arn]
  })
}

resource "aws_lambda_event_source_mapping" "queue" {
  for_each = var.queues

  event_source_arn                   = local.queue_arns[each.key]
  function_name                      = local.called
  batch_size                         = each.value.batch_size
  maximum_batching_window_in_seconds = each.value.maximum_batching_window_in_seconds
  tags                               = var.tags

  # Without it a reply that lists failures counts as success, and their messages are gone.
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = each.value.maximum_concurrency
  }

  # Lambda checks that the role may read from it.
  depends_on = [aws_iam_role_policy.function]
}

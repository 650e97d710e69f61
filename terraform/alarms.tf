# What the function tells (its EMF metrics), what Lambda, RDS and SQS tell. The defaults are where somebody should look.

locals {
  by_function = { function = var.name }
  on_lambda   = { FunctionName = var.name }
  on_database = var.database.db_cluster_identifier == null ? {
    DBInstanceIdentifier = var.database.db_instance_identifier
  } : { DBClusterIdentifier = var.database.db_cluster_identifier, Role = "WRITER" }
  on_readers = { DBClusterIdentifier = var.database.db_cluster_identifier, Role = "READER" }

  alarms = merge(
    {
      faults = {
        description = "Calls that failed for a reason that is not the caller's, in 5 minutes. The log line of each says why."
        namespace   = "lambda-rds", metric = "Faults", dimensions = local.by_function, statistic = "Sum", threshold = 5
      }
      retries = {
        description = "Statements or connects that were tried again, in 5 minutes: conflicts, a failover, a busy server."
        namespace   = "lambda-rds", metric = "Retries", dimensions = local.by_function, statistic = "Sum", threshold = 50
      }
      cold_connects = {
        description = "Sessions opened in 5 minutes: more than every environment should need. Somebody closes them."
        namespace   = "lambda-rds", metric = "ColdConnects", dimensions = local.by_function, statistic = "Sum", threshold = 5 * local.environments * local.max_sessions
      }
      connect_millis = {
        description = "The slowest connects come near DB_CONNECT_TIMEOUT."
        namespace   = "lambda-rds", metric = "ConnectMillis", dimensions = local.by_function, statistic = "p99", threshold = floor(0.8 * local.durations.connect), periods = 3
      }
      query_millis = {
        description = "The slowest statements come near DB_QUERY_TIMEOUT."
        namespace   = "lambda-rds", metric = "QueryMillis", dimensions = local.by_function, statistic = "p99", threshold = floor(0.8 * local.durations.query), periods = 3
      }
      errors = {
        description = "Invocations that ended in a function error: raised failures, a crash, a timeout, a failed INIT."
        namespace   = "AWS/Lambda", metric = "Errors", dimensions = local.on_lambda, statistic = "Sum", threshold = 1
      }
      throttles = {
        description = "Invocations refused: all reserved environments were busy."
        namespace   = "AWS/Lambda", metric = "Throttles", dimensions = local.on_lambda, statistic = "Sum", threshold = 1
      }
      duration = {
        description = "An invocation came near the function's timeout."
        namespace   = "AWS/Lambda", metric = "Duration", dimensions = local.on_lambda, statistic = "Maximum", threshold = 900 * var.function.timeout
      }
    },
    local.multiplexed ? {
      pinned = {
        description = "Statements that made the proxy pin a connection, in 5 minutes: it multiplexes no more."
        namespace   = "lambda-rds", metric = "Pinned", dimensions = local.by_function, statistic = "Sum", threshold = 1
      }
    } : {},
    { for name, alarm in {
      database_connections = {
        description = "Connections of everybody come near the database's max_connections."
        namespace   = "AWS/RDS", metric = "DatabaseConnections", dimensions = local.on_database, statistic = "Maximum", threshold = floor(0.8 * local.max_connections)
      }
      database_cpu = {
        description = "The database's processors are busy."
        namespace   = "AWS/RDS", metric = "CPUUtilization", dimensions = local.on_database, statistic = "Average", threshold = 80, periods = 3
      }
    } : name => alarm if var.database.db_instance_identifier != null || var.database.db_cluster_identifier != null },
    var.database.db_instance_identifier == null || local.aurora ? {} : {
      database_storage = {
        description = "The database's disk is nearly full; when it is, the database stops."
        namespace   = "AWS/RDS", metric = "FreeStorageSpace", dimensions = local.on_database, statistic = "Minimum", threshold = 2 * pow(1024, 3), below = true
      }
    },
    var.budget.serverless == null || var.database.db_cluster_identifier == null ? {} : {
      database_capacity = {
        description = "The cluster has nearly grown to its maximum capacity."
        namespace   = "AWS/RDS", metric = "ACUUtilization", dimensions = local.on_database, statistic = "Average", threshold = 90, periods = 3
      }
    },
    { for name, alarm in {
      reader_connections = {
        description = "Connections of everybody to a reader come near the database's max_connections."
        namespace   = "AWS/RDS", metric = "DatabaseConnections", dimensions = local.on_readers, statistic = "Maximum", threshold = floor(0.8 * local.max_connections)
      }
      reader_cpu = {
        description = "The readers' processors are busy."
        namespace   = "AWS/RDS", metric = "CPUUtilization", dimensions = local.on_readers, statistic = "Average", threshold = 80, periods = 3
      }
      reader_lag = {
        description = "A reader is behind the writer, in milliseconds: reads do not see what was written."
        namespace   = "AWS/RDS", metric = "AuroraReplicaLag", dimensions = local.on_readers, statistic = "Maximum", threshold = 1000, periods = 3
      }
    } : name => alarm if var.database.read_from == "reader" && var.database.db_cluster_identifier != null },
    { for name, proxy in(var.proxy == null ? {} : { this = local.existing_proxy == null ? one(values(aws_db_proxy.this)[*].name) : local.existing_proxy.name }) : "borrow_latency" => {
      description = "Calls wait for one of the proxy's connections, in microseconds: half of what they may."
      namespace   = "AWS/RDS", metric = "DatabaseConnectionsBorrowLatency", dimensions = { ProxyName = proxy }, statistic = "Average", threshold = 500000 * var.proxy.connection_borrow_timeout, quiet = true
    } },
    { for name, api in aws_apigatewayv2_api.this : "http_5xx" => {
      description = "Replies of the HTTP API with a status of 500 or more, in 5 minutes, the gateway's own among them."
      namespace   = "AWS/ApiGateway", metric = "5xx", dimensions = { ApiId = api.id }, statistic = "Sum", threshold = 5
    } },
    { for name, url in aws_lambda_function_url.this : "url_5xx" => {
      description = "Replies of the function URL with a status of 500 or more, in 5 minutes."
      namespace   = "AWS/Lambda", metric = "Url5xxCount", dimensions = local.on_lambda, statistic = "Sum", threshold = 5
    } },
    { for name, queue in aws_sqs_queue.dead_letters : "dead_letters_${name}" => {
      description = "Messages that failed too often lie in the dead-letter queue."
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = queue.name }, statistic = "Maximum", threshold = 1
    } },
    { for name, arn in local.queue_arns : "message_age_${name}" => {
      description = "Messages wait for longer than 15 minutes."
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = { QueueName = reverse(split(":", arn))[0] }, statistic = "Maximum", threshold = 900
    } },
    { for name, queue in aws_sqs_queue.failures : "failures" => {
      description = "Calls that failed for good lie in the queue of failures."
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = queue.name }, statistic = "Maximum", threshold = 1
    } },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name        = "${var.name}-${each.key}"
  alarm_description = each.value.description

  namespace   = each.value.namespace
  metric_name = each.value.metric
  dimensions  = each.value.dimensions

  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = try(each.value.below, false) ? "LessThanOrEqualToThreshold" : "GreaterThanOrEqualToThreshold"
  threshold           = lookup(var.alarms.thresholds, each.key, each.value.threshold)
  period              = 300
  evaluation_periods  = try(each.value.periods, 1)

  # Nothing happened, so nothing is wrong. Of a database there is always something.
  treat_missing_data = each.value.namespace == "AWS/RDS" && !try(each.value.quiet, false) ? "missing" : "notBreaching"

  alarm_actions = var.alarms.actions
  ok_actions    = var.alarms.actions
  tags          = var.tags

  lifecycle {
    precondition {
      condition     = length(setsubtract(keys(var.alarms.thresholds), keys(local.alarms))) == 0
      error_message = "alarms.thresholds has no alarm ${join(", ", setsubtract(keys(var.alarms.thresholds), keys(local.alarms)))}. There are: ${join(", ", keys(local.alarms))}."
    }
  }
}

output "function_name" {
  description = "The function's name."
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "The function's ARN."
  value       = aws_lambda_function.this.arn
}

output "role_name" {
  description = "The role that the function runs as, to add permissions to."
  value       = aws_iam_role.function.name
}

output "security_group_id" {
  description = "The function's security group."
  value       = aws_security_group.function.id
}

output "log_group_name" {
  description = "The function's log group."
  value       = aws_cloudwatch_log_group.function.name
}

output "environment" {
  description = "The settings that the function gets."
  value       = aws_lambda_function.this.environment[0].variables
}

output "connection_budget" {
  description = "The database's `max_connections` as assumed, how many of them this function is `allowed`, and how many may be `needed`."
  value = {
    max_connections = local.budget.max_connections
    allowed         = local.budget.allowed
    needed          = local.budget.needed
  }
}

output "secrets_endpoint_id" {
  description = "The interface endpoint for Secrets Manager, if one was created."
  value       = one(values(aws_vpc_endpoint.secrets)[*].id)
}

output "proxy_endpoint" {
  description = "The RDS Proxy's host, if there is one."
  value       = one(values(aws_db_proxy.this)[*].endpoint)
}

output "parameter_group_name" {
  description = "The parameter group for the database (for Aurora: for the cluster), if there is one."
  value       = one(concat(values(aws_db_parameter_group.this)[*].name, values(aws_rds_cluster_parameter_group.this)[*].name))
}

output "queues" {
  description = "By name: `url` and `arn` to send to, and the `dead_letters_url`."
  value = {
    for name, queue in aws_sqs_queue.source : name => {
      url              = queue.url
      arn              = queue.arn
      dead_letters_url = aws_sqs_queue.dead_letters[name].url
    }
  }
}

output "failures_url" {
  description = "The queue of scheduled calls that failed for good, if there are schedules."
  value       = one(values(aws_sqs_queue.failures)[*].url)
}

output "http_api_url" {
  description = "The HTTP API's address, if there is one."
  value       = one(values(aws_apigatewayv2_api.this)[*].api_endpoint)
}

output "function_url" {
  description = "The function URL, if there is one."
  value       = one(values(aws_lambda_function_url.this)[*].function_url)
}

output "alarms" {
  description = "The alarms' names in CloudWatch, by the name that `alarms.thresholds` takes."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.alarm_name }
}

output "function_name" {
  description = "The function's name."
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "The function's ARN."
  value       = aws_lambda_function.this.arn
}

output "role_name" {
  description = "The role that the function runs as, to add permissions to, if it was created."
  value       = one(values(aws_iam_role.function)[*].name)
}

output "security_group_id" {
  description = "The function's security group, if one was created."
  value       = one(values(aws_security_group.function)[*].id)
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
  description = "The database's `max_connections` as assumed, how many of them are `allowed`, how many this function may have `needed` and `others` too, and how many are to `spare`."
  value       = local.budget
}

output "connections_needed" {
  description = "How many connections this function may come to need: for `budget.others` of another instance of this module."
  value       = local.connections_needed
}

output "policies" {
  description = "What the roles have to permit, by role (`function`, `proxy`, `scheduler`, `deployment`, `gateway`) and reason, as JSON: for roles of your own."
  value       = local.documents
}

output "function_version" {
  description = "The version that was published last, if `release` is there."
  value       = var.release == null ? null : aws_lambda_function.this.version
}

output "alias_arn" {
  description = "The alias to call, if `release` is there."
  value       = try(local.alias.arn, null)
}

output "deployment" {
  description = "What to give to `aws deploy create-deployment --cli-input-json` to move the alias to the newest version, if `release.canary` is there. If `CurrentVersion` and `TargetVersion` are the same, there is nothing to do."
  value = one([for name, group in aws_codedeploy_deployment_group.this : jsonencode({
    applicationName     = group.app_name
    deploymentGroupName = group.deployment_group_name
    revision = {
      revisionType = "AppSpecContent"
      appSpecContent = {
        # The version of the format is a number with a fraction, which jsonencode would write as 0.
        content = "{\"version\":0.0,\"Resources\":${jsonencode([{
          function = {
            Type = "AWS::Lambda::Function"
            Properties = {
              Name           = aws_lambda_function.this.function_name
              Alias          = local.alias.name
              CurrentVersion = local.alias.function_version
              TargetVersion  = aws_lambda_function.this.version
            }
          }
        }])}}"
      }
    }
  })])
}

output "secrets_endpoint_id" {
  description = "The interface endpoint for Secrets Manager, if one was created."
  value       = one(values(aws_vpc_endpoint.secrets)[*].id)
}

output "proxy_endpoint" {
  description = "The RDS Proxy's host, if there is one."
  value       = var.proxy == null ? null : local.host
}

output "proxy_reader_endpoint" {
  description = "The host of the RDS Proxy's read-only endpoint, if there is one."
  value       = var.proxy == null ? null : local.reader_host
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
  description = "The queue of calls that nobody waits for and that failed for good, if there is one."
  value       = one(values(aws_sqs_queue.failures)[*].url)
}

output "http_api_url" {
  description = "The HTTP API's address, if there is one."
  value       = local.http_api_url
}

output "http_api_domain" {
  description = "Where a record for `http_api.domain` has to point: `target_domain_name`, and its `hosted_zone_id`."
  value = one([for domain in aws_apigatewayv2_domain_name.this : {
    target_domain_name = domain.domain_name_configuration[0].target_domain_name
    hosted_zone_id     = domain.domain_name_configuration[0].hosted_zone_id
  }])
}

output "mcp_url" {
  description = "What a client of MCP is given, if `agents.mcp` is there."
  value       = var.agents.mcp == null ? null : try("${trimsuffix(coalesce(local.http_api_url, local.function_url), "/")}${local.base_path}/mcp", null)
}

output "agentcore_gateway_url" {
  description = "The AgentCore Gateway's address, if one was created."
  value       = one(values(aws_bedrockagentcore_gateway.this)[*].gateway_url)
}

output "function_url" {
  description = "The function URL, if there is one."
  value       = local.function_url
}

output "function_url_policy" {
  description = "What whoever calls the function URL with `AWS_IAM` has to be permitted, as JSON, if there is one."
  value = one([for name, url in local.function_urls : jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = ["lambda:InvokeFunctionUrl"]
        Resource  = [local.called]
        Condition = { StringEquals = { "lambda:FunctionUrlAuthType" = "AWS_IAM" } }
      },
      {
        Effect    = "Allow"
        Action    = ["lambda:InvokeFunction"]
        Resource  = [local.called]
        Condition = { Bool = { "lambda:InvokedViaFunctionUrl" = "true" } }
      },
    ]
  }) if url.authorization_type == "AWS_IAM"])
}

output "alarms" {
  description = "The alarms' names in CloudWatch, by the name that `alarms.thresholds` takes."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.alarm_name }
}

output "resources" {
  description = "All that is created, whole, by its address in this module, for what no other output has: `resources[\"aws_sqs_queue.source\"][\"users\"].arn`."
  value = {
    "aws_apigatewayv2_api.this"                       = aws_apigatewayv2_api.this
    "aws_apigatewayv2_api_mapping.this"               = aws_apigatewayv2_api_mapping.this
    "aws_apigatewayv2_authorizer.jwt"                 = aws_apigatewayv2_authorizer.jwt
    "aws_apigatewayv2_domain_name.this"               = aws_apigatewayv2_domain_name.this
    "aws_apigatewayv2_integration.this"               = aws_apigatewayv2_integration.this
    "aws_apigatewayv2_route.metadata"                 = aws_apigatewayv2_route.metadata
    "aws_apigatewayv2_route.this"                     = aws_apigatewayv2_route.this
    "aws_apigatewayv2_stage.this"                     = aws_apigatewayv2_stage.this
    "aws_bedrockagentcore_gateway.this"               = aws_bedrockagentcore_gateway.this
    "aws_bedrockagentcore_gateway_target.this"        = aws_bedrockagentcore_gateway_target.this
    "aws_cloudwatch_log_group.access"                 = aws_cloudwatch_log_group.access
    "aws_cloudwatch_log_group.function"               = aws_cloudwatch_log_group.function
    "aws_cloudwatch_log_group.proxy"                  = aws_cloudwatch_log_group.proxy
    "aws_cloudwatch_metric_alarm.this"                = aws_cloudwatch_metric_alarm.this
    "aws_codedeploy_app.this"                         = aws_codedeploy_app.this
    "aws_codedeploy_deployment_group.this"            = aws_codedeploy_deployment_group.this
    "aws_db_parameter_group.this"                     = aws_db_parameter_group.this
    "aws_db_proxy.this"                               = aws_db_proxy.this
    "aws_db_proxy_default_target_group.this"          = aws_db_proxy_default_target_group.this
    "aws_db_proxy_endpoint.reader"                    = aws_db_proxy_endpoint.reader
    "aws_db_proxy_target.this"                        = aws_db_proxy_target.this
    "aws_iam_role.deployment"                         = aws_iam_role.deployment
    "aws_iam_role.function"                           = aws_iam_role.function
    "aws_iam_role.gateway"                            = aws_iam_role.gateway
    "aws_iam_role.proxy"                              = aws_iam_role.proxy
    "aws_iam_role.scheduler"                          = aws_iam_role.scheduler
    "aws_iam_role_policy.deployment"                  = aws_iam_role_policy.deployment
    "aws_iam_role_policy.function"                    = aws_iam_role_policy.function
    "aws_iam_role_policy.gateway"                     = aws_iam_role_policy.gateway
    "aws_iam_role_policy.network"                     = aws_iam_role_policy.network
    "aws_iam_role_policy.proxy"                       = aws_iam_role_policy.proxy
    "aws_iam_role_policy.scheduler"                   = aws_iam_role_policy.scheduler
    "aws_lambda_alias.canary"                         = aws_lambda_alias.canary
    "aws_lambda_alias.this"                           = aws_lambda_alias.this
    "aws_lambda_event_source_mapping.queue"           = aws_lambda_event_source_mapping.queue
    "aws_lambda_function.this"                        = aws_lambda_function.this
    "aws_lambda_function_event_invoke_config.this"    = aws_lambda_function_event_invoke_config.this
    "aws_lambda_function_url.this"                    = aws_lambda_function_url.this
    "aws_lambda_permission.bedrock"                   = aws_lambda_permission.bedrock
    "aws_lambda_permission.http_api"                  = aws_lambda_permission.http_api
    "aws_lambda_permission.open_url"                  = aws_lambda_permission.open_url
    "aws_lambda_permission.open_url_invoke"           = aws_lambda_permission.open_url_invoke
    "aws_lambda_permission.url_caller"                = aws_lambda_permission.url_caller
    "aws_lambda_permission.url_caller_invoke"         = aws_lambda_permission.url_caller_invoke
    "aws_lambda_provisioned_concurrency_config.this"  = aws_lambda_provisioned_concurrency_config.this
    "aws_rds_cluster_parameter_group.this"            = aws_rds_cluster_parameter_group.this
    "aws_route53_record.http_api"                     = aws_route53_record.http_api
    "aws_scheduler_schedule.this"                     = aws_scheduler_schedule.this
    "aws_security_group.function"                     = aws_security_group.function
    "aws_security_group.proxy"                        = aws_security_group.proxy
    "aws_security_group.secrets"                      = aws_security_group.secrets
    "aws_sqs_queue.dead_letters"                      = aws_sqs_queue.dead_letters
    "aws_sqs_queue.failures"                          = aws_sqs_queue.failures
    "aws_sqs_queue.source"                            = aws_sqs_queue.source
    "aws_sqs_queue_redrive_allow_policy.dead_letters" = aws_sqs_queue_redrive_allow_policy.dead_letters
    "aws_vpc_endpoint.secrets"                        = aws_vpc_endpoint.secrets
    "aws_vpc_security_group_egress_rule.function"     = aws_vpc_security_group_egress_rule.function
    "aws_vpc_security_group_egress_rule.proxy"        = aws_vpc_security_group_egress_rule.proxy
    "aws_vpc_security_group_ingress_rule.database"    = aws_vpc_security_group_ingress_rule.database
    "aws_vpc_security_group_ingress_rule.proxy"       = aws_vpc_security_group_ingress_rule.proxy
    "aws_vpc_security_group_ingress_rule.secrets"     = aws_vpc_security_group_ingress_rule.secrets
  }
}

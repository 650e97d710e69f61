# What AWS would say, where the module passes it on: other ids and ARNs for each object, so that one in the place of another
# is noticed. In the module itself, and where an example calls it.

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_data "aws_region" {
  defaults = { region = "eu-central-1" }
}

mock_data "aws_availability_zones" {
  defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
}

# Of objects that have no line of their own below.

mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:another" }
}

mock_resource "aws_sqs_queue" {
  defaults = { arn = "arn:aws:sqs:eu-central-1:123456789012:another" }
}

override_resource {
  target = aws_iam_role.function["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-function"
  }
}

override_resource {
  target = module.function.aws_iam_role.function["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-function"
  }
}

override_resource {
  target = aws_iam_role.proxy["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-proxy"
  }
}

override_resource {
  target = module.function.aws_iam_role.proxy["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-proxy"
  }
}

override_resource {
  target = aws_iam_role.scheduler["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-scheduler"
  }
}

override_resource {
  target = module.function.aws_iam_role.scheduler["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-scheduler"
  }
}

override_resource {
  target = aws_iam_role.deployment["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-deployment"
  }
}

override_resource {
  target = module.function.aws_iam_role.deployment["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-deployment"
  }
}

override_resource {
  target = aws_security_group.function["this"]
  values = {
    id = "sg-function"
  }
}

override_resource {
  target = module.function.aws_security_group.function["this"]
  values = {
    id = "sg-function"
  }
}

override_resource {
  target = aws_security_group.proxy["this"]
  values = {
    id = "sg-proxy"
  }
}

override_resource {
  target = module.function.aws_security_group.proxy["this"]
  values = {
    id = "sg-proxy"
  }
}

override_resource {
  target = aws_security_group.secrets["this"]
  values = {
    id = "sg-secrets"
  }
}

override_resource {
  target = module.function.aws_security_group.secrets["this"]
  values = {
    id = "sg-secrets"
  }
}

override_resource {
  target = aws_lambda_function.this
  values = {
    arn           = "arn:aws:lambda:eu-central-1:123456789012:function:the-function"
    invoke_arn    = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-central-1:123456789012:function:the-function/invocations"
    version       = "7"
    qualified_arn = "arn:aws:lambda:eu-central-1:123456789012:function:the-function:7"

    # Of a zip in S3.
    source_code_hash = "hash-by-aws"

    vpc_config = { vpc_id = "vpc-mocked" }
  }
}

override_resource {
  target = module.function.aws_lambda_function.this
  values = {
    arn           = "arn:aws:lambda:eu-central-1:123456789012:function:the-function"
    invoke_arn    = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-central-1:123456789012:function:the-function/invocations"
    version       = "7"
    qualified_arn = "arn:aws:lambda:eu-central-1:123456789012:function:the-function:7"

    # Of a zip in S3.
    source_code_hash = "hash-by-aws"

    vpc_config = { vpc_id = "vpc-mocked" }
  }
}

override_resource {
  target = aws_lambda_alias.this["this"]
  values = {
    arn        = "arn:aws:lambda:eu-central-1:123456789012:function:the-function:of-this"
    invoke_arn = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-central-1:123456789012:function:the-function:of-this/invocations"
  }
}

override_resource {
  target = module.function.aws_lambda_alias.this["this"]
  values = {
    arn        = "arn:aws:lambda:eu-central-1:123456789012:function:the-function:of-this"
    invoke_arn = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-central-1:123456789012:function:the-function:of-this/invocations"
  }
}

override_resource {
  target = aws_lambda_alias.canary["this"]
  values = {
    arn        = "arn:aws:lambda:eu-central-1:123456789012:function:the-function:of-canary"
    invoke_arn = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-central-1:123456789012:function:the-function:of-canary/invocations"
  }
}

override_resource {
  target = module.function.aws_lambda_alias.canary["this"]
  values = {
    arn        = "arn:aws:lambda:eu-central-1:123456789012:function:the-function:of-canary"
    invoke_arn = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-central-1:123456789012:function:the-function:of-canary/invocations"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.function
  values = {
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:of-function"
  }
}

override_resource {
  target = module.function.aws_cloudwatch_log_group.function
  values = {
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:of-function"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.access["this"]
  values = {
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:of-access"
  }
}

override_resource {
  target = module.function.aws_cloudwatch_log_group.access["this"]
  values = {
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:of-access"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.proxy["this"]
  values = {
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:of-proxy"
  }
}

override_resource {
  target = module.function.aws_cloudwatch_log_group.proxy["this"]
  values = {
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:of-proxy"
  }
}

override_resource {
  target = aws_sqs_queue.source["users"]
  values = {
    id  = "https://sqs/source-users-id"
    url = "https://sqs/source-users-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:source-users-arn"
  }
}

override_resource {
  target = module.function.aws_sqs_queue.source["users"]
  values = {
    id  = "https://sqs/source-users-id"
    url = "https://sqs/source-users-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:source-users-arn"
  }
}

override_resource {
  target = aws_sqs_queue.dead_letters["users"]
  values = {
    id  = "https://sqs/dead-letters-users-id"
    url = "https://sqs/dead-letters-users-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:dead-letters-users-arn"
  }
}

override_resource {
  target = module.function.aws_sqs_queue.dead_letters["users"]
  values = {
    id  = "https://sqs/dead-letters-users-id"
    url = "https://sqs/dead-letters-users-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:dead-letters-users-arn"
  }
}

override_resource {
  target = aws_sqs_queue.source["renames"]
  values = {
    id  = "https://sqs/source-renames-id"
    url = "https://sqs/source-renames-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:source-renames-arn"
  }
}

override_resource {
  target = module.function.aws_sqs_queue.source["renames"]
  values = {
    id  = "https://sqs/source-renames-id"
    url = "https://sqs/source-renames-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:source-renames-arn"
  }
}

override_resource {
  target = aws_sqs_queue.dead_letters["renames"]
  values = {
    id  = "https://sqs/dead-letters-renames-id"
    url = "https://sqs/dead-letters-renames-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:dead-letters-renames-arn"
  }
}

override_resource {
  target = module.function.aws_sqs_queue.dead_letters["renames"]
  values = {
    id  = "https://sqs/dead-letters-renames-id"
    url = "https://sqs/dead-letters-renames-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:dead-letters-renames-arn"
  }
}

override_resource {
  target = aws_sqs_queue.failures["this"]
  values = {
    id  = "https://sqs/failures-id"
    url = "https://sqs/failures-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:failures-arn"
  }
}

override_resource {
  target = module.function.aws_sqs_queue.failures["this"]
  values = {
    id  = "https://sqs/failures-id"
    url = "https://sqs/failures-url"
    arn = "arn:aws:sqs:eu-central-1:123456789012:failures-arn"
  }
}

override_resource {
  target = aws_apigatewayv2_api.this["this"]
  values = {
    id            = "api-id"
    execution_arn = "arn:aws:execute-api:eu-central-1:123456789012:api"
    api_endpoint  = "https://api.execute-api.eu-central-1.amazonaws.com"
  }
}

override_resource {
  target = module.function.aws_apigatewayv2_api.this["this"]
  values = {
    id            = "api-id"
    execution_arn = "arn:aws:execute-api:eu-central-1:123456789012:api"
    api_endpoint  = "https://api.execute-api.eu-central-1.amazonaws.com"
  }
}

override_resource {
  target = aws_apigatewayv2_authorizer.jwt["this"]
  values = {
    id = "authorizer-id"
  }
}

override_resource {
  target = module.function.aws_apigatewayv2_authorizer.jwt["this"]
  values = {
    id = "authorizer-id"
  }
}

override_resource {
  target = aws_apigatewayv2_integration.this["this"]
  values = {
    id = "integration-id"
  }
}

override_resource {
  target = module.function.aws_apigatewayv2_integration.this["this"]
  values = {
    id = "integration-id"
  }
}

override_resource {
  target = aws_lambda_function_url.this["this"]
  values = {
    function_url = "https://url.lambda-url.eu-central-1.on.aws/"
  }
}

override_resource {
  target = module.function.aws_lambda_function_url.this["this"]
  values = {
    function_url = "https://url.lambda-url.eu-central-1.on.aws/"
  }
}

override_resource {
  target = aws_db_proxy.this["this"]
  values = {
    arn      = "arn:aws:rds:eu-central-1:123456789012:db-proxy:prx-0proxy"
    endpoint = "proxy.proxy-abc.eu-central-1.rds.amazonaws.com"
    auth     = { client_password_auth_type = "mocked" }
  }
}

override_resource {
  target = module.function.aws_db_proxy.this["this"]
  values = {
    arn      = "arn:aws:rds:eu-central-1:123456789012:db-proxy:prx-0proxy"
    endpoint = "proxy.proxy-abc.eu-central-1.rds.amazonaws.com"
    auth     = { client_password_auth_type = "mocked" }
  }
}

override_resource {
  target = aws_db_proxy_default_target_group.this["this"]
  values = {
    name = "the-target-group"
  }
}

override_resource {
  target = module.function.aws_db_proxy_default_target_group.this["this"]
  values = {
    name = "the-target-group"
  }
}

override_resource {
  target = aws_apigatewayv2_stage.this["this"]
  values = {
    default_route_settings = { logging_level = "OFF" }
  }
}

override_resource {
  target = module.function.aws_apigatewayv2_stage.this["this"]
  values = {
    default_route_settings = { logging_level = "OFF" }
  }
}

override_resource {
  target = aws_vpc_endpoint.secrets["this"]
  values = {
    id        = "vpce-secrets"
    dns_entry = [{ dns_name = "vpce-0mocked.secretsmanager.eu-central-1.vpce.amazonaws.com", hosted_zone_id = "Z0MOCKED" }]
  }
}

override_resource {
  target = module.function.aws_vpc_endpoint.secrets["this"]
  values = {
    id        = "vpce-secrets"
    dns_entry = [{ dns_name = "vpce-0mocked.secretsmanager.eu-central-1.vpce.amazonaws.com", hosted_zone_id = "Z0MOCKED" }]
  }
}

override_resource {
  target = aws_cloudwatch_metric_alarm.this["errors"]
  values = {
    arn = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:of-errors"
  }
}

override_resource {
  target = module.function.aws_cloudwatch_metric_alarm.this["errors"]
  values = {
    arn = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:of-errors"
  }
}

override_resource {
  target = aws_cloudwatch_metric_alarm.this["faults"]
  values = {
    arn = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:of-faults"
  }
}

override_resource {
  target = module.function.aws_cloudwatch_metric_alarm.this["faults"]
  values = {
    arn = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:of-faults"
  }
}

override_resource {
  target = aws_db_parameter_group.this["this"]
  values = {
    name = "the-parameter-group"
  }
}

override_resource {
  target = module.function.aws_db_parameter_group.this["this"]
  values = {
    name = "the-parameter-group"
  }
}

override_resource {
  target = aws_rds_cluster_parameter_group.this["this"]
  values = {
    name = "the-cluster-parameter-group"
  }
}

override_resource {
  target = module.function.aws_rds_cluster_parameter_group.this["this"]
  values = {
    name = "the-cluster-parameter-group"
  }
}

override_resource {
  target = aws_vpc.this
  values = {
    id = "vpc-mocked"
  }
}

override_resource {
  target = aws_subnet.private["a"]
  values = {
    id = "subnet-a"
  }
}

override_resource {
  target = aws_subnet.private["b"]
  values = {
    id = "subnet-b"
  }
}

override_resource {
  target = aws_security_group.database
  values = {
    id = "sg-database-made"
  }
}

override_resource {
  target = aws_kms_key.this
  values = {
    arn    = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    key_id = "key-id"
  }
}

override_resource {
  target = aws_sns_topic.alarms
  values = {
    arn = "arn:aws:sns:eu-central-1:123456789012:the-topic"
  }
}

override_resource {
  target = aws_db_instance.this
  values = {
    address            = "mocked.abc.eu-central-1.rds.amazonaws.com"
    endpoint           = "mocked.abc.eu-central-1.rds.amazonaws.com:5432"
    master_user_secret = [{ kms_key_id = "", secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-mocked-AbCdEf", secret_status = "active" }]
  }
}

override_resource {
  target = aws_rds_cluster.this
  values = {
    id                 = "the-cluster"
    endpoint           = "mocked.cluster-abc.eu-central-1.rds.amazonaws.com"
    reader_endpoint    = "mocked.cluster-ro-abc.eu-central-1.rds.amazonaws.com"
    master_user_secret = [{ kms_key_id = "", secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!cluster-mocked-AbCdEf", secret_status = "active" }]
  }
}

override_resource {
  target = aws_iam_role.gateway["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-gateway"
  }
}

override_resource {
  target = module.function.aws_iam_role.gateway["this"]
  values = {
    arn = "arn:aws:iam::123456789012:role/of-gateway"
  }
}

override_resource {
  target = aws_db_proxy_endpoint.reader["this"]
  values = {
    endpoint = "the-reader.endpoint.proxy-mocked.eu-central-1.rds.amazonaws.com"
  }
}

override_resource {
  target = module.function.aws_db_proxy_endpoint.reader["this"]
  values = {
    endpoint = "the-reader.endpoint.proxy-mocked.eu-central-1.rds.amazonaws.com"
  }
}

override_resource {
  target = aws_apigatewayv2_domain_name.this["this"]
  values = {
    domain_name_configuration = { target_domain_name = "d-mocked.execute-api.eu-central-1.amazonaws.com", hosted_zone_id = "Z-of-the-gateway", ip_address_type = "ipv4", ownership_verification_certificate_arn = "none" }
  }
}

override_resource {
  target = module.function.aws_apigatewayv2_domain_name.this["this"]
  values = {
    domain_name_configuration = { target_domain_name = "d-mocked.execute-api.eu-central-1.amazonaws.com", hosted_zone_id = "Z-of-the-gateway", ip_address_type = "ipv4", ownership_verification_certificate_arn = "none" }
  }
}

override_resource {
  target = aws_bedrockagentcore_gateway.this["this"]
  values = {
    gateway_id  = "the-gateway"
    gateway_url = "https://the-gateway.example.com/mcp"
    gateway_arn = "arn:aws:bedrock-agentcore:eu-central-1:123456789012:gateway/the-gateway"
  }
}

override_resource {
  target = module.function.aws_bedrockagentcore_gateway.this["this"]
  values = {
    gateway_id  = "the-gateway"
    gateway_url = "https://the-gateway.example.com/mcp"
    gateway_arn = "arn:aws:bedrock-agentcore:eu-central-1:123456789012:gateway/the-gateway"
  }
}

# Of these AWS says nothing that is passed on. They stand here so that a plan knows what a mock makes up: only where a kind
# has its line does `override_during = plan` (tests/golden.tftest.hcl) reach it.

mock_resource "aws_apigatewayv2_api" {}

mock_resource "aws_apigatewayv2_api_mapping" {}

mock_resource "aws_apigatewayv2_authorizer" {}

mock_resource "aws_apigatewayv2_domain_name" {}

mock_resource "aws_apigatewayv2_integration" {}

mock_resource "aws_apigatewayv2_route" {}

mock_resource "aws_apigatewayv2_stage" {}

mock_resource "aws_bedrockagentcore_gateway" {}

mock_resource "aws_bedrockagentcore_gateway_target" {}

mock_resource "aws_cloudwatch_metric_alarm" {}

mock_resource "aws_codedeploy_app" {}

mock_resource "aws_codedeploy_deployment_group" {}

mock_resource "aws_db_instance" {}

mock_resource "aws_db_parameter_group" {}

mock_resource "aws_db_proxy" {}

mock_resource "aws_db_proxy_default_target_group" {}

mock_resource "aws_db_proxy_endpoint" {}

mock_resource "aws_db_proxy_target" {}

mock_resource "aws_db_subnet_group" {}

mock_resource "aws_default_security_group" {}

mock_resource "aws_iam_role" {}

mock_resource "aws_iam_role_policy" {}

mock_resource "aws_kms_alias" {}

mock_resource "aws_kms_key" {}

mock_resource "aws_lambda_alias" {}

mock_resource "aws_lambda_event_source_mapping" {}

mock_resource "aws_lambda_function" {}

mock_resource "aws_lambda_function_event_invoke_config" {}

mock_resource "aws_lambda_function_url" {}

mock_resource "aws_lambda_permission" {}

mock_resource "aws_lambda_provisioned_concurrency_config" {}

mock_resource "aws_rds_cluster" {}

mock_resource "aws_rds_cluster_instance" {}

mock_resource "aws_rds_cluster_parameter_group" {}

mock_resource "aws_route53_record" {}

mock_resource "aws_scheduler_schedule" {}

mock_resource "aws_secretsmanager_secret_rotation" {}

mock_resource "aws_security_group" {}

mock_resource "aws_sns_topic" {}

mock_resource "aws_sns_topic_subscription" {}

mock_resource "aws_sqs_queue_redrive_allow_policy" {}

mock_resource "aws_subnet" {}

mock_resource "aws_vpc" {}

mock_resource "aws_vpc_endpoint" {}

mock_resource "aws_vpc_security_group_egress_rule" {}

mock_resource "aws_vpc_security_group_ingress_rule" {}

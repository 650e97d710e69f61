locals {
  http_apis     = var.http_api == null ? {} : { this = var.http_api }
  function_urls = var.function_url == null ? {} : { this = var.function_url }
  function_url  = one(values(aws_lambda_function_url.this)[*].function_url)
  http_api_url  = try("https://${var.http_api.domain.name}", one(values(aws_apigatewayv2_api.this)[*].api_endpoint))

  # The function finds the query by the path's last segment; which methods it takes, the query says. A transaction is
  # a POST to the base path.
  base_path = trimsuffix(lookup(merge(var.function.environment, local.environment), "LAMBDA_RDS_BASE_PATH", ""), "/")
  routes    = var.http_api == null ? toset([]) : toset(concat(["ANY ${local.base_path}/{query}", "POST ${local.base_path == "" ? "/" : local.base_path}"], var.agents.mcp == null ? [] : ["POST ${local.base_path}/mcp"]))
}

resource "aws_apigatewayv2_api" "this" {
  for_each = local.http_apis

  name          = var.name
  description   = "lambda-rds ${var.name}"
  protocol_type = "HTTP"
  tags          = var.tags

  disable_execute_api_endpoint = each.value.disable_execute_api_endpoint

  # The gateway answers browsers' OPTIONS itself, since those carry no token.
  dynamic "cors_configuration" {
    for_each = each.value.cors_origin[*]
    content {
      allow_origins = [cors_configuration.value]
      allow_methods = ["GET", "HEAD", "POST"]
      allow_headers = concat(["authorization", "content-type"], var.agents.mcp == null ? [] : ["mcp-method", "mcp-name", "mcp-protocol-version"], each.value.cors_headers)
      max_age       = 3600

      # What a page may read of a reply: the next page, and when to try again.
      expose_headers = ["idempotency-replayed", "link", "retry-after"]
    }
  }
}

resource "aws_apigatewayv2_authorizer" "jwt" {
  for_each = { for name, api in local.http_apis : name => api.jwt if api.jwt != null }

  api_id           = aws_apigatewayv2_api.this[each.key].id
  name             = "jwt"
  authorizer_type  = "JWT"
  identity_sources = ["$request.header.Authorization"]

  jwt_configuration {
    issuer   = each.value.issuer
    audience = each.value.audience
  }
}

resource "aws_apigatewayv2_integration" "this" {
  for_each = local.http_apis

  api_id                 = aws_apigatewayv2_api.this[each.key].id
  integration_type       = "AWS_PROXY"
  integration_uri        = local.invoked
  payload_format_version = "2.0"
  timeout_milliseconds   = 30000

  lifecycle {
    precondition {
      condition     = var.function.timeout <= 30
      error_message = "function.timeout is ${var.function.timeout} s, and API Gateway leaves after 30: the caller would get a 503 while the function goes on and commits. Lower the timeout (and connect, query and reserve), or use a function URL, a queue or a schedule for what takes longer."
    }
  }
}

resource "aws_apigatewayv2_route" "this" {
  for_each = local.routes

  api_id               = aws_apigatewayv2_api.this["this"].id
  route_key            = each.key
  target               = "integrations/${aws_apigatewayv2_integration.this["this"].id}"
  authorization_type   = var.http_api.authorization_type
  authorizer_id        = try(aws_apigatewayv2_authorizer.jwt["this"].id, null)
  authorization_scopes = try(var.http_api.jwt.scopes, null)
}

# Where clients of MCP find who gives the tokens: at the root, with the path of what is protected and without it. Who asks
# has no token yet. https://www.rfc-editor.org/rfc/rfc9728.html#section-3.1
resource "aws_apigatewayv2_route" "metadata" {
  for_each = var.http_api == null || !local.authorizes ? toset([]) : toset(["", "${local.base_path}/mcp"])

  api_id             = aws_apigatewayv2_api.this["this"].id
  route_key          = "GET /.well-known/oauth-protected-resource${each.key}"
  target             = "integrations/${aws_apigatewayv2_integration.this["this"].id}"
  authorization_type = "NONE"
}

resource "aws_apigatewayv2_domain_name" "this" {
  for_each = { for name, api in local.http_apis : name => api.domain if api.domain != null }

  domain_name = each.value.name
  tags        = var.tags

  domain_name_configuration {
    certificate_arn = each.value.certificate_arn
    endpoint_type   = "REGIONAL"
    security_policy = "TLS_1_2"
  }
}

resource "aws_apigatewayv2_api_mapping" "this" {
  for_each = aws_apigatewayv2_domain_name.this

  api_id      = aws_apigatewayv2_api.this[each.key].id
  domain_name = each.value.domain_name
  stage       = aws_apigatewayv2_stage.this[each.key].name
}

resource "aws_route53_record" "http_api" {
  for_each = { for name, api in local.http_apis : name => api.domain if api.domain != null && try(api.domain.hosted_zone != null, false) }

  zone_id = each.value.hosted_zone.id
  name    = each.value.name
  type    = "A"

  alias {
    name                   = aws_apigatewayv2_domain_name.this[each.key].domain_name_configuration[0].target_domain_name
    zone_id                = aws_apigatewayv2_domain_name.this[each.key].domain_name_configuration[0].hosted_zone_id
    evaluate_target_health = false
  }
}

resource "aws_apigatewayv2_stage" "this" {
  for_each = local.http_apis

  api_id      = aws_apigatewayv2_api.this[each.key].id
  name        = "$default"
  auto_deploy = true
  tags        = var.tags

  default_route_settings {
    throttling_rate_limit    = each.value.throttling_rate_limit
    throttling_burst_limit   = each.value.throttling_burst_limit
    detailed_metrics_enabled = true
  }

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access[each.key].arn
    format = jsonencode({
      requestId          = "$context.requestId"
      time               = "$context.requestTime"
      sourceIp           = "$context.identity.sourceIp"
      routeKey           = "$context.routeKey"
      path               = "$context.path"
      status             = "$context.status"
      responseLength     = "$context.responseLength"
      responseLatency    = "$context.responseLatency"
      authorizerError    = "$context.authorizer.error"
      integrationError   = "$context.integration.error"
      integrationRequest = "$context.integration.requestId"
    })
  }
}

resource "aws_cloudwatch_log_group" "access" {
  for_each = local.http_apis

  name              = "/aws/apigateway/${var.name}"
  log_group_class   = var.logs.log_group_class
  retention_in_days = var.logs.retention_in_days
  kms_key_id        = var.logs.kms_key_id
  tags              = var.tags
}

resource "aws_lambda_permission" "http_api" {
  for_each = local.http_apis

  statement_id  = "http-api"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  qualifier     = local.qualifier
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this[each.key].execution_arn}/*/*"
}

resource "aws_lambda_function_url" "this" {
  for_each = local.function_urls

  function_name      = aws_lambda_function.this.function_name
  qualifier          = local.qualifier
  authorization_type = each.value.authorization_type
  invoke_mode        = coalesce(var.replies.stream, false) ? "RESPONSE_STREAM" : "BUFFERED" # as the function answers
}

# Since October 2025 who calls a URL needs both permissions, the one for the URL and the one to invoke; so does everybody,
# where it is open to everybody. https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
resource "aws_lambda_permission" "url_caller" {
  for_each = merge([for url in values(local.function_urls) : url.callers]...)

  statement_id           = "url-${each.key}"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function_url.this["this"].function_name
  qualifier              = local.qualifier
  principal              = each.value
  function_url_auth_type = "AWS_IAM"
}

resource "aws_lambda_permission" "url_caller_invoke" {
  for_each = merge([for url in values(local.function_urls) : url.callers]...)

  statement_id             = "url-${each.key}-invoke"
  action                   = "lambda:InvokeFunction"
  function_name            = aws_lambda_function_url.this["this"].function_name
  qualifier                = local.qualifier
  principal                = each.value
  invoked_via_function_url = true
}

resource "aws_lambda_permission" "open_url" {
  for_each = { for name, url in local.function_urls : name => url if url.authorization_type == "NONE" }

  statement_id           = "open-url"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function_url.this[each.key].function_name
  qualifier              = local.qualifier
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "open_url_invoke" {
  for_each = { for name, url in local.function_urls : name => url if url.authorization_type == "NONE" }

  statement_id             = "open-url-invoke"
  action                   = "lambda:InvokeFunction"
  function_name            = aws_lambda_function_url.this[each.key].function_name
  qualifier                = local.qualifier
  principal                = "*"
  invoked_via_function_url = true
}

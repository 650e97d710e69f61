# Agents: whom it lets call the function, and where they find its tools. Only queries with `-- tool:` can be reached so.

locals {
  # Clients of MCP are told who gives the tokens that the gateway before the function takes.
  # Whether there is somebody is known before who it is: a user pool that is made beside the module.
  jwt                  = var.http_api == null ? null : var.http_api.jwt
  authorizes           = var.agents.mcp == null ? false : local.jwt != null ? true : var.agents.mcp.authorization_server != null
  authorization_server = local.authorizes ? coalesce(var.agents.mcp.authorization_server, try(local.jwt.issuer, null)) : null

  agentcores = var.agents.agentcore == null ? {} : { this = var.agents.agentcore }
  gateways   = { for name, agentcore in local.agentcores : name => agentcore if agentcore.gateway == null }

  # As `lambda-rds tools` has them: AgentCore knows which parameters are required by a list beside them, the provider by each.
  tools = try(jsondecode(var.agents.agentcore.tools), [])

  gateway_policy = [{
    Effect   = "Allow"
    Action   = ["lambda:InvokeFunction"]
    Resource = [local.called]
  }]
}

resource "aws_lambda_permission" "bedrock" {
  for_each = var.agents.bedrock

  statement_id  = "bedrock-${each.key}"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  qualifier     = local.qualifier
  principal     = "bedrock.amazonaws.com"
  source_arn    = each.value
}

resource "aws_bedrockagentcore_gateway" "this" {
  for_each = local.gateways

  name            = var.name
  description     = "The tools of lambda-rds ${var.name}"
  protocol_type   = "MCP"
  role_arn        = var.iam.gateway_role == null ? aws_iam_role.gateway["this"].arn : var.iam.gateway_role.arn
  authorizer_type = each.value.jwt == null ? "AWS_IAM" : "CUSTOM_JWT"
  tags            = var.tags

  dynamic "authorizer_configuration" {
    for_each = each.value.jwt[*]
    content {
      custom_jwt_authorizer {
        discovery_url    = authorizer_configuration.value.discovery_url
        allowed_audience = length(authorizer_configuration.value.audience) == 0 ? null : authorizer_configuration.value.audience
        allowed_clients  = length(authorizer_configuration.value.clients) == 0 ? null : authorizer_configuration.value.clients
        allowed_scopes   = length(authorizer_configuration.value.scopes) == 0 ? null : authorizer_configuration.value.scopes
      }
    }
  }

  dynamic "protocol_configuration" {
    for_each = each.value.instructions == null && each.value.search_type == null ? [] : [each.value]
    content {
      mcp {
        instructions = protocol_configuration.value.instructions
        search_type  = protocol_configuration.value.search_type
      }
    }
  }

  depends_on = [aws_iam_role_policy.gateway]
}

resource "aws_bedrockagentcore_gateway_target" "this" {
  for_each = local.agentcores

  name               = var.name
  description        = "lambda-rds ${var.name}"
  gateway_identifier = each.value.gateway == null ? aws_bedrockagentcore_gateway.this[each.key].gateway_id : each.value.gateway.id

  credential_provider_configuration {
    gateway_iam_role {}
  }

  dynamic "metadata_configuration" {
    for_each = length(each.value.allowed_request_headers) == 0 ? [] : [each.value.allowed_request_headers]
    content {
      allowed_request_headers = metadata_configuration.value
    }
  }

  target_configuration {
    mcp {
      lambda {
        lambda_arn = local.called

        tool_schema {
          dynamic "inline_payload" {
            for_each = local.tools
            iterator = tool
            content {
              name        = tool.value.name
              description = tool.value.description

              input_schema {
                type = tool.value.inputSchema.type

                dynamic "property" {
                  for_each = try(tool.value.inputSchema.properties, {})
                  content {
                    name        = property.key
                    type        = property.value.type
                    description = try(property.value.description, null)
                    required    = contains(try(tool.value.inputSchema.required, []), property.key)

                    dynamic "items" {
                      for_each = try([property.value.items], [])
                      content {
                        type = items.value.type
                      }
                    }
                  }
                }
              }

              # Of one row, or of the rows: what is in a row goes as JSON from there on.
              dynamic "output_schema" {
                for_each = try([tool.value.outputSchema], [])
                content {
                  type = output_schema.value.type

                  dynamic "property" {
                    for_each = try(output_schema.value.properties, {})
                    content {
                      name        = property.key
                      type        = property.value.type
                      description = try(property.value.description, null)
                      required    = contains(try(output_schema.value.required, []), property.key)

                      dynamic "items" {
                        for_each = try([property.value.items], [])
                        content {
                          type = items.value.type

                          dynamic "property" {
                            for_each = try(items.value.properties, {})
                            iterator = column
                            content {
                              name        = column.key
                              type        = column.value.type
                              description = try(column.value.description, null)
                              required    = contains(try(items.value.required, []), column.key)
                              items_json  = try(jsonencode(column.value.items), null)
                            }
                          }
                        }
                      }
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
  }

  # The gateway tries the function when it takes the target.
  depends_on = [aws_iam_role_policy.gateway]
}

resource "aws_iam_role" "gateway" {
  for_each = { for name, gateway in local.gateways : name => gateway if var.iam.gateway_role == null }

  name                 = "${local.role_name}-gateway"
  description          = "The AgentCore gateway of lambda-rds ${var.name}"
  path                 = var.iam.path
  permissions_boundary = var.iam.permissions_boundary
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "bedrock-agentcore.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:bedrock-agentcore:${local.region}:${local.account}:gateway/${var.name}-*" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "gateway" {
  for_each = aws_iam_role.gateway

  name   = "tools"
  role   = each.value.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.gateway_policy })
}

# Queries as tools for agents: by AgentCore Gateway, as a Bedrock agent, and by MCP. They reach what says -- tool:, and no more.

module "function" {
  source = "../.."

  name         = var.name
  engine       = "postgres"
  architecture = var.architecture
  zip          = { directory = var.zip_directory }

  network = {
    vpc_id     = var.vpc_id
    subnet_ids = var.subnet_ids
  }

  database = {
    host                   = var.database.host
    name                   = var.database.name
    security_group_id      = var.database.security_group_id
    db_instance_identifier = var.database.identifier
    secret                 = { arn = var.secret_arn }
  }

  budget = {
    instance_class = var.database.instance_class
  }

  # For MCP: whose tokens, so that a tool binds its caller's claims.
  http_api = {
    jwt = var.jwt
  }

  agents = {
    mcp     = {}
    bedrock = var.bedrock_agents

    agentcore = {
      tools = file("${path.module}/${var.tools_file}")
      jwt = {
        discovery_url = "${trimsuffix(var.jwt.issuer, "/")}/.well-known/openid-configuration"
        audience      = var.jwt.audience
      }
    }
  }
}

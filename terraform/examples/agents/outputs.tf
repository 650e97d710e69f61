output "function_name" {
  description = "For aws lambda invoke."
  value       = module.function.function_name
}

output "function_arn" {
  description = "For the action group of a Bedrock agent."
  value       = module.function.function_arn
}

output "connection_budget" {
  description = "How many of the database's connections the function may take, and may come to need."
  value       = module.function.connection_budget
}

output "url" {
  description = "The API's address; /mcp follows for a client of MCP."
  value       = module.function.http_api_url
}

output "gateway_url" {
  description = "The AgentCore gateway's address, for an agent that takes its tools from there."
  value       = module.function.agentcore_gateway_url
}

output "function_name" {
  description = "For aws lambda invoke."
  value       = module.function.function_name
}

output "connection_budget" {
  description = "How many of the database's connections the function may take, and may come to need."
  value       = module.function.connection_budget
}

output "proxy_endpoint" {
  description = "The proxy's host, which the function has as DB_HOST."
  value       = module.function.proxy_endpoint
}

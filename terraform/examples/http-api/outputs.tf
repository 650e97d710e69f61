output "function_name" {
  description = "For aws lambda invoke."
  value       = module.function.function_name
}

output "connection_budget" {
  description = "How many of the database's connections the function may take, and may come to need."
  value       = module.function.connection_budget
}

output "url" {
  description = "The API's address; a query's name follows."
  value       = module.function.http_api_url
}

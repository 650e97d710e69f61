output "function_name" {
  description = "For aws lambda invoke."
  value       = module.function.function_name
}

output "connection_budget" {
  description = "How many of the database's connections the function may take, and may come to need."
  value       = module.function.connection_budget
}

output "queues" {
  description = "Where to send messages: each is a direct event, such as {\"query\": \"add_user\", \"params\": {…}}."
  value       = module.function.queues
}

output "failures_url" {
  description = "Where scheduled calls lie that failed for good."
  value       = module.function.failures_url
}

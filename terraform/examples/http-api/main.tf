# Queries as an API: GET /active_users?limit=10 with a token whose claims the queries may bind.

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

  http_api = {
    jwt         = var.jwt
    cors_origin = var.cors_origin
  }

  # 64-bit ids survive JavaScript as strings.
  function = {
    environment = { LAMBDA_RDS_INT64 = "string" }
  }
}

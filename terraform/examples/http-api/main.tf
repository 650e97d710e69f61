# Queries as an API for many tenants: GET /notes with a token, and row-level security gives each caller the rows of their
# tenant. The table and its policies are in schema.sql, the queries in queries/.

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

  # What every transaction is told of its caller. The policies go by it, and no query can leave it out.
  session = {
    set  = ["app.tenant = claims.${var.tenant_claim}", "request.jwt.claims = claims"]
    role = "member"
  }

  # 64-bit ids survive JavaScript as strings.
  replies = {
    int64 = "string"
  }
}

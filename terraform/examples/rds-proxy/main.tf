# Many environments on a small database: the proxy gives its connections out per transaction. The function logs in to the
# proxy with IAM, the proxy to the database with the secret, which the function never sees.

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
    auth                   = "iam"
    user                   = var.database_user
    secret                 = { arn = var.secret_arn }
  }

  budget = {
    instance_class = var.database.instance_class
    share          = 0.5
  }

  proxy = {}

  function = {
    reserved_concurrent_executions = 60
  }
}

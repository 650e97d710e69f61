# No password anywhere: the function signs a token for each connect. No secret either, so no endpoint for one.

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
    resource_id            = var.database_resource_id
  }

  budget = {
    instance_class = var.database.instance_class
  }
}

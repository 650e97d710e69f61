# A function beside a PostgreSQL instance that is there already. Nothing of the database changes but one rule in its
# security group.

module "function" {
  source = "../.."

  name         = var.name
  engine       = "postgres"
  architecture = var.architecture
  zip          = { directory = var.zip_directory }

  network = {
    vpc_id           = var.vpc_id
    subnet_ids       = var.subnet_ids
    secrets_endpoint = var.secrets_endpoint_security_group_id == null ? null : { security_group_id = var.secrets_endpoint_security_group_id }
  }

  database = {
    host                   = var.database.host
    name                   = var.database.name
    security_group_id      = var.database.security_group_id
    db_instance_identifier = var.database.identifier
    secret                 = { arn = var.secret_arn, kms_key_arn = var.secret_kms_key_arn }
  }

  budget = {
    instance_class = var.database.instance_class
    share          = 0.25
  }

  function = {
    environment = { LAMBDA_RDS_DIAGNOSE = "true" }
  }
}

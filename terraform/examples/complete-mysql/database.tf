resource "aws_db_instance" "this" {
  identifier     = var.name
  engine         = "mysql"
  engine_version = "8.4"
  instance_class = var.instance_class
  db_name        = "shop"

  allocated_storage     = 20
  max_allocated_storage = 100
  storage_type          = "gp3"
  storage_encrypted     = true

  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [aws_security_group.database.id]
  publicly_accessible    = false
  multi_az               = true
  ca_cert_identifier     = "rds-ca-rsa2048-g1"
  parameter_group_name   = module.function.parameter_group_name

  # RDS makes the password, keeps it in Secrets Manager and changes it; Terraform's state never has it.
  username                    = "shop"
  manage_master_user_password = true

  iam_database_authentication_enabled = true

  backup_retention_period         = 14
  copy_tags_to_snapshot           = true
  deletion_protection             = var.deletion_protection
  final_snapshot_identifier       = "${var.name}-final-${terraform_data.made.output}"
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["error", "slowquery"]
  performance_insights_enabled    = true

  # Made before the database and gone after it, which would make them itself.
  depends_on = [aws_cloudwatch_log_group.database]
}

resource "aws_secretsmanager_secret_rotation" "this" {
  secret_id = aws_db_instance.this.master_user_secret[0].secret_arn

  rotation_rules {
    automatically_after_days = 30
  }
}

# RDS would make the groups itself, and keep the logs for ever.
resource "aws_cloudwatch_log_group" "database" {
  for_each = toset(["error", "slowquery"])

  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = 30
}

# When all this was made, for the name of the last snapshot: one that is there already is refused.
resource "terraform_data" "made" {
  input = formatdate("YYYYMMDDhhmmss", plantimestamp())

  lifecycle {
    ignore_changes = [input]
  }
}

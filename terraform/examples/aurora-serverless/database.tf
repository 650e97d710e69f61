resource "aws_rds_cluster" "this" {
  cluster_identifier = var.name
  engine             = "aurora-postgresql"
  engine_version     = "17" # the newest minor version, which RDS may raise
  database_name      = "shop"
  storage_encrypted  = true

  serverlessv2_scaling_configuration {
    min_capacity             = var.capacity.min
    max_capacity             = var.capacity.max
    seconds_until_auto_pause = var.capacity.min == 0 ? 600 : null
  }

  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.database.id]
  db_cluster_parameter_group_name = module.function.parameter_group_name

  # RDS makes the password, keeps it in Secrets Manager and changes it; Terraform's state never has it.
  master_username                     = "shop"
  manage_master_user_password         = true
  iam_database_authentication_enabled = true

  backup_retention_period         = 14
  copy_tags_to_snapshot           = true
  deletion_protection             = var.deletion_protection
  final_snapshot_identifier       = "${var.name}-final-${terraform_data.made.output}"
  enabled_cloudwatch_logs_exports = ["postgresql"]

  # Made before the database and gone after it, which would make them itself.
  depends_on = [aws_cloudwatch_log_group.database]
}

# The first is the writer. The second reads, and takes over within seconds; in tier 1 it scales with the writer.
resource "aws_rds_cluster_instance" "this" {
  for_each = { writer = 0, reader = 1 }

  identifier         = "${var.name}-${each.key}"
  cluster_identifier = aws_rds_cluster.this.id
  engine             = aws_rds_cluster.this.engine
  engine_version     = aws_rds_cluster.this.engine_version
  instance_class     = "db.serverless"
  promotion_tier     = each.value

  publicly_accessible          = false
  ca_cert_identifier           = "rds-ca-rsa2048-g1"
  auto_minor_version_upgrade   = true
  copy_tags_to_snapshot        = true
  performance_insights_enabled = false
}

resource "aws_secretsmanager_secret_rotation" "this" {
  secret_id = aws_rds_cluster.this.master_user_secret[0].secret_arn

  rotation_rules {
    automatically_after_days = 30
  }
}

# RDS would make the group itself, and keep the logs for ever.
resource "aws_cloudwatch_log_group" "database" {
  name              = "/aws/rds/cluster/${var.name}/postgresql"
  retention_in_days = 30
}

# When all this was made, for the name of the last snapshot: one that is there already is refused.
resource "terraform_data" "made" {
  input = formatdate("YYYYMMDDhhmmss", plantimestamp())

  lifecycle {
    ignore_changes = [input]
  }
}

module "function" {
  source = "../.."

  name         = var.name
  engine       = "mysql"
  architecture = var.architecture
  zip          = { directory = var.zip_directory }

  network = {
    vpc_id     = aws_vpc.this.id
    subnet_ids = [for subnet in aws_subnet.private : subnet.id]
  }

  database = {
    host                   = aws_db_instance.this.address
    name                   = aws_db_instance.this.db_name
    security_group_id      = aws_security_group.database.id
    db_instance_identifier = aws_db_instance.this.identifier
    secret                 = { arn = aws_db_instance.this.master_user_secret[0].secret_arn }
  }

  budget = {
    instance_class = var.instance_class
  }

  parameter_group = {
    family = "mysql8.4"
  }

  function = {
    environment = { LAMBDA_RDS_DIAGNOSE = "true" }
  }

  alarms = {
    actions = var.alarm_actions
  }
}

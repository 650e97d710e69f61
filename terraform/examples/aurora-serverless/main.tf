module "function" {
  source = "../.."

  name         = var.name
  engine       = "aurora-postgres"
  architecture = var.architecture
  zip          = { directory = var.zip_directory }

  network = {
    vpc_id     = aws_vpc.this.id
    subnet_ids = [for subnet in aws_subnet.private : subnet.id]
  }

  # Reads go to the reader, and to the writer when there is no reader left.
  database = {
    host                  = aws_rds_cluster.this.endpoint
    name                  = aws_rds_cluster.this.database_name
    security_group_id     = aws_security_group.database.id
    db_cluster_identifier = aws_rds_cluster.this.cluster_identifier
    read_from             = "reader"
    secret                = { arn = aws_rds_cluster.this.master_user_secret[0].secret_arn }
  }

  budget = {
    serverless = { min_capacity = var.capacity.min, max_capacity = var.capacity.max }
  }

  # A paused cluster takes some 15 seconds to resume, which connecting has to wait for.
  connections = { connect_timeout = "25s" }
  function    = { timeout = 40 }

  # A cluster pauses when nobody is connected; frozen environments are, until the server ends that.
  parameter_group = {
    family               = "aurora-postgresql17"
    idle_session_timeout = "5m"
  }

  alarms = {
    actions = var.alarm_actions
  }
}

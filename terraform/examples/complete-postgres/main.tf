module "function" {
  source = "../.."

  name         = var.name
  engine       = "postgres"
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
    secret = {
      arn         = aws_db_instance.this.master_user_secret[0].secret_arn
      kms_key_arn = aws_kms_key.this.arn
    }
  }

  budget = {
    instance_class = var.instance_class
  }

  parameter_group = {
    family = "postgres17"
  }

  function = {
    environment = { LAMBDA_RDS_DIAGNOSE = "true" }
  }

  logs = {
    kms_key_id = aws_kms_key.this.arn
  }

  alarms = {
    actions = [aws_sns_topic.alarms.arn]
  }
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.this.arn
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each = toset(var.alarm_emails)

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

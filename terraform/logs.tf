# Of the standard class whatever the others are: CloudWatch takes no metrics (EMF) from groups of infrequent access.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatch_Logs_Log_Classes.html
resource "aws_cloudwatch_log_group" "function" {
  name              = "/aws/lambda/${var.name}"
  log_group_class   = "STANDARD"
  retention_in_days = var.logs.retention_in_days
  kms_key_id        = var.logs.kms_key_id
  tags              = var.tags
}

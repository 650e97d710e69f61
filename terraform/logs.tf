resource "aws_cloudwatch_log_group" "function" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.logs.retention_in_days
  kms_key_id        = var.logs.kms_key_id
  tags              = var.tags
}

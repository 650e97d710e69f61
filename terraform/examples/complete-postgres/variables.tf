variable "region" {
  description = "The region to work in."
  type        = string
  default     = "eu-central-1"
}

variable "name" {
  description = "The name of the function and of what belongs to it."
  type        = string
  default     = "shop"
}

variable "architecture" {
  description = "What the zip was built for: x86_64 or arm64."
  type        = string
  default     = "x86_64"
}

variable "zip_directory" {
  description = "Where cargo xtask zip --engine postgres put the zip."
  type        = string
  default     = "../../../target/lambda"
}

variable "instance_class" {
  description = "The database's class. It decides how many connections there are."
  type        = string
  default     = "db.t4g.small"
}

variable "alarm_emails" {
  description = "Addresses that are told of alarms; each has to confirm once."
  type        = list(string)
  default     = []
}

variable "deletion_protection" {
  description = "Whether the database refuses to be deleted. To tear all down, apply with false first."
  type        = bool
  default     = true
}

variable "storage_kms_key_arn" {
  description = "A key for the disk and its snapshots that Terraform does not delete with the rest. AWS's own for RDS unless given."
  type        = string
  default     = null
}

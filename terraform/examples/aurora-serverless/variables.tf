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
  description = "Where cargo xtask zip --engine aurora-postgres put the zip."
  type        = string
  default     = "../../../target/lambda"
}

variable "capacity" {
  description = "From how many to how many Aurora capacity units each instance may scale. From 0 it pauses when nobody is connected."
  type        = object({ min = number, max = number })
  default     = { min = 0, max = 8 }
}

variable "alarm_actions" {
  description = "ARNs that alarms call, such as an SNS topic's."
  type        = list(string)
  default     = []
}

variable "deletion_protection" {
  description = "Whether the database refuses to be deleted. To tear all down, apply with false first."
  type        = bool
  default     = true
}

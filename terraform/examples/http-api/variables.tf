variable "region" {
  description = "The region to work in."
  type        = string
  default     = "eu-central-1"
}

variable "name" {
  description = "The name of the function and of what belongs to it."
  type        = string
  default     = "api"
}

variable "architecture" {
  description = "What the zip was built for: x86_64 or arm64."
  type        = string
  default     = "x86_64"
}

variable "zip_directory" {
  description = "Where cargo xtask zip --engine postgres --queries terraform/examples/http-api/queries put the zip."
  type        = string
  default     = "../../../target/lambda"
}

variable "vpc_id" {
  description = "The database's VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of it, in two availability zones or more."
  type        = list(string)
}

variable "database" {
  description = "The database: its host (without the port), database name, security group, identifier and instance class."
  type = object({
    host              = string
    name              = string
    security_group_id = string
    identifier        = string
    instance_class    = string
  })
}

variable "secret_arn" {
  description = "The full ARN of the secret with the function's user and password."
  type        = string
}

variable "jwt" {
  description = "Who issues the tokens, and for whom: of a Cognito user pool https://cognito-idp.REGION.amazonaws.com/POOL and its client's id."
  type = object({
    issuer   = string
    audience = list(string)
  })
}

variable "tenant_claim" {
  description = "The claim with the caller's tenant: tenant, custom:tenant (Cognito), https://example.com/tenant (Auth0)."
  type        = string
  default     = "tenant"
}

variable "cors_origin" {
  description = "The web application's origin, such as https://app.example.com."
  type        = string
  default     = null
}

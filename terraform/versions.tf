terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source = "hashicorp/aws"

      # 6.28 is the first with aws_lambda_permission.invoked_via_function_url.
      version = "~> 6.28"
    }
  }
}

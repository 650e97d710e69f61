# Who may speak to whom.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name   = "shop"
  engine = "postgres"
  zip    = { directory = "tests/zips" }
  network = {
    vpc_id     = "vpc-1"
    subnet_ids = ["subnet-1", "subnet-2"]
  }
  database = {
    host                   = "app.abc.eu-central-1.rds.amazonaws.com"
    name                   = "app"
    security_group_id      = "sg-database"
    secret                 = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf" }
    db_instance_identifier = "app"
  }
  budget = { max_connections = 100 }
}

run "rules_name_groups_and_ports" {
  assert {
    condition     = { for name, rule in aws_vpc_security_group_egress_rule.function : name => "${rule.ip_protocol} ${rule.from_port}-${rule.to_port} ${rule.referenced_security_group_id}" } == { database = "tcp 5432-5432 sg-database", secrets = "tcp 443-443 ${aws_security_group.secrets["this"].id}" }
    error_message = "The function speaks to the database and to the endpoint for Secrets Manager, each on its port, and to nobody else."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.database["this"].security_group_id == "sg-database" && aws_vpc_security_group_ingress_rule.database["this"].referenced_security_group_id == aws_security_group.function["this"].id && aws_vpc_security_group_ingress_rule.database["this"].from_port == 5432 && aws_vpc_security_group_ingress_rule.database["this"].to_port == 5432
    error_message = "The database lets the function in on its port."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.secrets["this"].referenced_security_group_id == aws_security_group.function["this"].id && aws_vpc_security_group_ingress_rule.secrets["this"].from_port == 443
    error_message = "The endpoint lets the function in on 443."
  }
}

run "no_rule_is_open" {
  variables {
    proxy = {}
  }

  assert {
    condition = alltrue([
      for rule in concat(
        values(aws_vpc_security_group_ingress_rule.database),
        values(aws_vpc_security_group_ingress_rule.secrets),
        values(aws_vpc_security_group_ingress_rule.proxy),
        values(aws_vpc_security_group_egress_rule.function),
        values(aws_vpc_security_group_egress_rule.proxy),
      ) : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.prefix_list_id == null && rule.referenced_security_group_id != null && rule.ip_protocol == "tcp"
    ])
    error_message = "Rules name groups; none names addresses."
  }

  assert {
    condition     = alltrue([for group in concat(values(aws_security_group.function), values(aws_security_group.secrets), values(aws_security_group.proxy)) : length(coalesce(group.ingress, [])) == 0 && length(coalesce(group.egress, [])) == 0])
    error_message = "Groups have no rules inside, which would end those beside."
  }
}

run "the_endpoint_serves_this_function_and_secret_only" {
  assert {
    condition     = aws_vpc_endpoint.secrets["this"].private_dns_enabled == false && aws_vpc_endpoint.secrets["this"].vpc_endpoint_type == "Interface" && aws_vpc_endpoint.secrets["this"].service_name == "com.amazonaws.eu-central-1.secretsmanager"
    error_message = "The endpoint must not take the VPC's name for Secrets Manager."
  }

  assert {
    condition     = jsondecode(aws_vpc_endpoint.secrets["this"].policy).Statement[0].Resource == ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"] && jsondecode(aws_vpc_endpoint.secrets["this"].policy).Statement[0].Condition.ArnEquals["aws:PrincipalArn"] == aws_iam_role.function["this"].arn
    error_message = "The endpoint's policy names the secret and the role."
  }

  assert {
    condition     = aws_lambda_function.this.environment[0].variables.AWS_ENDPOINT_URL_SECRETS_MANAGER == "https://vpce-0mocked.secretsmanager.eu-central-1.vpce.amazonaws.com"
    error_message = "Without a private name the function has to be told the endpoint's."
  }
}

run "an_endpoint_that_is_there_is_used" {
  variables {
    network = {
      vpc_id           = "vpc-1"
      subnet_ids       = ["subnet-1", "subnet-2"]
      secrets_endpoint = { security_group_id = "sg-endpoint" }
    }
  }

  assert {
    condition     = length(aws_vpc_endpoint.secrets) == 0 && !contains(keys(aws_lambda_function.this.environment[0].variables), "AWS_ENDPOINT_URL_SECRETS_MANAGER")
    error_message = "No second endpoint, and the VPC's own name."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.function["secrets"].referenced_security_group_id == "sg-endpoint" && aws_vpc_security_group_ingress_rule.secrets["this"].security_group_id == "sg-endpoint"
    error_message = "The function and that endpoint's group are let through to each other."
  }
}

run "iam_auth_needs_no_endpoint" {
  variables {
    database = {
      host              = "app.abc.eu-central-1.rds.amazonaws.com"
      name              = "app"
      security_group_id = "sg-database"
      auth              = "iam"
      user              = "app"
      resource_id       = "db-ABC"
    }
  }

  assert {
    condition     = length(aws_vpc_endpoint.secrets) == 0 && length(aws_vpc_security_group_ingress_rule.secrets) == 0 && sort(keys(aws_vpc_security_group_egress_rule.function)) == tolist(["database"])
    error_message = "A function without a secret speaks to the database only."
  }
}

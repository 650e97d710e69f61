# Where calls come from: HTTP API, function URL, queues, schedules.

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

run "an_http_api_checks_tokens" {
  variables {
    http_api = {
      jwt         = { issuer = "https://issuer.example.com", audience = ["app"] }
      cors_origin = "https://app.example.com"
    }
  }

  assert {
    condition     = alltrue([for route in aws_apigatewayv2_route.this : route.authorization_type == "JWT" && route.authorizer_id == aws_apigatewayv2_authorizer.jwt["this"].id]) && toset(keys(aws_apigatewayv2_route.this)) == toset(["ANY /{query}", "POST /"])
    error_message = "Every route wants a token."
  }

  assert {
    condition     = aws_apigatewayv2_integration.this["this"].payload_format_version == "2.0" && aws_lambda_permission.http_api["this"].source_arn == "arn:aws:execute-api:eu-central-1:123456789012:api/*/*"
    error_message = "The gateway may invoke, with events of version 2.0."
  }

  assert {
    condition     = output.environment.LAMBDA_RDS_CORS_ORIGIN == "https://app.example.com" && tolist(aws_apigatewayv2_api.this["this"].cors_configuration[0].allow_origins) == tolist(["https://app.example.com"])
    error_message = "Gateway and function name the same origin."
  }

  assert {
    condition     = aws_cloudwatch_log_group.access["this"].retention_in_days == 30 && aws_apigatewayv2_stage.this["this"].default_route_settings[0].throttling_rate_limit == 100
    error_message = "Access is logged and throttled."
  }
}

run "the_base_path_is_part_of_the_routes" {
  variables {
    http_api = { authorization_type = "AWS_IAM" }
    function = { environment = { LAMBDA_RDS_BASE_PATH = "/v1/" } }
  }

  assert {
    condition     = toset(keys(aws_apigatewayv2_route.this)) == toset(["ANY /v1/{query}", "POST /v1"])
    error_message = "Routes: ${join(", ", keys(aws_apigatewayv2_route.this))}."
  }
}

run "a_url_wants_signed_calls" {
  variables {
    function_url = {}
  }

  assert {
    condition     = aws_lambda_function_url.this["this"].authorization_type == "AWS_IAM" && length(aws_lambda_permission.open_url) + length(aws_lambda_permission.open_url_invoke) == 0
    error_message = "Nobody is let in without a signature."
  }
}

run "an_open_url_has_to_be_asked_for" {
  variables {
    function_url = { authorization_type = "NONE" }
  }

  assert {
    condition     = length(aws_lambda_permission.open_url) == 1 && aws_lambda_permission.open_url_invoke["this"].invoked_via_function_url == true
    error_message = "An open URL needs both permissions, and the second for calls through the URL only."
  }
}

run "a_queue_reports_failed_messages_alone" {
  variables {
    queues = {
      users   = {}
      renames = { fifo = true, max_receive_count = 3 }
    }
  }

  assert {
    condition     = alltrue([for mapping in aws_lambda_event_source_mapping.queue : mapping.function_response_types == toset(["ReportBatchItemFailures"]) && mapping.scaling_config[0].maximum_concurrency == 2])
    error_message = "Without ReportBatchItemFailures the reply's failures are lost."
  }

  assert {
    condition     = jsondecode(aws_sqs_queue.source["renames"].redrive_policy).maxReceiveCount == 3 && aws_sqs_queue.source["renames"].name == "shop-renames.fifo" && aws_sqs_queue.dead_letters["renames"].name == "shop-renames-dead-letters.fifo"
    error_message = "Each queue has a dead-letter queue of its kind."
  }

  assert {
    condition     = alltrue([for queue in concat(values(aws_sqs_queue.source), values(aws_sqs_queue.dead_letters)) : queue.sqs_managed_sse_enabled]) && aws_sqs_queue.source["users"].visibility_timeout_seconds == 120
    error_message = "Encrypted, and hidden for six times the function's timeout."
  }

  assert {
    condition     = length(setsubtract(["dead_letters_users", "message_age_users", "dead_letters_renames", "message_age_renames"], keys(output.alarms))) == 0
    error_message = "Dead letters and waiting messages have alarms."
  }
}

run "a_schedule_raises_its_failures" {
  variables {
    schedules = {
      nightly = {
        schedule_expression = "cron(0 3 * * ? *)"
        query               = "active_users"
        params              = "{\"active\": false}"
      }
    }
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.this["nightly"].target[0].input) == { query = "active_users", params = { active = false }, onError = "raise" }
    error_message = "A failure that is not raised is a reply that nobody reads."
  }

  assert {
    condition     = aws_scheduler_schedule.this["nightly"].target[0].dead_letter_config[0].arn == aws_sqs_queue.failures["this"].arn && aws_lambda_function_event_invoke_config.this["this"].destination_config[0].on_failure[0].destination == aws_sqs_queue.failures["this"].arn && contains(keys(output.alarms), "failures")
    error_message = "What fails for good is kept, and told of."
  }
}

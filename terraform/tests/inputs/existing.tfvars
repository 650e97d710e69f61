# For the examples that are beside an existing database. Invented.
vpc_id     = "vpc-0123456789abcdef0"
subnet_ids = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
database = {
  host              = "app.abcdefghijkl.eu-central-1.rds.amazonaws.com"
  name              = "app"
  security_group_id = "sg-0123456789abcdef0"
  identifier        = "app"
  instance_class    = "db.t4g.small"
}
secret_arn           = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app-AbCdEf"
database_user        = "app"
database_resource_id = "db-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
jwt                  = { issuer = "https://issuer.example.com", audience = ["app"] }

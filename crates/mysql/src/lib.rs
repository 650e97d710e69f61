//! The MySQL and MariaDB backend of lambda-rds.

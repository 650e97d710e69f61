//! The command as a user runs it: arguments in; stdout, stderr and an exit code out.

mod invoke;

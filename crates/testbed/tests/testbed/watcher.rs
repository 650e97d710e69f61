//! A process that watches the machine and says, for each line that it is given, for how many microseconds that stalled.

use std::io::{BufRead, Write};

use lambda_rds_testbed::Stalls;

fn main() -> std::io::Result<()> {
    let stalls = Stalls::watch();
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", stalls.so_far().as_micros())?;
        out.flush()?;
    }
    Ok(())
}

//! The Python wheel: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>.
//!
//! No Python is in it: pip puts the command where the environment has its programs, and what belongs to it into the
//! environment's `share`, where the command looks.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lambda_rds_package::Entry;
use lambda_rds_package::elf::Glibc;
use sha2::{Digest, Sha256};

use super::Kit;

/// The name, which says where it may be installed.
pub(super) fn file_name(kit: &Kit<'_>) -> String {
    format!("lambda_rds-{}-{}.whl", kit.contents.version, tag(kit))
}

/// The wheel's bytes.
pub(super) fn wheel(kit: &Kit<'_>) -> Result<Vec<u8>> {
    let version = &kit.contents.version;
    let (data, info) = (format!("lambda_rds-{version}.data"), format!("lambda_rds-{version}.dist-info"));
    let mut entries = vec![Entry::program(format!("{data}/scripts/lambda-rds"), kit.command.bytes.clone())];
    entries.extend(kit.share.iter().map(|entry| Entry {
        name: format!("{data}/data/share/lambda-rds/{}", entry.name),
        ..entry.clone()
    }));
    entries.extend(kit.contents.licences(&format!("{info}/licenses/")));
    entries.push(Entry::file(format!("{info}/METADATA"), metadata(kit)));
    let wheel = format!(
        "Wheel-Version: 1.0\nGenerator: lambda-rds xtask\nRoot-Is-Purelib: false\nTag: {}\n",
        tag(kit)
    );
    entries.push(Entry::file(format!("{info}/WHEEL"), wheel));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let record = format!("{info}/RECORD");
    let mut lines: String = entries.iter().map(recorded).collect();
    lines.push_str(&format!("{record},,\n"));
    entries.push(Entry::file(record, lines));
    lambda_rds_package::zip(&mut entries)
}

/// Python of any kind on this processor, where glibc is as new as the command needs.
fn tag(kit: &Kit<'_>) -> String {
    let (major, minor) = kit.command.glibc.max(Glibc::OLDEST_OF_WHEELS).version();
    format!("py3-none-manylinux_{major}_{minor}_{}", kit.arch.machine())
}

fn metadata(kit: &Kit<'_>) -> String {
    format!(
        "Metadata-Version: 2.4\nName: lambda-rds\nVersion: {}\n\
         Summary: An AWS Lambda function that runs SQL on RDS and gets the hard parts right, and its command\n\
         License-Expression: MIT OR Apache-2.0\n{}Requires-Python: >=3.7\n\
         Description-Content-Type: text/markdown\n\n{}",
        kit.contents.version,
        kit.contents
            .licences("")
            .iter()
            .map(|entry| format!("License-File: {}\n", entry.name))
            .collect::<String>(),
        kit.contents.readme,
    )
}

/// The line of a file in RECORD.
fn recorded(entry: &Entry) -> String {
    let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&entry.bytes));
    format!("{},sha256={digest},{}\n", entry.name, entry.bytes.len())
}

#[cfg(test)]
mod tests {
    use lambda_rds_package::Arch;

    use super::super::{Program, tests::contents};
    use super::*;

    #[test]
    fn the_tag_is_that_of_the_newest_symbol() {
        let check = |symbol: &str, expected: &str| {
            let command = Program { bytes: b"ELF".to_vec(), glibc: Glibc::of_symbol(symbol).unwrap() };
            let contents = contents();
            let kit = Kit { arch: Arch::Arm, command: &command, share: &[], contents: &contents };
            assert_eq!(file_name(&kit), expected);
        };
        check("GLIBC_2.34", "lambda_rds-1.2.3-py3-none-manylinux_2_34_aarch64.whl");
        check("GLIBC_2.2.5", "lambda_rds-1.2.3-py3-none-manylinux_2_17_aarch64.whl");
    }

    #[test]
    fn a_record_is_as_the_specification_has_it() {
        let line = recorded(&Entry::file("a/b", "hello"));
        assert_eq!(line, "a/b,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5\n");
    }
}

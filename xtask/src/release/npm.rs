//! The npm package, as a file that `npm install` takes. No script is in it, neither to install nor to start: npm links
//! the executable itself.

use anyhow::Result;
use lambda_rds_package::{Arch, Entry, image};
use serde_json::json;

use super::Kit;

/// The name, in npm's words for system and processor.
pub(super) fn file_name(kit: &Kit<'_>) -> String {
    format!("lambda-rds-{}-linux-{}.tgz", kit.contents.version, cpu(kit.arch))
}

/// The package's bytes.
pub(super) fn package(kit: &Kit<'_>) -> Result<Vec<u8>> {
    let manifest = json!({
        "name": "lambda-rds",
        "version": kit.contents.version,
        "description": "An AWS Lambda function that runs SQL on RDS and gets the hard parts right, and its command",
        "license": "MIT OR Apache-2.0",
        "bin": {"lambda-rds": "bin/lambda-rds"},
        "files": ["bin", "share", "licenses"],
        "os": ["linux"],
        "cpu": [cpu(kit.arch)],
        "libc": ["glibc"],
        "preferUnplugged": true,
    });
    let mut entries = vec![
        Entry::file("package/package.json", serde_json::to_vec_pretty(&manifest)?),
        Entry::file("package/README.md", kit.contents.readme.clone()),
    ];
    entries.extend(kit.placed("package/"));
    entries.extend(kit.contents.licences("package/licenses/"));
    image::gzip(&image::tar(&entries)?)
}

fn cpu(arch: Arch) -> &'static str {
    match arch {
        Arch::X86 => "x64",
        Arch::Arm => "arm64",
    }
}

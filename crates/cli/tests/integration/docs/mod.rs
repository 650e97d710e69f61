//! What the documentation shows is what happens.
//!
//! [`COVER`] says for each fenced block of each page how it is executed or checked; a block that it does not know is
//! a failure, and so is one that it knows and that is not there. What cannot run without Docker, an AWS account or a
//! release build is a stand-in in [`shell`]; CONTRIBUTING.md lists those.

mod page;
mod places;
mod shell;
mod ways;

use std::collections::BTreeMap;

use page::{Block, Page, pages, repository};
use shell::Place;

/// How the blocks of a language are covered in a page.
struct Cover {
    /// A page's path, or a folder's: then of all pages in it.
    page: &'static str,
    language: &'static str,
    /// Only blocks with this in them. The first that fits a block counts.
    with: &'static str,
    /// How many there are, so that a new one is looked at.
    count: usize,
    way: Way,
}

/// How a block is executed or checked.
#[derive(Clone, Copy)]
enum Way {
    /// Typed into a shell, a page's blocks one after the other, in a place made for the page. `console` is what one
    /// types and what is said; `sh` is a script, which must succeed.
    Typed(fn(&Page) -> Place),
    /// Settings, as `KEY=value` or as TOML: read as the function reads them, without a warning.
    Settings,
    /// Queries, or statements out of some: shown to a PostgreSQL with this schema by `lambda-rds check`.
    Queries(&'static str),
    /// What an administrator of a PostgreSQL types, on one in which this has been done.
    Administrator(&'static str),
    /// Events: handed to the function's code on the sample database, which must succeed. If a reply comes next, it is
    /// the one.
    Events,
    /// The body of a failure: code, message and advice are those of the fault.
    Failure,
    /// A template of SAM: its function's environment reads the user's rows from a real server.
    Sam,
    /// The commands for LocalStack: secret and environment that they make read the user's rows from a real server.
    LocalStack,
    /// The dependencies of a Cargo.toml: they and their features are there, in these versions.
    Dependencies,
    /// By the test of this name in this file, which takes the block from the page. A script's name is that of its step.
    By(&'static str, &'static str),
    /// Nothing that could be executed: a drawing, or a grammar.
    Drawing,
}

const fn cover(page: &'static str, language: &'static str, count: usize, way: Way) -> Cover {
    Cover { page, language, with: "", count, way }
}

const fn cover_with(page: &'static str, language: &'static str, with: &'static str, way: Way) -> Cover {
    Cover { page, language, with, count: 1, way }
}

/// How each block is covered.
#[rustfmt::skip]
const COVER: &[Cover] = &[
    cover("ARCHITECTURE.md", "", 1, Way::Drawing),
    cover("README.md", "console", 3, Way::Typed(places::repository)),
    cover("README.md", "sql", 1, Way::Queries(places::USERS)),
    cover("README.md", "json", 2, Way::Events),
    cover("README.md", "sh", 1, Way::Settings),
    cover("docs/explanation/size-and-speed.md", "console", 3, Way::Typed(places::bench)),
    cover("docs/explanation/terraform.md", "", 1, Way::Drawing),
    cover("docs/how-to/aurora.md", "console", 1, Way::Typed(places::repository)),
    cover("docs/how-to/aurora.md", "sh", 1, Way::Settings),
    cover("docs/how-to/cargo-lambda.md", "text", 3, Way::By("tests/function/emulators.rs", "the_page_about_cargo_lambda_is_what_happens")),
    cover("docs/how-to/clients.md", "console", 1, Way::Typed(places::home)),
    cover("docs/how-to/clients.md", "ts", 1, Way::By("xtask/src/clients.rs", "shows no TypeScript")),
    cover("docs/how-to/clients.md", "python", 1, Way::By("xtask/src/clients.rs", "shows no Python")),
    cover("docs/how-to/diagnose.md", "console", 2, Way::Typed(places::diagnosed)),
    cover("docs/how-to/diagnose.md", "json", 1, Way::By("tests/function/diagnose.rs", "the_page_shows_a_reply_as_it_is")),
    cover("docs/how-to/library.md", "toml", 1, Way::Dependencies),
    cover("docs/how-to/library.md", "rust", 6, Way::By("examples/src/lib.rs", "include_str!")),
    cover("docs/how-to/local-development.md", "console", 3, Way::Typed(places::own_machine)),
    cover_with("docs/how-to/local-development.md", "sh", "awslocal", Way::LocalStack),
    cover("docs/how-to/local-development.md", "sh", 4, Way::Typed(places::own_machine)),
    cover("docs/how-to/local-development.md", "yaml", 1, Way::Sam),
    cover("docs/how-to/multi-tenant.md", "sql", 2, Way::By("tests/function/callers.rs", "the_guide_gives_each_tenant_its_rows")),
    cover("docs/how-to/multi-tenant.md", "sh", 2, Way::By("tests/function/callers.rs", "the_guide_gives_each_tenant_its_rows")),
    cover("docs/how-to/pagination.md", "sql", 1, Way::By("tests/function/guides.rs", "a_long_result_in_pages")),
    cover("docs/how-to/pagination.md", "json", 4, Way::By("tests/function/guides.rs", "a_long_result_in_pages")),
    cover("docs/how-to/exactly-once.md", "sql", 2, Way::By("tests/function/guides.rs", "a_write_that_happens_once")),
    cover("docs/how-to/exactly-once.md", "json", 3, Way::By("tests/function/guides.rs", "a_write_that_happens_once")),
    cover("docs/how-to/sam-and-cdk.md", "sh", 1, Way::Typed(places::repository)),
    cover("docs/how-to/sqs.md", "sql", 2, Way::By("tests/function/queues.rs", "the_guides_queries_do_what_it_says")),
    cover("docs/how-to/sqs.md", "json", 1, Way::By("tests/function/queues.rs", "the_guides_queries_do_what_it_says")),
    cover("docs/how-to/streams.md", "console", 1, Way::Typed(places::home)),
    cover("docs/how-to/without-rust.md", "console", 3, Way::Typed(places::home)),
    cover("docs/how-to/without-rust.md", "sh", 7, Way::By("xtask/src/release/check.rs", "fn types")),
    cover("docs/reference/cli.md", "sh", 1, Way::Typed(places::home)),
    cover("docs/reference/cli.md", "console", 12, Way::Typed(places::home)),
    cover("docs/reference/configuration.md", "toml", 1, Way::Settings),
    cover_with("docs/reference/events.md", "json", "database_busy", Way::Failure),
    cover("docs/reference/events.md", "json", 4, Way::Events),
    cover_with("docs/reference/queries.md", "sql", "idempotency_key", Way::Queries(places::KEYED)),
    cover_with("docs/reference/queries.md", "sql", "-- role: member", Way::By("tests/function/callers.rs", "the_guide_gives_each_tenant_its_rows")),
    cover("docs/reference/queries.md", "sql", 4, Way::Queries(places::USERS)),
    cover("docs/reference/queries.md", "", 4, Way::Drawing),
    cover("docs/reference/tools.md", "sql", 1, Way::Queries(places::USERS)),
    cover("docs/reference/tools.md", "json", 1, Way::Failure),
    cover("docs/reference/tools.md", "sh", 1, Way::Typed(places::home)),
    cover("docs/reference/tools.md", "console", 3, Way::Typed(places::home)),
    cover("docs/reference/values.md", "sql", 2, Way::Queries(places::USERS)),
    cover("docs/tutorial/agent.md", "sh", 1, Way::Typed(places::home)),
    cover("docs/tutorial/agent.md", "console", 6, Way::Typed(places::home)),
    cover("docs/tutorial/desktop-agent.md", "console", 2, Way::Typed(places::desktop)),
    cover("docs/tutorial/desktop-agent.md", "json", 1, Way::By("crates/cli/tests/integration/mcp.rs", "the_settings_of_a_desktop_client_start_it")),
    cover("docs/tutorial/deploy.md", "sql", 1, Way::By("tests/function/terraform.rs", "the_tutorial_ends_with_rows")),
    cover("docs/tutorial/deploy.md", "console", 5, Way::Typed(places::deployed)),
    cover("docs/tutorial/first-query.md", "console", 5, Way::Typed(places::home)),
    cover_with("terraform/README.md", "hcl", "module \"function\" {", Way::By("terraform/check", "the call in README.md")),
    cover("terraform/README.md", "hcl", 21, Way::By("terraform/check", "fmt, README")),
    cover("terraform/examples/http-api/README.md", "console", 1, Way::Typed(places::tenants)),
    cover("terraform/examples/iam-auth/README.md", "sql", 1, Way::Administrator("CREATE ROLE rds_iam; CREATE TABLE users ();")),
    cover("terraform/examples/", "console", 8, Way::Typed(places::deployed)),
];

/// The blocks and how they are covered, by page; and what is wrong with the table.
fn covered() -> (Vec<(Page, Vec<Way>)>, Vec<String>) {
    let mut wrong = Vec::new();
    let mut found = BTreeMap::new();
    let mut all = Vec::new();
    for page in pages() {
        let mut ways = Vec::new();
        for block in &page.blocks {
            let fits = |cover: &Cover| {
                let on_page =
                    cover.page == page.path || cover.page.ends_with('/') && page.path.starts_with(cover.page);
                on_page && cover.language == block.language && block.text.contains(cover.with)
            };
            match COVER.iter().position(fits) {
                Some(row) => {
                    *found.entry(row).or_insert(0) += 1;
                    ways.push(COVER[row].way);
                }
                None => {
                    wrong.push(format!("{}: no test covers this block ({})", block.place, block.language));
                    ways.push(Way::Drawing);
                }
            }
        }
        all.push((page, ways));
    }
    for (row, cover) in COVER.iter().enumerate() {
        let found = found.get(&row).copied().unwrap_or(0);
        if found != cover.count {
            let Cover { page, language, count, .. } = cover;
            wrong.push(format!("{page}: {found} blocks of `{language}`, and {count} are covered"));
        }
    }
    (all, wrong)
}

/// What a way is needed for: the blocks of a page.
fn of_way<T>(select: impl Fn(Way) -> Option<T>) -> Vec<(Page, Vec<Block>, T)> {
    let mut all = Vec::new();
    for (page, ways) in covered().0 {
        let selected: Vec<(&Block, T)> =
            page.blocks.iter().zip(ways).filter_map(|(block, way)| Some((block, select(way)?))).collect();
        let blocks: Vec<Block> = selected.iter().map(|(block, _)| (*block).clone()).collect();
        if let Some((_, way)) = selected.into_iter().next() {
            all.push((page, blocks, way));
        }
    }
    assert!(!all.is_empty(), "nothing is covered in this way");
    all
}

#[test]
fn every_block_is_covered() {
    let (_, mut wrong) = covered();
    for cover in COVER {
        let Way::By(file, name) = cover.way else { continue };
        let test = std::fs::read_to_string(repository().join(file)).unwrap_or_default();
        let page = cover.page.rsplit('/').next().unwrap();
        if !test.contains(name) || !test.contains(page) {
            wrong.push(format!("{}: {file} has no `{name}` that reads the page", cover.page));
        }
    }
    assert!(wrong.is_empty(), "{}\nTo cover a block: {}", wrong.join("\n"), file!());
}

#[test]
fn what_is_typed_says_what_is_shown() {
    let typed = of_way(|way| match way {
        Way::Typed(place) => Some(place),
        _ => None,
    });
    std::thread::scope(|scope| {
        for (page, blocks, place) in &typed {
            scope.spawn(move || place(page).types(blocks));
        }
    });
}

#[test]
fn settings_are_read_without_a_warning() {
    for (_, blocks, ()) in of_way(|way| matches!(way, Way::Settings).then_some(())) {
        blocks.iter().for_each(ways::settings);
    }
}

#[test]
fn queries_are_what_a_server_takes() {
    // A page may show queries of several schemas.
    let mut of_schema: BTreeMap<&str, Vec<Block>> = BTreeMap::new();
    for (page, ways) in covered().0 {
        for (block, way) in page.blocks.iter().zip(ways) {
            if let Way::Queries(schema) = way {
                of_schema.entry(schema).or_default().push(block.clone());
            }
        }
    }
    assert!(!of_schema.is_empty(), "nothing is covered in this way");
    for (schema, blocks) in of_schema {
        ways::queries(&blocks, schema);
    }
}

#[test]
fn an_administrator_may_do_what_is_shown() {
    let all = of_way(|way| match way {
        Way::Administrator(before) => Some(before),
        _ => None,
    });
    for (_, blocks, before) in all {
        blocks.iter().for_each(|block| ways::administrator(block, before));
    }
}

#[test]
fn events_are_answered_as_shown() {
    for (_, blocks, ()) in of_way(|way| matches!(way, Way::Events).then_some(())) {
        ways::events(&blocks);
    }
}

#[test]
fn failures_are_those_of_the_product() {
    for (_, blocks, ()) in of_way(|way| matches!(way, Way::Failure).then_some(())) {
        blocks.iter().for_each(ways::failure);
    }
}

#[test]
fn the_template_of_sam_makes_a_function_that_reads() {
    for (_, blocks, ()) in of_way(|way| matches!(way, Way::Sam).then_some(())) {
        blocks.iter().for_each(ways::sam);
    }
}

#[test]
fn the_commands_for_localstack_make_a_function_that_reads() {
    for (_, blocks, ()) in of_way(|way| matches!(way, Way::LocalStack).then_some(())) {
        blocks.iter().for_each(ways::localstack);
    }
}

#[test]
fn dependencies_are_those_of_the_workspace() {
    for (_, blocks, ()) in of_way(|way| matches!(way, Way::Dependencies).then_some(())) {
        blocks.iter().for_each(ways::dependencies);
    }
}

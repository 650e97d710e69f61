//! What the guides show is what happens.

use serde_json::Value;

use crate::world::{Engine, Setup};
use crate::{on_clusters, on_every_engine};

on_every_engine!(a_long_result_in_pages);
on_clusters!(a_long_result_in_pages);

async fn a_long_result_in_pages(engine: Engine) {
    let page = include_str!("../../docs/how-to/pagination.md");
    let blocks = |kind: &str| -> Vec<String> {
        let opening = format!("```{kind}\n");
        page.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    let world = Setup::new(engine).queries(blocks("sql").concat()).start().await;
    let shown = blocks("json");
    assert_eq!(shown.len(), 4);
    for pair in shown.chunks(2) {
        let event: Value = serde_json::from_str(&pair[0]).unwrap();
        let rows: Value = serde_json::from_str(&pair[1]).unwrap();
        assert_eq!(world.call(event).await, (200, rows));
    }
}

#[tokio::test]
async fn a_write_that_happens_once() {
    let page = include_str!("../../docs/how-to/exactly-once.md");
    let blocks = |kind: &str| -> Vec<String> {
        let opening = format!("```{kind}\n");
        page.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    let [table, queries] = blocks("sql").try_into().unwrap();
    assert_eq!(table, crate::once::table(Engine::Postgres));
    let accounts = "CREATE TABLE accounts (id int PRIMARY KEY, balance numeric NOT NULL);\n\
                    INSERT INTO accounts VALUES (1, 0);\n";
    let world =
        Setup::new(Engine::Postgres).schema(format!("{accounts}{table}")).queries(queries).start().await;
    let shown: Vec<Value> = blocks("json").iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let [event, reply, other] = shown.try_into().unwrap();
    for replayed in [false, true] {
        let outcome = world.invoke(event.clone()).await;
        assert_eq!(outcome.reply().unwrap(), (200, reply.clone()));
        let header = &outcome.json().unwrap()["headers"]["idempotency-replayed"];
        assert_eq!(header == "true", replayed);
    }
    let (status, body) = world.call(other).await;
    assert_eq!((status, body["error"]["code"].as_str()), (422, Some("idempotency_key_reused")));
    assert_eq!(world.sql("SELECT balance FROM accounts"), "9.90");
}

/// Every member of the two lines stands in its page, and no other.
#[test]
fn the_page_of_the_metrics() {
    let page = include_str!("../../docs/reference/metrics.md");
    let code = include_str!("../../crates/core/src/observe.rs");
    let (log, metrics) = page.split_once("## Metrics").unwrap();
    let first_cells = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
    };
    for metric in first_cells(metrics) {
        assert!(code.contains(&format!("(\"{metric}\", ")), "{metric} is no metric");
    }
    let told = code.split_once("tracing::event!(").unwrap().1.split_once("\"{}\"").unwrap().0;
    let members = told.lines().filter_map(|line| line.trim().split_once(" = ").map(|(name, _)| name));
    let members: Vec<&str> = members.filter(|name| !name.contains(':')).collect();
    assert!(members.len() > 20, "{members:?}");
    for member in members {
        assert!(log.contains(&format!("`{member}`")), "{member} is not in the page");
    }
    let declared = code.split_once("let metrics = [").unwrap().1.split_once("];").unwrap().0;
    assert_eq!(declared.matches("(\"").count(), first_cells(metrics).len(), "{declared}");
}

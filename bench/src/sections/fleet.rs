//! Many environments, few connections: 200 against a server that takes 50.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use lambda_rds_testbed::RuntimeApi;

use super::freeze::result;
use crate::measure::millis;
use crate::peers::{NODE, OBVIOUS, OURS, Peer};
use crate::place::{ACTIVE_USERS, Place};
use crate::run::Section;

const CONNECTIONS: &str = "50";
const TIMEOUT: Duration = Duration::from_secs(12);
/// Two hundred at once, on a machine with two processors.
const INIT: Duration = Duration::from_secs(60);

struct Scenario {
    name: &'static str,
    environments: usize,
    /// Each environment is called this often, at random moments of the window.
    calls: usize,
    window: Duration,
    /// Whether the server ends sessions that were idle for a second: what the Terraform module sets, there 15 m.
    idle_limit: bool,
    /// Whether all have had their INIT before the window begins, as Lambda does it for provisioned concurrency. Else each
    /// environment is started for its first call.
    ahead: bool,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "40 environments at once",
        environments: 40,
        calls: 3,
        window: Duration::from_secs(1),
        idle_limit: false,
        ahead: false,
    },
    Scenario {
        name: "200 environments over 15 s, the server ends idle sessions after 1 s",
        environments: 200,
        calls: 2,
        window: Duration::from_secs(15),
        idle_limit: true,
        ahead: false,
    },
    Scenario {
        name: "the same 200, provisioned: INIT ran ahead",
        environments: 200,
        calls: 2,
        window: Duration::from_secs(15),
        idle_limit: true,
        ahead: true,
    },
    Scenario {
        name: "200 environments at once, nobody lets go",
        environments: 200,
        calls: 1,
        window: Duration::ZERO,
        idle_limit: false,
        ahead: false,
    },
];

pub(super) async fn measure(places: &[(Place, Vec<Peer>)], section: &mut Section) -> Result<()> {
    for (place, peers) in places {
        for scenario in &SCENARIOS {
            let mut settings = vec![match place.engine {
                crate::peers::Engine::Postgres => ("max_connections", CONNECTIONS),
                crate::peers::Engine::Mysql => ("max-connections", CONNECTIONS),
            }];
            if scenario.idle_limit {
                settings.push(match place.engine {
                    crate::peers::Engine::Postgres => ("idle_session_timeout", "1s"),
                    crate::peers::Engine::Mysql => ("wait-timeout", "1"),
                });
            }
            let full = Place::with(place.engine, &settings).await?;
            // The handlers with a pool, which people use today, and ours; a Python handler has none.
            for peer in peers.iter().filter(|peer| [OURS, OBVIOUS, NODE].contains(&peer.name.as_str())) {
                run(&full, peer, scenario, section).await?;
            }
        }
    }
    Ok(())
}

async fn run(place: &Place, peer: &Peer, scenario: &Scenario, section: &mut Section) -> Result<()> {
    let mut apis = Vec::new();
    for _ in 0..scenario.environments {
        apis.push(RuntimeApi::start()?.with_timeout(TIMEOUT));
    }
    let how = if scenario.ahead { "provisioned-concurrency" } else { "on-demand" };
    let builder = peer
        .environment(place, place.direct())
        .env("BENCH_POOL", "default")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", how);
    // 200 processes of 60 MB are too many for one machine: one process of Node's, started ahead, plays all environments,
    // each with a pool of its own.
    let shared = (peer.name == NODE)
        .then(|| {
            let addresses: Vec<String> = apis.iter().map(|api| api.address().to_string()).collect();
            builder.clone().env("BENCH_ADDRESSES", addresses.join(",")).start(&apis[0])
        })
        .transpose()?;
    let start = &|api| if shared.is_some() { Ok(None) } else { builder.clone().start(api).map(Some) };
    let mut started = Vec::new();
    if scenario.ahead {
        started = apis.iter().map(start).collect::<Result<_>>()?;
        for api in &apis {
            api.idle(1, INIT).await?;
        }
    }
    let mut started = started.into_iter();
    let calls = apis.iter().map(|api| {
        let ready = started.next().flatten();
        async move {
            let mut moments: Vec<Duration> =
                (0..scenario.calls).map(|_| scenario.window.mul_f64(fastrand::f64())).collect();
            moments.sort();
            let begun = Instant::now();
            // Alive until the end, or its connections would be given back.
            let mut environment = ready;
            let mut outcomes = Vec::new();
            for moment in moments {
                tokio::time::sleep(moment.saturating_sub(begun.elapsed())).await;
                let called = Instant::now();
                if environment.is_none() {
                    environment = start(api)?;
                }
                let answered = api.invoke(ACTIVE_USERS).await;
                let took = called.elapsed();
                outcomes.push((result(answered, took > TIMEOUT), millis(took)));
                if took > TIMEOUT {
                    break;
                }
            }
            Ok::<_, anyhow::Error>((environment, outcomes))
        }
    });
    let ended = join_all(calls).await.into_iter().collect::<Result<Vec<_>>>()?;
    for (result, ms) in ended.into_iter().flat_map(|(_, outcomes)| outcomes) {
        section.outcome(peer, scenario.name, result, ms);
    }
    Ok(())
}

//! The raw data of a run: a file per section in `bench/runs/NAME`, each with its command, versions and machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::measure::{Outcome, Quartiles, Series};
use crate::peers::{Peer, Prepared};
use crate::place::Place;
use crate::sections::Kind;

/// What one section has measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) commit: String,
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<String, String>,
    /// How long it took.
    pub(crate) seconds: f64,
    pub(crate) series: Vec<Series>,
    pub(crate) outcomes: Vec<Outcome>,
}

/// Where it was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    /// How busy it was when the section began: the load of the last minute.
    pub(crate) load: String,
}

impl Section {
    pub(crate) fn new(kind: Kind, command: &str, prepared: &Prepared, places: &[(Place, Vec<Peer>)]) -> Self {
        let mut versions = prepared.versions.clone();
        for (place, _) in places {
            // The server that was asked a moment ago.
            let version = place.server.version().unwrap_or_default();
            versions.insert(place.engine.name().to_owned(), version);
        }
        Self {
            name: kind.name().to_owned(),
            command: command.to_owned(),
            commit: prepared.commit.clone(),
            machine: Machine::this(),
            versions,
            seconds: 0.0,
            series: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Adds a sample to its series.
    pub(crate) fn sample(&mut self, peer: &Peer, setting: &str, measure: &str, value: f64) {
        let engine = peer.engine.name();
        let known = self.series.iter_mut().find(|series| {
            (series.engine.as_str(), &series.peer, series.setting.as_str(), series.measure.as_str())
                == (engine, &peer.name, setting, measure)
        });
        match known {
            Some(series) => series.values.push(value),
            None => self.series.push(Series {
                engine: engine.to_owned(),
                peer: peer.name.clone(),
                setting: setting.to_owned(),
                measure: measure.to_owned(),
                values: vec![value],
            }),
        }
    }

    /// Adds the outcome of a call.
    pub(crate) fn outcome(&mut self, peer: &Peer, setting: &str, result: String, ms: f64) {
        self.outcomes.push(Outcome {
            engine: peer.engine.name().to_owned(),
            peer: peer.name.clone(),
            setting: setting.to_owned(),
            result,
            ms,
        });
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(format!("{}.json", self.name));
        fs::write(&path, serde_json::to_string(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Machine {
    fn this() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        Self {
            processor: field(&file("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: field(&file("/proc/meminfo"), "MemTotal"),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: file("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// All sections of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) sections: Vec<Section>,
}

impl Run {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut sections = Vec::new();
        for kind in Kind::ALL {
            let path = folder.join(format!("{}.json", kind.name()));
            if path.is_file() {
                let text = fs::read_to_string(&path)?;
                let section = serde_json::from_str(&text);
                sections.push(section.with_context(|| format!("{} is not of this bench", path.display()))?);
            }
        }
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { name, sections })
    }

    pub(crate) fn section(&self, kind: Kind) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == kind.name())
    }

    /// Median and spread of a measure.
    pub(crate) fn get(
        &self,
        kind: Kind,
        engine: &str,
        peer: &str,
        setting: &str,
        measure: &str,
    ) -> Option<Quartiles> {
        let section = self.section(kind)?;
        let series = section.series.iter().find(|series| {
            (series.engine.as_str(), series.peer.as_str(), series.setting.as_str(), series.measure.as_str())
                == (engine, peer, setting, measure)
        })?;
        Quartiles::of(&series.values)
    }

    pub(crate) fn median(
        &self,
        kind: Kind,
        engine: &str,
        peer: &str,
        setting: &str,
        measure: &str,
    ) -> Option<f64> {
        self.get(kind, engine, peer, setting, measure).map(|quartiles| quartiles.median)
    }
}

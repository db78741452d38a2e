//! Frames of HTTP/2 on a socket, by a client in Python.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::lab::{ADDRESS, Got, Lab, PYTHON, Wanted};
use crate::table::{Case2, Http2, Met};

const CLIENT: &str = include_str!("frames.py");
/// All cases, at most of the client's patience each.
const DEADLINE: Duration = Duration::from_mins(5);

/// What became of a case.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    name: String,
    began: f64,
    ended: f64,
    met: Met,
    serves: bool,
}

/// Sends all cases.
pub(crate) fn meet(lab: &Lab, port: u16, table: &Http2) -> Result<Vec<Outcome>> {
    let cases: Vec<_> = table
        .case
        .iter()
        .map(|case| {
            let answers: BTreeMap<String, String> = case
                .answers()
                .into_iter()
                .map(|(stream, answer)| (stream.to_string(), answer))
                .collect();
            json!({ "name": case.name, "bare": case.bare, "ends": case.ends(), "either": case.either,
                    "frames": case.frames(), "answers": answers })
        })
        .collect();
    let (script, file) = (lab.folder.join("frames.py"), lab.folder.join("frames.json"));
    fs::write(&script, CLIENT)?;
    fs::write(&file, serde_json::to_vec(&cases)?)?;
    let program = lab
        .client
        .place
        .program_at("frames", PYTHON.as_ref())
        .arg(&script);
    let program = program.args([ADDRESS, &port.to_string()]).arg(&file);
    let text = program.run(DEADLINE)?.success()?.text();
    let outcomes: Vec<Outcome> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(
        outcomes.len() == table.case.len(),
        "{} of {} cases",
        outcomes.len(),
        table.case.len()
    );
    Ok(outcomes)
}

/// Compares.
pub(crate) fn check(lab: &Lab, case: &Case2, outcome: &Outcome) -> Result<()> {
    ensure!(case.name == outcome.name, "it is about {}", outcome.name);
    if let Some(cause) = &case.cause {
        lab.wait_refusal(cause)?;
    }
    case.verdict(&outcome.met, outcome.serves)
        .map_err(|error| anyhow!(error))?;
    let is_of = |got: &Got| (outcome.began..=outcome.ended).contains(&got.at);
    let got: Vec<Got> = lab.got()?.into_iter().filter(is_of).collect();
    let wanted = Wanted {
        seen: &case.seen,
        bodies: &case.bodies,
        has: &case.has,
        lacks: &case.lacks,
        broken: case.some,
    };
    if !case.some {
        return wanted.check(&got);
    }
    for got in &got {
        ensure!(got.odd.is_none(), "the server got {got:?}");
        let may_be = ["GET /a HTTP/1.1", "POST /a HTTP/1.1"].contains(&got.line.as_str());
        ensure!(may_be, "the server got {got:?}");
    }
    Ok(())
}

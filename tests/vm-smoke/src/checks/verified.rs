//! The verifier's work for each program, against the record.

use anyhow::Result;

use crate::{stage::Stage, verifier};

pub(super) fn verifier_statistics_have_not_grown(_: &Stage) -> Result<()> {
    verifier::compare(&verifier::kernel()?, &verifier::measure()?)
}

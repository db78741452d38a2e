//! Reads the fields of routes and policies: where it stands in a manifest, and what is wrong there.
//!
//! Three things may be wrong with a field. What Kubernetes would not have taken is an error, and keeps the folder out
//! of force. What is valid and can't be done here is a refusal: the route or policy has no effect, and its condition says
//! why. What is valid and means nothing here is noted.

use std::time::Duration;

use super::text;
use crate::world::{Origin, Refusal, Report};

/// One resource while it is read.
pub(super) struct Reader<'a> {
    pub(super) origin: &'a Origin,
    pub(super) report: &'a mut Report,
    refusals: Vec<Refusal>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(origin: &'a Origin, report: &'a mut Report) -> Self {
        Self {
            origin,
            report,
            refusals: Vec::new(),
        }
    }

    /// What can't be done here.
    pub(super) fn into_refusals(self) -> Vec<Refusal> {
        self.refusals
    }

    /// Something that Kubernetes would not have taken.
    pub(super) fn error(
        &mut self,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.report.error(self.origin, field, message, remedy);
    }

    /// Something that means nothing here.
    pub(super) fn note(
        &mut self,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.report.note(self.origin, field, message, remedy);
    }

    /// A value that is valid and can't be done here.
    pub(super) fn unsupported(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.refusals.push(Refusal {
            is_of_filters: false,
            field: field.into(),
            message: message.into(),
        });
    }

    /// Filters that can't be combined.
    pub(super) fn incompatible(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.refusals.push(Refusal {
            is_of_filters: true,
            field: field.into(),
            message: message.into(),
        });
    }

    /// A list, of which there may be so many entries.
    pub(super) fn list<T>(&mut self, list: Option<Vec<T>>, most: usize, field: &str) -> Vec<T> {
        let list = list.unwrap_or_default();
        if list.len() > most {
            let message = format!("there are {} entries, {most} at most are allowed", list.len());
            self.error(field, message, "leave some out");
        }
        list
    }

    /// A duration, zero if it is none.
    pub(super) fn duration(&mut self, text: Option<&str>, field: &str) -> Option<Duration> {
        let text = text?;
        let duration = text::duration(text);
        if duration.is_none() {
            let message = format!("'{text}' is no duration");
            let remedy = "write whole numbers with h, m, s or ms behind each, such as 1m30s or 250ms";
            self.error(field, message, remedy);
        }
        Some(duration.unwrap_or_default())
    }

    /// A duration that is not zero; the default if it is absent.
    pub(super) fn positive(&mut self, text: Option<&str>, default: Duration, field: &str) -> Duration {
        let duration = self.duration(text, field).unwrap_or(default);
        if duration.is_zero() && text.and_then(text::duration).is_some() {
            self.error(field, "is zero", "write a duration of 1ms or more");
        }
        duration
    }

    /// A number within bounds.
    pub(super) fn within<N: PartialOrd + std::fmt::Display + Copy>(
        &mut self,
        number: N,
        least: N,
        most: N,
        field: &str,
    ) -> N {
        // So written, a NaN is out of bounds.
        if !(least..=most).contains(&number) {
            self.error(
                field,
                format!("{number} is out of bounds"),
                format!("write a number from {least} to {most}"),
            );
        }
        number
    }

    /// Checks a text's form.
    pub(super) fn form(&mut self, is_good: bool, text: &str, field: &str, what: &str, remedy: &str) {
        if !is_good {
            self.error(field, format!("'{text}' is no {what}"), remedy);
        }
    }

    /// A header's name, in lower case.
    pub(super) fn header_name(&mut self, name: &str, field: &str) -> String {
        let remedy = "use letters, digits and !#$%&'*+-.^_`|~, 256 at most";
        self.form(text::is_token(name), name, field, "name of a header", remedy);
        name.to_ascii_lowercase()
    }

    /// The name of a port or rule.
    pub(super) fn section_name(&mut self, name: Option<String>, field: &str) -> Option<String> {
        // Gateway API: an empty one means none.
        let name = name.filter(|name| !name.is_empty())?;
        let remedy = "use lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit";
        self.form(
            text::is_subdomain(&name),
            &name,
            field,
            "name of a section",
            remedy,
        );
        Some(name)
    }

    /// A host name; a wildcard only where it is allowed.
    pub(super) fn hostname(&mut self, name: &str, may_be_wildcard: bool, field: &str) {
        let precise = match name.strip_prefix("*.") {
            Some(rest) if may_be_wildcard => rest,
            _ => name,
        };
        let is_good = text::is_subdomain(precise) && precise.parse::<std::net::Ipv4Addr>().is_err();
        let remedy = if may_be_wildcard {
            "write it in lower case, such as api.example.com or *.example.com, and no address"
        } else {
            "write it in lower case, such as api.example.com, and no address"
        };
        self.form(is_good, name, field, "host name", remedy);
    }
}

//! What is wrong with the configuration, as a value: where, what, and what to do about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The configuration is not taken.
    Error,
    /// It is taken, and probably does not do what its author wants.
    Warning,
    /// It is taken; a part of it has no meaning here.
    Note,
}

/// Where a resource came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// Which document of the file, from 1; 0 when the file as a whole is meant.
    pub document: usize,
    /// The line, from 1; 0 when none is known.
    pub line: usize,
    /// The resource as `Kind namespace/name`; empty when it could not be told.
    pub resource: String,
}

/// One problem of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    #[serde(flatten)]
    pub origin: Origin,
    /// The path of the field, such as `spec.ports[0].port`; empty when the whole document is meant.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Collects problems.
#[derive(Debug, Default)]
pub struct Report {
    problems: Vec<Problem>,
}

// === impl Severity ===

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Severity; 3] = [Self::Error, Self::Warning, Self::Note];

    /// The name, for messages and metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

// === impl Origin ===

impl Origin {
    /// A file as a whole.
    pub fn file(file: &Path) -> Self {
        Self {
            file: file.into(),
            document: 0,
            line: 0,
            resource: String::new(),
        }
    }

    /// `file:line`, to name another resource in a message.
    pub fn place(&self) -> String {
        if self.line == 0 {
            self.file.display().to_string()
        } else {
            format!("{}:{}", self.file.display(), self.line)
        }
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.label(), self.origin.place())?;
        if self.origin.document > 0 {
            write!(f, " (document {})", self.origin.document)?;
        }
        for part in [&self.origin.resource, &self.field] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        write!(f, ": {}; {}", self.message, self.remedy)
    }
}

// === impl Report ===

impl Report {
    /// Something for which the configuration is not taken.
    pub fn error(
        &mut self,
        origin: &Origin,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            Severity::Error,
            origin,
            field.into(),
            message.into(),
            remedy.into(),
        );
    }

    /// Something that its author should know.
    pub fn warning(
        &mut self,
        origin: &Origin,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            Severity::Warning,
            origin,
            field.into(),
            message.into(),
            remedy.into(),
        );
    }

    /// Something that is left out.
    pub fn note(
        &mut self,
        origin: &Origin,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            Severity::Note,
            origin,
            field.into(),
            message.into(),
            remedy.into(),
        );
    }

    /// The problems, in the order in which they were found.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn add(&mut self, severity: Severity, origin: &Origin, field: String, message: String, remedy: String) {
        self.problems.push(Problem {
            severity,
            origin: origin.clone(),
            field,
            message,
            remedy,
        });
    }
}

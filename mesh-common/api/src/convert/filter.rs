//! `nodemesh.v1.Filter` and `nodemesh.v1.Backend`, which a mirror has too.

use mesh_model::{BackendTarget, Cors, Filter, HeaderEdits, Mirror, PathEdit, Redirect, Rewrite};

use super::check::{header_name, header_value, not_zero};
use super::wire::{backend, path_edit};
use super::{ConvertError, each, port_from_wire, reference, value, wire};

/// What a redirect may answer with (RFC 9110 §15.4).
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

pub(super) fn to_wire(filter: &Filter) -> wire::Filter {
    use wire::filter::Filter as Kind;
    let kind = match filter {
        Filter::RequestHeaders(edits) => Kind::RequestHeaders(edits_to_wire(edits)),
        Filter::ResponseHeaders(edits) => Kind::ResponseHeaders(edits_to_wire(edits)),
        Filter::Redirect(redirect) => Kind::Redirect(wire::Redirect {
            scheme: redirect.scheme.clone().unwrap_or_default(),
            hostname: redirect.hostname.clone().unwrap_or_default(),
            path: redirect.path.as_ref().map(path_to_wire),
            port: redirect.port.unwrap_or(0).into(),
            status: redirect.status.into(),
        }),
        Filter::Rewrite(rewrite) => Kind::Rewrite(wire::Rewrite {
            hostname: rewrite.hostname.clone().unwrap_or_default(),
            path: rewrite.path.as_ref().map(path_to_wire),
        }),
        Filter::Mirror(mirror) => Kind::Mirror(wire::Mirror {
            target: Some(target_to_wire(&mirror.target)),
            numerator: mirror.numerator,
            denominator: mirror.denominator,
        }),
        Filter::Cors(cors) => Kind::Cors(wire::Cors {
            allow_origins: cors.allow_origins.clone(),
            allow_credentials: cors.allow_credentials,
            allow_methods: cors.allow_methods.clone(),
            allow_headers: cors.allow_headers.clone(),
            expose_headers: cors.expose_headers.clone(),
            max_age: cors.max_age,
        }),
    };
    wire::Filter { filter: Some(kind) }
}

pub(super) fn from_wire(message: wire::Filter) -> Result<Filter, ConvertError> {
    use wire::filter::Filter as Kind;
    let within = |field| move |error: ConvertError| error.within(field);
    Ok(
        match message
            .filter
            .ok_or_else(|| value("filter", "its kind is not known"))?
        {
            Kind::RequestHeaders(edits) => {
                Filter::RequestHeaders(edits_from_wire(edits).map_err(within("request_headers"))?)
            }
            Kind::ResponseHeaders(edits) => {
                Filter::ResponseHeaders(edits_from_wire(edits).map_err(within("response_headers"))?)
            }
            Kind::Redirect(redirect) => {
                Filter::Redirect(redirect_from_wire(redirect).map_err(within("redirect"))?)
            }
            Kind::Rewrite(rewrite) => Filter::Rewrite(rewrite_from_wire(rewrite).map_err(within("rewrite"))?),
            Kind::Mirror(mirror) => Filter::Mirror(mirror_from_wire(mirror).map_err(within("mirror"))?),
            Kind::Cors(cors) => Filter::Cors(cors_from_wire(cors).map_err(within("cors"))?),
        },
    )
}

pub(super) fn target_to_wire(target: &BackendTarget) -> wire::Backend {
    wire::Backend {
        target: Some(match target {
            BackendTarget::Service { service, port } => backend::Target::Service(wire::BackendService {
                service: service.to_string(),
                port: (*port).into(),
            }),
            BackendTarget::Invalid { reason } => backend::Target::Invalid(reason.clone()),
        }),
    }
}

pub(super) fn target_from_wire(message: Option<wire::Backend>) -> Result<BackendTarget, ConvertError> {
    match message.and_then(|message| message.target) {
        None => Err(value("target", "is missing")),
        Some(backend::Target::Invalid(reason)) => Ok(BackendTarget::Invalid { reason }),
        Some(backend::Target::Service(target)) => Ok(BackendTarget::Service {
            service: reference("target.service", &target.service)?,
            port: port_from_wire("target.port", target.port)?,
        }),
    }
}

fn edits_to_wire(edits: &HeaderEdits) -> wire::HeaderEdits {
    let headers = |headers: &[(String, String)]| {
        let header = |(name, value): &(String, String)| wire::Header {
            name: name.clone(),
            value: value.clone(),
        };
        headers.iter().map(header).collect()
    };
    wire::HeaderEdits {
        set: headers(&edits.set),
        add: headers(&edits.add),
        remove: edits.remove.clone(),
    }
}

fn edits_from_wire(message: wire::HeaderEdits) -> Result<HeaderEdits, ConvertError> {
    let header = |header: wire::Header| {
        Ok((
            header_name("name", header.name)?,
            header_value("value", header.value)?,
        ))
    };
    Ok(HeaderEdits {
        set: each("set", message.set, header)?,
        add: each("add", message.add, header)?,
        remove: each("remove", message.remove, |name| header_name("name", name))?,
    })
}

fn redirect_from_wire(message: wire::Redirect) -> Result<Redirect, ConvertError> {
    let status = REDIRECTS
        .into_iter()
        .find(|status| u32::from(*status) == message.status)
        .ok_or_else(|| {
            value(
                "status",
                format!("{} is none of 301, 302, 303, 307 and 308", message.status),
            )
        })?;
    Ok(Redirect {
        scheme: match message.scheme.as_str() {
            "" => None,
            "http" | "https" => Some(message.scheme),
            other => return Err(value("scheme", format!("'{other}' is neither http nor https"))),
        },
        hostname: hostname_from_wire(message.hostname)?,
        path: message.path.map(path_from_wire).transpose()?,
        port: match message.port {
            0 => None,
            port => Some(port_from_wire("port", port)?),
        },
        status,
    })
}

fn rewrite_from_wire(message: wire::Rewrite) -> Result<Rewrite, ConvertError> {
    Ok(Rewrite {
        hostname: hostname_from_wire(message.hostname)?,
        path: message.path.map(path_from_wire).transpose()?,
    })
}

fn mirror_from_wire(message: wire::Mirror) -> Result<Mirror, ConvertError> {
    Ok(Mirror {
        target: target_from_wire(message.target)?,
        numerator: message.numerator,
        denominator: not_zero("denominator", message.denominator)?,
    })
}

fn cors_from_wire(message: wire::Cors) -> Result<Cors, ConvertError> {
    // They become parts of headers.
    let texts = |field: &str, texts: Vec<String>| each(field, texts, |text| header_value("value", text));
    Ok(Cors {
        allow_origins: texts("allow_origins", message.allow_origins)?,
        allow_credentials: message.allow_credentials,
        allow_methods: texts("allow_methods", message.allow_methods)?,
        allow_headers: texts("allow_headers", message.allow_headers)?,
        expose_headers: texts("expose_headers", message.expose_headers)?,
        max_age: message.max_age,
    })
}

/// Empty is absent. It becomes a part of a URI and of headers.
fn hostname_from_wire(hostname: String) -> Result<Option<String>, ConvertError> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if hostname.is_empty() {
        Ok(None)
    } else if hostname.bytes().all(is_part) {
        Ok(Some(hostname))
    } else {
        Err(value("hostname", format!("'{hostname}' is no host")))
    }
}

fn path_to_wire(edit: &PathEdit) -> wire::PathEdit {
    wire::PathEdit {
        edit: Some(match edit {
            PathEdit::Full(path) => path_edit::Edit::Full(path.clone()),
            PathEdit::Prefix(path) => path_edit::Edit::Prefix(path.clone()),
        }),
    }
}

fn path_from_wire(message: wire::PathEdit) -> Result<PathEdit, ConvertError> {
    let edit = message
        .edit
        .ok_or_else(|| value("path", "is neither full nor a prefix"))?;
    Ok(match edit {
        path_edit::Edit::Full(path) => PathEdit::Full(header_value("path.full", path)?),
        path_edit::Edit::Prefix(path) => PathEdit::Prefix(header_value("path.prefix", path)?),
    })
}

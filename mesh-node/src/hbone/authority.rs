//! The `:authority` of a CONNECT request: what to connect to.

use std::net::SocketAddr;

use http::Uri;

/// What a CONNECT request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// An address and port.
    Address(SocketAddr),
    /// A host name, with a port or without. Nodes don't serve these; gateways of other meshes do.
    Name(String),
}

/// Why an authority was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// CONNECT has an authority alone (RFC 9113 §8.5).
    #[error("a CONNECT request has an authority, and neither scheme nor path")]
    Form,
    /// User information, port 0, or a port that is no number.
    #[error("'{0}' is no ADDRESS:PORT")]
    Invalid(String),
}

// === impl Authority ===

impl Authority {
    /// Reads the URI of a CONNECT request.
    pub fn parse(uri: &Uri) -> Result<Self, AuthorityError> {
        let authority = uri.authority().ok_or(AuthorityError::Form)?;
        if uri.scheme().is_some() || uri.path_and_query().is_some() {
            return Err(AuthorityError::Form);
        }
        let text = authority.as_str();
        let invalid = || AuthorityError::Invalid(text.to_owned());
        if text.contains('@') {
            return Err(invalid());
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(invalid());
            }
            return Ok(Self::Address(SocketAddr::new(
                address.ip().to_canonical(),
                address.port(),
            )));
        }
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let (host, port) = text.rsplit_once(':').unwrap_or((text, "1"));
        let is_address = host.parse::<std::net::IpAddr>().is_ok() && !text.contains(':');
        let has_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        if host.is_empty() || !host.bytes().all(is_name) || !has_port || (is_address && text != host) {
            return Err(invalid());
        }
        Ok(Self::Name(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Authority, AuthorityError> {
        // As h2 hands it over: an authority, and nothing else.
        let authority: http::uri::Authority = text
            .parse()
            .map_err(|_| AuthorityError::Invalid(text.to_owned()))?;
        let mut parts = http::uri::Parts::default();
        parts.authority = Some(authority);
        Authority::parse(&Uri::from_parts(parts).unwrap())
    }

    #[test]
    fn takes_addresses_of_both_families() {
        for text in ["10.0.0.1:80", "[fd00::1]:8080", "0.0.0.0:65535"] {
            assert_eq!(parse(text), Ok(Authority::Address(text.parse().unwrap())));
        }
        assert_eq!(
            parse("[::ffff:10.0.0.1]:80"),
            Ok(Authority::Address("10.0.0.1:80".parse().unwrap()))
        );
    }

    #[test]
    fn takes_names_as_names() {
        for text in ["web.shop.svc:80", "web", "10.0.0.1"] {
            assert_eq!(parse(text), Ok(Authority::Name(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:",
            "a@10.0.0.1:80",
            "[fd00::1]",
            "[fd00::1]:0",
            "web:x",
            ":80",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Authority::parse(&Uri::from_static("/path")),
            Err(AuthorityError::Form)
        );
        assert_eq!(
            Authority::parse(&Uri::from_static("http://10.0.0.1:80/")),
            Err(AuthorityError::Form)
        );
    }

    proptest! {
        #[test]
        fn an_address_survives(address in any::<[u8; 16]>(), port in 1..=u16::MAX) {
            let address = SocketAddr::new(std::net::IpAddr::from(address).to_canonical(), port);
            prop_assert_eq!(parse(&address.to_string()), Ok(Authority::Address(address)));
        }
    }
}

//! Addresses and ports as the maps hold them. Owns every conversion from a hook's context.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The third word of a v4-mapped address (`::ffff:a.b.c.d`), as it lies in memory.
const MAPPED: u32 = 0xffff_u32.to_be();

/// An address of 16 bytes in network order; IPv4 in its v4-mapped form.
///
/// Held as four words, because that is how the kernel's contexts offer it and how it may be read there.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    words: [u32; 4],
}

/// A TCP port in network order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetPort {
    raw: u16,
}

/// Key of the excluded networks: a prefix of an [`Address`], in bits (an IPv4 prefix counts from bit 96).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CidrKey {
    /// Leading bits that count, 0..=128.
    pub prefix_len: u32,
    /// The network.
    pub address: Address,
}

impl Address {
    /// From an IPv4 word of a context (`user_ip4`, `local_ip4`, `remote_ip4`): already in network order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self {
            words: [0, 0, MAPPED, word],
        }
    }

    /// From the IPv6 words of a context (`user_ip6`, `local_ip6`, `remote_ip6`): already in network order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The IPv4 word to write to a context. Of an IPv6 address: its last word, meaningless.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(self) -> u32 {
        self.words[3]
    }

    /// The IPv6 words to write to a context.
    #[inline(always)]
    #[must_use]
    pub const fn v6_words(self) -> [u32; 4] {
        self.words
    }

    /// Whether this is an IPv4 address in v4-mapped form.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4_mapped(self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// `127.0.0.0/8` (also v4-mapped) and `::1`.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        if self.words[0] != 0 || self.words[1] != 0 {
            return false;
        }
        if self.words[2] == MAPPED {
            // The first byte in memory order, whatever the endianness.
            return self.words[3] & 0xff00_0000_u32.to_be() == 0x7f00_0000_u32.to_be();
        }
        self.words[2] == 0 && self.words[3] == 1_u32.to_be()
    }

    /// `0.0.0.0` (also v4-mapped) and `::`, which Linux connects to the loopback.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(self) -> bool {
        self.words[0] == 0
            && self.words[1] == 0
            && (self.words[2] == 0 || self.words[2] == MAPPED)
            && self.words[3] == 0
    }

    /// The bytes in network order.
    #[inline(always)]
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        // Words lie in memory as they came from the wire, so the native order keeps them.
        let [a, b, c, d] = self.words;
        let (a, b, c, d) = (a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes(), d.to_ne_bytes());
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3],
        ]
    }

    /// The address as the standard library has it: v4-mapped becomes IPv4.
    #[must_use]
    pub const fn to_ip(self) -> IpAddr {
        Ipv6Addr::from_octets(self.octets()).to_canonical()
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(ip.octets()))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(ip: Ipv6Addr) -> Self {
        let o = ip.octets();
        let word = |at: usize| u32::from_ne_bytes([o[at], o[at + 1], o[at + 2], o[at + 3]]);
        Self {
            words: [word(0), word(4), word(8), word(12)],
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }
}

impl NetPort {
    /// From a port in host order.
    #[inline(always)]
    #[must_use]
    pub const fn from_host(port: u16) -> Self {
        Self { raw: port.to_be() }
    }

    /// The port in host order.
    #[inline(always)]
    #[must_use]
    pub const fn to_host(self) -> u16 {
        u16::from_be(self.raw)
    }

    /// From `bpf_sock_addr.user_port`: network order in the low half.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the high half is zero")]
    pub const fn from_user_port(port: u32) -> Self {
        Self { raw: port as u16 }
    }

    /// As `bpf_sock_addr.user_port` wants it.
    #[inline(always)]
    #[must_use]
    pub const fn to_user_port(self) -> u32 {
        self.raw as u32
    }

    /// From `bpf_sock_ops.local_port`: host order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the high half is zero")]
    pub const fn from_ops_local(port: u32) -> Self {
        Self::from_host(port as u16)
    }

    /// From `bpf_sock_ops.remote_port`: network order in the high half (the whole word is a big-endian port).
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a port has 16 bits")]
    pub const fn from_ops_remote(port: u32) -> Self {
        Self::from_host(u32::from_be(port) as u16)
    }
}

impl CidrKey {
    /// The key that looks up one address.
    #[inline(always)]
    #[must_use]
    pub const fn of_address(address: Address) -> Self {
        Self {
            prefix_len: 128,
            address,
        }
    }

    /// The key of a network of `prefix_len` bits in its own family.
    #[must_use]
    pub fn of_network(ip: IpAddr, prefix_len: u8) -> Self {
        let shift = if ip.is_ipv4() { 96 } else { 0 };
        Self {
            prefix_len: u32::from(prefix_len) + shift,
            address: ip.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_held_v4_mapped() {
        let address = Address::from(Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(
            address.octets(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]
        );
        assert_eq!(
            address,
            Address::from(Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped())
        );
        assert_eq!(address.to_ip(), IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)));
        assert!(address.is_v4_mapped());
    }

    #[test]
    fn ipv6_keeps_its_bytes() {
        let ip: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        let address = Address::from(ip);
        assert_eq!(address.octets(), ip.octets());
        assert_eq!(address.to_ip(), IpAddr::V6(ip));
        assert_eq!(Address::from_v6_words(address.v6_words()), address);
        assert!(!address.is_v4_mapped());
    }

    #[test]
    fn a_context_word_is_the_address_in_memory_order() {
        let word = u32::from_ne_bytes([192, 0, 2, 1]);
        assert_eq!(
            Address::from_v4_word(word),
            Address::from(Ipv4Addr::new(192, 0, 2, 1))
        );
        assert_eq!(Address::from_v4_word(word).v4_word(), word);
    }

    #[test]
    fn knows_loopback_and_unspecified() {
        for text in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert!(Address::from(ip).is_loopback(), "{text}");
            assert!(!Address::from(ip).is_unspecified(), "{text}");
        }
        for text in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            let ip: IpAddr = text.parse().unwrap();
            assert!(Address::from(ip).is_unspecified(), "{text}");
            assert!(!Address::from(ip).is_loopback(), "{text}");
        }
        for text in [
            "128.0.0.1",
            "10.127.0.0",
            "::2",
            "1::1",
            "::7f00:1",
            "2001:db8::1",
            "0.0.0.1",
        ] {
            let ip: IpAddr = text.parse().unwrap();
            assert!(!Address::from(ip).is_loopback(), "{text}");
            assert!(!Address::from(ip).is_unspecified(), "{text}");
        }
    }

    #[test]
    fn ports_of_every_context_agree() {
        let port = NetPort::from_host(15001);
        assert_eq!(port.to_host(), 15001);
        // As the kernel fills the contexts.
        assert_eq!(NetPort::from_user_port(u32::from(15001_u16.to_be())), port);
        assert_eq!(NetPort::from_ops_local(15001), port);
        assert_eq!(NetPort::from_ops_remote(15001_u32.to_be()), port);
        assert_eq!(port.to_user_port(), u32::from(15001_u16.to_be()));
    }

    #[test]
    fn an_ipv4_prefix_counts_from_bit_96() {
        let v4 = CidrKey::of_network(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8);
        assert_eq!(v4.prefix_len, 104);
        let v6 = CidrKey::of_network(IpAddr::V6("fd00::".parse().unwrap()), 8);
        assert_eq!(v6.prefix_len, 8);
        assert_eq!(CidrKey::of_address(v6.address).prefix_len, 128);
    }
}

//! Where a webhook may lead: public addresses, and those of networks that the operator allows. What counts is the address
//! that is connected to, at each connection; names are only a way to it.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use reqwest::Url;

/// A network: all addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits);
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "use a network as 10.0.0.0/8 or fd00::/8, or one address";
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| rule.to_owned())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => (bits.parse().ok())
                .filter(|&bits: &u8| bits <= most)
                .ok_or_else(|| format!("after / stands {bits:?}; use 0 to {most}"))?,
        };
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// What is not reached from elsewhere, or is not one machine (IANA's registries of special addresses). Of IPv6 only
/// 2000::/3 is given out at all.
const SPECIAL_V4: [([u8; 4], u8, &str); 16] = [
    ([0, 0, 0, 0], 8, "of this network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "of a provider's network"),
    ([127, 0, 0, 0], 8, "loopback"),
    (
        [169, 254, 0, 0],
        16,
        "link-local, where clouds keep credentials",
    ),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "of a protocol"),
    ([192, 0, 2, 0], 24, "for documentation"),
    ([192, 88, 99, 0], 24, "of a relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "for benchmarks"),
    ([198, 51, 100, 0], 24, "for documentation"),
    ([203, 0, 113, 0], 24, "for documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
    ([168, 63, 129, 16], 32, "of a cloud's own services"),
];
const SPECIAL_V6: [(Ipv6Addr, u8, &str); 6] = [
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "of a protocol",
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "for documentation",
    ),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        "of a tunnel",
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "for documentation",
    ),
    (
        Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0),
        48,
        "of a protocol",
    ),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
];

/// Why a target is not to be connected to.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("url is {url:?}; {rule}")]
    Url { url: String, rule: &'static str },
    #[error(
        "host {host:?} has the address {address}, which is {kind}; use a public one, or allow its network with --webhook-allow"
    )]
    Refused {
        host: String,
        address: IpAddr,
        kind: &'static str,
    },
    #[error("host {host:?} has no address: {error}")]
    NoAddress { host: String, error: String },
}

/// Which addresses may be connected to: public ones, and these networks.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// What the operator allows beside.
    pub allowed: Vec<Network>,
}

impl Targets {
    /// The addresses of a host that may be connected to, in the resolver's order.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, TargetError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: io::Result<Vec<SocketAddr>> = match bare.parse::<IpAddr>() {
            Ok(address) => Ok(vec![(address, port).into()]),
            Err(_) => tokio::net::lookup_host((bare, port))
                .await
                .map(Iterator::collect),
        };
        let no_address = |error: String| TargetError::NoAddress {
            host: host.to_owned(),
            error,
        };
        let found = found.map_err(|error| no_address(error.to_string()))?;
        let mut refused = None;
        let mut good = Vec::new();
        for address in found {
            match self.judge(address.ip()) {
                Ok(()) => good.push(address),
                Err(kind) => refused = refused.or(Some((address.ip(), kind))),
            }
        }
        match (good.is_empty(), refused) {
            (false, _) => Ok(good),
            (true, Some((address, kind))) => Err(TargetError::Refused {
                host: host.to_owned(),
                address,
                kind,
            }),
            (true, None) => Err(no_address("the name is known without one".to_owned())),
        }
    }

    /// Says what an address is that must not be connected to.
    fn judge(&self, address: IpAddr) -> Result<(), &'static str> {
        // An IPv4 address within an IPv6 one leads to the same machine.
        let address = address.to_canonical();
        if self.allowed.iter().any(|network| network.holds(address)) {
            return Ok(());
        }
        let holds = |own: IpAddr, bits| Network { address: own, bits }.holds(address);
        let special = match address {
            IpAddr::V4(_) => SPECIAL_V4
                .iter()
                .find(|(own, bits, _)| holds(Ipv4Addr::from(*own).into(), *bits))
                .map(|(_, _, kind)| *kind),
            IpAddr::V6(_) => SPECIAL_V6
                .iter()
                .find(|(own, bits, _)| holds((*own).into(), *bits))
                .map(|(_, _, kind)| *kind)
                .or_else(|| {
                    let given_out = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into();
                    (!holds(given_out, 3)).then_some("not public")
                }),
        };
        special.map_or(Ok(()), Err)
    }
}

/// Reads a webhook's address, in the one notation in which it is kept.
pub(super) fn parse_url(text: &str) -> Result<Url, TargetError> {
    let refuse = |rule| {
        Err(TargetError::Url {
            url: text.to_owned(),
            rule,
        })
    };
    if text.len() > 2_000 {
        return refuse("use at most 2000 characters");
    }
    let Ok(mut url) = Url::parse(text) else {
        return refuse("use an address as https://example.com/path");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("use http or https");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return refuse("use one with a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        // What refuses it is kept in the audit log, which a password must not enter.
        let host = url.host_str().unwrap_or_default();
        return Err(TargetError::Url {
            url: format!("{}://…@{host}", url.scheme()),
            rule: "leave name and password out; receivers know the sender by its signature",
        });
    }
    if url.port() == Some(0) {
        return refuse("use a port from 1 to 65535");
    }
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(address: &str) -> Result<(), &'static str> {
        Targets::default().judge(address.parse().unwrap())
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(judge(address).is_err(), "{address} is let through");
        }
    }

    #[test]
    fn public_addresses_are_let_through() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert_eq!(judge(address), Ok(()), "{address}");
        }
    }

    #[test]
    fn an_allowed_network_is_let_through_in_each_form_and_its_neighbours_are_not() {
        let allowed = ["10.1.0.0/16", "fd00::/8", "127.0.0.1"].map(|n| n.parse().unwrap());
        let targets = Targets {
            allowed: allowed.to_vec(),
        };
        let judge = |address: &str| targets.judge(address.parse().unwrap());
        for good in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "127.0.0.1"] {
            assert_eq!(judge(good), Ok(()), "{good}");
        }
        for bad in ["10.2.0.1", "127.0.0.2", "fc00::1", "::1"] {
            assert!(judge(bad).is_err(), "{bad}");
        }
        assert!(
            Targets {
                allowed: vec!["0.0.0.0/0".parse().unwrap()]
            }
            .judge("10.0.0.1".parse().unwrap())
            .is_ok()
        );
    }

    #[test]
    fn a_network_is_refused_with_its_rule() {
        for text in [
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/",
            "10.0.0/8",
            "example.com",
            "",
            "10.0.0.0/-1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn odd_notations_lead_to_the_same_judgement() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[0:0:0:0:0:ffff:7f00:1]/",
            "http://localhost/",
            "http://LOCALHOST/",
            "http://0/",
            "http://169.254.169.254/latest/meta-data",
            "http://①②⑦.0.0.1/",
        ] {
            let url = parse_url(url).unwrap();
            let host = url.host_str().unwrap();
            let answer = Targets::default().resolve(host, 80).await;
            assert!(answer.is_err(), "{url}: {answer:?}");
        }
        // What a resolver of the system takes for an address too.
        for host in ["127.1", "0x7f.1", "2130706433", "017700000001"] {
            let answer = Targets::default().resolve(host, 80).await;
            assert!(answer.is_err(), "{host}: {answer:?}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_its_rule() {
        for (url, rule) in [
            ("example.com", "use an address as"),
            ("ftp://example.com/", "use http or https"),
            ("file:///etc/passwd", "use http or https"),
            ("https://example.com:0/", "use a port"),
            ("https://", "use an address as"),
        ] {
            let error = parse_url(url).unwrap_err().to_string();
            assert!(error.contains(rule) && error.contains(url), "{error}");
        }
        let error = parse_url("https://me:secret@example.com/")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("leave name and password out") && !error.contains("secret"),
            "{error}"
        );
        assert_eq!(
            parse_url("https://example.com/a#b").unwrap().as_str(),
            "https://example.com/a"
        );
    }
}

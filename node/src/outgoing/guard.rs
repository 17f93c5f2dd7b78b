//! Where requests may go. An address in a configuration must not become a way into the network
//! behind the server: names are resolved once, and only globally reachable addresses are connected
//! to, unless the section says `allow_private_address = true`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// How far a request may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Globally reachable addresses on ports 80 and 443.
    Global,
    /// Any address and port.
    Any,
}

/// Why an address is not one to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read, or is not `http` or `https`.
    #[error("`{0}` is not an http or https address")]
    NotHttp(String),
    /// It carries a user name or password.
    #[error("an address with a user name in it is refused; say who you are in a header")]
    UserInfo,
    /// It names a host in a form that only some programs take for an address.
    #[error("`{0}` is not a host name; write an IP address with four decimal numbers")]
    OddHost(String),
    /// It leads into a loopback, private or otherwise non-global range.
    #[error(
        "the address {0} is not globally reachable (set `allow_private_address = true` to allow it)"
    )]
    NotGlobal(IpAddr),
    /// It leads to another port than 80 or 443.
    #[error("port {0} is refused (set `allow_private_address = true` to allow it)")]
    Port(u16),
}

impl Reach {
    /// What `allow_private_address` means.
    #[must_use]
    pub const fn allowing(private_address: bool) -> Self {
        if private_address { Self::Any } else { Self::Global }
    }
}

/// Checks an address as far as that is possible without resolving its name.
///
/// # Errors
/// The rule that it breaks.
pub fn check_url(url: &str, reach: Reach) -> Result<Uri, UrlError> {
    let not_http = || UrlError::NotHttp(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| not_http())?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let (Some(host), true) = (uri.host(), matches!(scheme, "http" | "https")) else {
        return Err(not_http());
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(UrlError::UserInfo);
    }
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    match literal.parse::<IpAddr>() {
        Ok(ip) if reach == Reach::Global && !is_global(ip) => return Err(UrlError::NotGlobal(ip)),
        // 127.1, 0x7f.1 and 2130706433 are loopback to some resolvers.
        Err(_) if ends_in_a_number(literal) => return Err(UrlError::OddHost(host.to_owned())),
        Ok(_) | Err(_) => {}
    }
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    if reach == Reach::Global && !matches!(port, 80 | 443) {
        return Err(UrlError::Port(port));
    }
    Ok(uri)
}

/// Whether a browser would take this host for an IP address (WHATWG URL, "ends in a number").
fn ends_in_a_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let all_digits = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    all_digits || is_hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether an address can be reached over the internet (IANA special-purpose registries). An IPv6
/// address that carries an IPv4 address is judged by that.
#[must_use]
pub fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_global_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => is_global_v4(v4),
            None => is_global_v6(v6),
        },
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let is_global_unicast = first & 0xe000 == 0x2000;
    let is_documentation = first == 0x2001 && second == 0x0db8 || first == 0x3fff;
    let is_protocol = first == 0x2001 && second < 0x0200;
    is_global_unicast && !is_documentation && !is_protocol
}

/// The IPv4 address inside a mapped, compatible, NAT64 or 6to4 address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([p, q], [r, s]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(p, q, r, s))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff | 0) => v4(g, h),
        (0, 0, 0, 0, 0xffff, 0) => v4(g, h),
        (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x64, 0xff9b, 1, ..) => Some(Ipv4Addr::LOCALHOST),
        (0x2002, high, low, ..) => v4(high, low),
        _ => None,
    }
}

/// Resolves names, and gives out only what may be reached.
#[derive(Clone, Copy, Debug)]
pub struct GuardedResolver(pub Reach);

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            allowed(found, reach).map(Vec::into_iter)
        })
    }
}

fn allowed(found: impl Iterator<Item = SocketAddr>, reach: Reach) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = found.collect();
    let is_refused = |address: &&SocketAddr| reach == Reach::Global && !is_global(address.ip());
    // A name with one bad address is not half trusted.
    match found.iter().find(is_refused) {
        Some(address) => Err(io::Error::other(UrlError::NotGlobal(address.ip()))),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests;

//! The port: free, used by Antiphon, or used by another program.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use super::Check;
use crate::{
    cli::client::{Client, Server},
    config::Config,
};

const WHAT: &str = "port";

/// Tries to listen; if that fails, asks who does.
pub(super) async fn check(config: &Config) -> Check {
    let listen = config.listen;
    let taken = match TcpListener::bind(listen) {
        Ok(_) if listen.port() == 0 => {
            return Check::ok(WHAT, format!("the system will choose one on {}", listen.ip()));
        }
        Ok(_) => return Check::ok(WHAT, format!("{listen} is free")),
        Err(error) => error,
    };
    let other = "choose another address with --listen";
    match taken.kind() {
        io::ErrorKind::AddrInUse if is_ours(listen).await => {
            Check::ok(WHAT, format!("an Antiphon server is running on {listen}"))
        }
        io::ErrorKind::AddrInUse => {
            Check::fail(WHAT, format!("{listen} is already in use by another program"), format!("stop it, or {other}"))
        }
        io::ErrorKind::PermissionDenied => {
            let says = format!("this user may not listen on {listen}");
            Check::fail(WHAT, says, "choose a port from 1024 up with --listen, or put a proxy in front")
        }
        _ => Check::fail(WHAT, format!("cannot listen on {listen}: {taken}"), other),
    }
}

async fn is_ours(listen: SocketAddr) -> bool {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = format!("http://{}", SocketAddr::new(ip, listen.port()));
    let Some(client) = url.parse().ok().and_then(|server| Client::new(&Server { server }).ok()) else { return false };
    client.live().await.is_ok()
}

//! Why no connection to a model's server came about, in words that say what to do.
//!
//! Pure: told by the causes that the HTTP client gives, as hyper, rustls and the resolver word them.

use std::error::Error;

/// What stands between us and `at`, as `shown`, told by everything below `error`.
pub(crate) fn why(error: &(dyn Error + 'static), at: &str) -> String {
    let causes: Vec<String> =
        std::iter::successors(Some(error), |error| (*error).source()).map(|error| error.to_string()).collect();
    words(&causes, at)
}

fn words(causes: &[String], at: &str) -> String {
    let cause = |sign: &str| causes.iter().rev().find_map(|cause| Some(&cause[cause.find(sign)? + sign.len()..]));
    if let Some(said) = cause("tunnel error: ") {
        return format!("the proxy does not lead to {at} ({said}); check `HTTPS_PROXY` and `NO_PROXY`");
    }
    if let Some(said) = cause("invalid peer certificate: ") {
        let advice = match said.contains("UnknownIssuer") {
            true => "; name the file of its authority in `SSL_CERT_FILE` and start again",
            false => "",
        };
        return format!("the certificate of {at} is not trusted ({said}){advice}");
    }
    if cause("InvalidContentType").is_some() {
        return format!("what answers at {at} does not speak TLS; does its address begin with `http://`?");
    }
    if cause("dns error").is_some() {
        return format!("the name in {at} is not known here; check the address");
    }
    format!("nobody answers at {at}; is the model's server running?")
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        io::{Read, Write},
        net::TcpListener,
        sync::Arc,
        thread,
    };

    use reqwest::{
        Proxy, Url,
        dns::{Name, Resolve, Resolving},
    };
    use rustls::{
        ServerConfig, ServerConnection,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };

    use crate::client::{http_client, transport_error};

    /// The port of a server that takes one connection by `serve`.
    fn serving(serve: impl FnOnce(std::net::TcpStream) + Send + 'static) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || serve(listener.accept().unwrap().0));
        port
    }

    async fn words_of(client: reqwest::Client, url: &str) -> String {
        let url = Url::parse(url).unwrap();
        transport_error(&client.get(url.clone()).send().await.unwrap_err(), &url).words
    }

    #[tokio::test]
    async fn a_certificate_of_an_unknown_authority_is_called_that() {
        let client = http_client();
        let port = serving(|mut stream| {
            let certificate = CertificateDer::from_pem_slice(include_bytes!("../../../tests/support/tls/test.pem"));
            let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../../tests/support/tls/test.key"));
            let config = ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.unwrap()], key.unwrap())
                .unwrap();
            let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
            while tls.complete_io(&mut stream).is_ok() && tls.is_handshaking() {}
        });
        let words = words_of(client, &format!("https://localhost:{port}/v1")).await;
        assert!(words.contains("certificate") && words.contains("SSL_CERT_FILE"), "{words}");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_called_that() {
        let port = serving(|mut stream| {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        });
        let words = words_of(http_client(), &format!("https://localhost:{port}/v1")).await;
        assert!(words.contains("does not speak TLS"), "{words}");
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_is_called_that() {
        struct Empty;
        impl Resolve for Empty {
            fn resolve(&self, _: Name) -> Resolving {
                Box::pin(ready(Err("no such name".into())))
            }
        }
        // Chooses the cryptography for the whole process.
        let _ = http_client();
        let client = reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(Empty)).build().unwrap();
        let words = words_of(client, "http://models.invalid/v1").await;
        assert!(words.contains("is not known here"), "{words}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_blamed() {
        let port = serving(|mut stream| {
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
        });
        // Chooses the cryptography for the whole process.
        let _ = http_client();
        let proxy = Proxy::https(format!("http://127.0.0.1:{port}")).unwrap();
        let client = reqwest::Client::builder().no_proxy().proxy(proxy).build().unwrap();
        let words = words_of(client, "https://models.invalid/v1").await;
        assert!(words.contains("proxy authorization required") && words.contains("HTTPS_PROXY"), "{words}");
    }
}

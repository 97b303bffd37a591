//! Receivers over https: with a certificate that the system trusts, and without.

use std::sync::Arc;

use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{
    define, feed, get,
    receiver::{Answer, router_of},
    service::{Service, eventually},
};

/// An authority made for these tests, whose key nobody has, and what it signed for `localhost` and 127.0.0.1.
const AUTHORITY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/webhooks/tls/authority.pem"
);
const CERTIFICATE: &[u8] = include_bytes!("tls/receiver.pem");
const KEY: &[u8] = include_bytes!("tls/receiver.key");

/// A receiver over https that takes everything; gives its port.
async fn receiver() -> u16 {
    let certificates = vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let config = config.with_single_cert(certificates, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = router_of(|_, _| Answer::Status(200));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let served = hyper::server::conn::http1::Builder::new();
                    drop(served.serve_connection(TokioIo::new(stream), service).await);
                }
            });
        }
    });
    port
}

async fn attempt(trusted: Option<&str>, host: &str) -> (String, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("https://{host}:{}/hook", receiver().await);
    let variables: Vec<_> = trusted
        .iter()
        .map(|path| ("SSL_CERT_FILE", *path))
        .collect();
    let options = ["--webhook-allow", "127.0.0.1"];
    let service = Service::launch(folder.path(), &options, &variables).await;
    service.ready().await;
    let (id, _) = define(&service, &url, json!({})).await;
    feed(&service, 1, 0..300).await;
    eventually("an attempt", async || {
        let log = get(&service, &format!("/v1/webhooks/{id}/deliveries")).await;
        let attempt = log["attempts"].get(0)?;
        Some((
            attempt["result"].as_str()?.to_owned(),
            attempt["error"].clone(),
        ))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_trusted_for_the_host_is_taken_and_no_other() {
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(
            attempt(Some(AUTHORITY), host).await.0,
            "delivered",
            "{host}"
        );
        let (result, error) = attempt(None, host).await;
        assert_eq!(result, "retry", "{host}");
        assert!(
            error
                .as_str()
                .unwrap()
                .contains("TLS: invalid peer certificate"),
            "{error}"
        );
    }
}
